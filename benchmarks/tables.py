"""Write the tables of the documentation and the README from the results files. `--check` only compares.

python benchmarks/tables.py [--check]
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memory_routing import MARKETING, RoutingReward, lint_reward, marketing

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs/results"

ORIGINAL = ("the original's 8B model", "the original's 104B teacher")
BENCHMARKS = {"packaged": "the packaged 200", "published": "the original 50"}


def load(name: str) -> Any:
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def interval(estimate: dict[str, Any]) -> str:
    return f"**{estimate['value']:.3f}** ({estimate['low']:.2f} to {estimate['high']:.2f})"


def quality() -> str:
    results = load("embedded.json")
    lines = []
    packaged = results["quality"]["packaged 200"]
    lines += ["| packaged benchmark, n = 200 | embedded router (95 % interval) |", "| --- | --- |"]
    names = {
        "f1": "mean F1",
        "exact": "exact match",
        "macro_f1": "macro F1",
        "none_precision": "precision of `none`",
        "none_recall": "recall of `none`",
        "evidence_f1": "F1 of the evidence turns",
    }
    lines += [f"| {label} | {interval(packaged[key])} |" for key, label in names.items()]
    published = results["quality"].get("published 50")
    if published:
        lines += [
            "",
            "| the original project's benchmark, n = 50 | mean F1 | exact match | F1 of the hard ones, n = 10 |",
        ]
        lines += ["| --- | --- | --- | --- |"]
        peers = load("peers.json")["rows"]
        scored = {"embedded router": published} | {name: peers[name]["quality"]["published"] for name in ORIGINAL}
        for name, row in scored.items():
            lines.append(f"| {name} | {' | '.join(interval(row[key]) for key in ('f1', 'exact', 'f1_hard'))} |")
    machine = results["machine"]
    start = results["cold_start_s"]
    lines += ["", f"| one core of an {machine['processor']}, Python {machine['python']} | median | 95th percentile |"]
    lines += ["| --- | --- | --- |"]
    lines += [
        f"| one decision of {row['tokens']} tokens | {row['p50_ms']:.1f} ms | {row['p95_ms']:.1f} ms |"
        for row in results["latency"]
    ]
    lines += [f"| process start to first decision | {start['python']:.2f} s | |"]
    lines += [f"| the same through the command line | {start['command']:.2f} s | |"]
    training = load("training.json")
    lines += [f"| training the shipped model, {training['cores']} cores | {training['minutes']:.0f} min | |"]
    return "\n".join(lines)


def choice() -> str:
    blocks = []
    for table in load("model_choice.json"):
        columns = table["columns"]
        lines = [table["title"], "", "| " + " | ".join(["model", *columns.values()]) + " |"]
        lines.append("| --- |" + " --- |" * len(columns))
        for row in table["rows"]:
            cells = [f"{row[key]:.{4 if key == 'log_loss' else 3}f}" if key in row else "–" for key in columns]
            lines.append("| " + " | ".join([row["model"], *cells]) + " |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def readings() -> str:
    lines = [
        "| configuration | packaged 200: F1 / exact / macro F1 | published 50: F1 / exact | deployment 17: F1 / exact |"
    ]
    lines += ["| --- | --- | --- | --- |"]
    for row in load("benchmark_readings.json"):
        cells = [" / ".join(f"{value:.3f}" for value in row[name]) for name in ("packaged", "published", "deployment")]
        lines.append("| " + " | ".join([row["model"], *cells]) + " |")
    return "\n".join(lines)


def language_model() -> str:
    titles = {"cues": "The task of the tests: one word decides", "packaged": "The packaged data"}
    return "\n\n".join(one_run(titles[task], results) for task, results in load("language_model.json").items())


def one_run(title: str, results: dict[str, Any]) -> str:
    model, config, benchmark = results["model"], results["config"], results["benchmark"]
    before, sft, rl = model["pretraining"], config["sft"], config["rl"]
    parts = [
        f"A Llama of {model['parameters'] / 1e6:.1f} million parameters",
        f"pre-trained for {before['steps']} steps of {before['batch']}",
        f"LoRA rank {config['rank']}",
        f"supervised {sft['steps']} steps of {sft['batch']}",
        f"then {rl['iterations']} iterations of {rl['groups']} × {rl['group_size']} rollouts",
        f"{results['machine']}, {results['training_seconds'] / 60:.0f} min",
    ]
    columns = ["checkpoint", "mean F1", "exact match", "malformed", "reward on validation"]
    lines = [f"### {title}", "", ", ".join(parts) + ".", ""]
    lines += [f"| greedy, n = {benchmark['scenarios']} held back | {' | '.join(columns)} |"]
    lines += ["| --- |" + " --- |" * len(columns)]
    for name, row in benchmark["stages"].items():
        cells = [row["checkpoint"], interval(row["f1"]), interval(row["exact"])]
        cells += [f"{row[key]:.3f}" for key in ("malformed", "validation_reward")]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    constant = results["constant"]
    lines += [
        "",
        f"The best answer that never looks at the conversation (`{', '.join(constant['answer']) or 'none'}`) earns "
        f"{constant['reward']:.3f} on the same validation data. "
        f"The loop's own thread used {results['loop_cpu_share']:.1%} of the steps' time.",
    ]
    return "\n".join(lines)


def peers() -> str:
    rows = load("peers.json")["rows"]
    machines = {name: thread_of(row["machine"]) for name, row in rows.items() if "machine" in row}
    alike = len({*machines.values()}) == 1
    head = [
        *(f"{part}: {metric}" for part in BENCHMARKS.values() for metric in ("F1", "exact match")),
        *("p50", "p95", "decisions a second", "memory, predicting", "memory, training", "packages", "training"),
        *([] if alike else ["machine"]),
    ]
    first = next(iter(machines.values())) if alike else "one thread"
    lines = [f"| {first} | {' | '.join(head)} |", "| --- |" + " --- |" * len(head)]
    for name, row in rows.items():
        cells = [scored(row, part, metric) for part in BENCHMARKS for metric in ("f1", "exact")]
        cells += [
            measured(row, "p50_ms", "ms", 1),
            measured(row, "p95_ms", "ms", 1),
            measured(row, "per_second", "", 0),
        ]
        cells += [measured(row, key, "MB", 0) for key in ("memory_mb", "training_memory_mb", "install_mb")]
        cells += [training_time(name, row), *([] if alike else [machines.get(name, "–")])]
        note = f" ({row['note']})" if "note" in row else ""
        lines.append(f"| {name}{note} | {' | '.join(cells)} |")
    for part, title in BENCHMARKS.items():
        told = [row["against"][part] for row in rows.values() if part in row.get("against", {})]
        lines += ["", f"On {title}:", ""]
        lines += [f"- {verdict['sentence']}" for verdicts in told for verdict in verdicts.values()]
    held = len(marketing.dataset("validation"))
    lines += ["", f"Settings, and mean F1 on the validation data, n = {held:,}:", ""]
    lines += [f"- {name}: {chosen(row)}" for name, row in rows.items() if "chosen" in row]
    return "\n".join(lines)


def thread_of(machine: dict[str, Any]) -> str:
    return f"one thread of an {machine['processor']}, Python {machine['python']}"


def scored(row: dict[str, Any], part: str, metric: str) -> str:
    return interval(row["quality"][part][metric]) if part in row["quality"] else "–"


def training_time(name: str, row: dict[str, Any]) -> str:
    if name != "embedded router":
        return measured(row, "training_s", "s", 0)
    run = load("training.json")
    return f"{run['minutes']} min before, {run['cores']} cores"


def chosen(row: dict[str, Any]) -> str:
    settings = ", ".join(f"{key} {value}" for key, value in row["chosen"].items())
    versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items())
    return f"{settings}; mean F1 there {row['validation_f1']:.3f} ({versions})"


def peers_in_short() -> str:
    rows = load("peers.json")["rows"]
    head = ["packaged 200: F1", "exact match", "original 50: F1", "one decision, p50", "packages"]
    lines = [f"| | {' | '.join(head)} |", "| --- |" + " --- |" * len(head)]
    for name, row in rows.items():
        cells = [scored(row, *place) for place in (("packaged", "f1"), ("packaged", "exact"), ("published", "f1"))]
        cells += [measured(row, "p50_ms", "ms", 1), measured(row, "install_mb", "MB", 0)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"- {standing(rows, part, title)}" for part, title in BENCHMARKS.items())])


def standing(rows: dict[str, Any], part: str, title: str) -> str:
    """Whom the embedded router is shown to be ahead of in F1, whom behind, and whom neither."""
    verdicts = {name: row["against"][part]["f1"] for name, row in rows.items() if part in row.get("against", {})}
    groups: dict[str, list[str]] = {"shown higher than": [], "shown lower than": [], "not shown to differ from": []}
    higher, lower, neither = groups.values()
    for name, verdict in verdicts.items():
        (neither if not verdict["proven"] else higher if verdict["difference"]["value"] > 0 else lower).append(name)
    told = [f"{what} that of {', '.join(names)}" for what, names in groups.items() if names]
    return f"On {title}, the embedded router's F1 is {'; '.join(told)}."


def measured(row: dict[str, Any], name: str, unit: str, digits: int) -> str:
    value = row.get(name)
    return "–" if value is None else f"{value:,.{digits}f} {unit}".rstrip()


def reward_lint() -> str:
    gold = [example.labels for example in (*marketing.dataset("train"), *marketing.dataset("validation"))]
    lint = lint_reward(RoutingReward(), MARKETING, gold)
    lines = [f"On the {len(gold):,} label sets of the packaged data:", ""]
    lines += [
        "no errors" if lint.ok else "; ".join(lint.errors),
        "",
        "| finding | of | worst example |",
        "| --- | --- | --- |",
    ]
    lines += [f"| {f.what}: **{f.count:,}** | {f.tried:,} steps | {f.worst} |" for f in lint.findings]
    lines += ["", "| policy | mean reward (95 % interval) |", "| --- | --- |"]
    lines += [
        f"| {name} | {policy.value:.3f} ({policy.low:.3f} to {policy.high:.3f}) |"
        for name, policy in lint.policies.items()
    ]
    return "\n".join(lines)


def quickstart() -> str:
    script = ROOT / "examples/quickstart.py"
    return subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout.rstrip()


def readme(text: str, block: str, content: str) -> str:
    """The README with a marked block replaced."""
    pattern = re.compile(rf"(<!-- {block} -->\n).*?(<!-- end -->)", re.DOTALL)
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


PAGES: dict[str, Callable[[], str]] = {
    "quality.md": quality,
    "model_choice.md": choice,
    "benchmark_readings.md": readings,
    "language_model.md": language_model,
    "peers.md": peers,
    "reward_lint.md": reward_lint,
    "quickstart.txt": quickstart,
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--check", action="store_true", help="write nothing, fail where a file would change")
    check = options.parse_args().check
    wanted = {RESULTS / name: page() + "\n" for name, page in PAGES.items()}
    page = ROOT / "README.md"
    text = readme(page.read_text(encoding="utf-8"), "results", wanted[RESULTS / "quality.md"].rstrip())
    example = wanted[RESULTS / "quickstart.txt"].rstrip()
    text = readme(text, "peers", peers_in_short())
    text = readme(text, "output", f"```text\n{example}\n```")
    wanted[page] = readme(text, "limits", (ROOT / "docs/limits.md").read_text(encoding="utf-8").rstrip())
    stale = [path for path, content in wanted.items() if not path.exists() or path.read_text("utf-8") != content]
    if check and stale:
        sys.exit("not up to date: " + ", ".join(str(path.relative_to(ROOT)) for path in stale))
    for path in stale:
        path.write_text(wanted[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
