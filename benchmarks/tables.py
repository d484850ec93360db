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

# What the original project published of its own model and of its teacher, and what two blind readings by the
# annotation guide, by a large language model, reach on the same 50 scenarios.
ORIGINAL = {
    "original 8B model": {"f1": 0.68, "exact": 0.60, "f1_hard": 0.50},
    "its 104B teacher": {"f1": 0.612, "exact": 0.26, "f1_hard": 0.72},
    "blind reading by a large model": {"f1": 0.95, "exact": 0.87, "f1_hard": 0.85},
}


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
        ours = " | ".join(interval(published[key]) for key in ("f1", "exact", "f1_hard"))
        lines += [f"| embedded router | {ours} |"]
        lines += [
            f"| {name} | " + " | ".join(f"{v:.2f}" for v in row.values()) + " |" for name, row in ORIGINAL.items()
        ]
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
    found = load("peers.json")
    machine = found["machine"]
    head = [
        *("packaged benchmark, n = 200: F1", "exact match", "the original 50: F1", "exact match "),
        *("p50", "p95", "decisions a second", "memory", "packages", "training"),
    ]
    lines = [
        f"| one thread of an {machine['processor']}, Python {machine['python']} | {' | '.join(head)} |",
        "| --- |" + " --- |" * len(head),
    ]
    for name, row in found["rows"].items():
        cells = [
            interval(row["quality"][part][metric]) if part in row["quality"] else "–"
            for part in ("packaged", "published")
            for metric in ("f1", "exact")
        ]
        cells += [
            measured(row, "p50_ms", "ms", 1),
            measured(row, "p95_ms", "ms", 1),
            measured(row, "per_second", "", 0),
        ]
        cells += [measured(row, "memory_mb", "MB", 0), measured(row, "install_mb", "MB", 0)]
        cells.append(measured(row, "training_s", "s", 0))
        note = f" ({row['steps']} steps)" if "steps" in row else f" ({row['note']})" if "note" in row else ""
        lines.append(f"| {name}{note} | {' | '.join(cells)} |")
    told = [f"- {line}" for row in found["rows"].values() for line in row.get("against", [])]
    return "\n".join([*lines, "", "On the packaged benchmark:", "", *told])


def peers_in_short() -> str:
    head = ["packaged 200: F1", "exact match", "original 50: F1", "one decision, p50", "packages"]
    lines = [f"| | {' | '.join(head)} |", "| --- |" + " --- |" * len(head)]
    for name, row in load("peers.json")["rows"].items():
        quality = row["quality"]
        places = (("packaged", "f1"), ("packaged", "exact"), ("published", "f1"))
        cells = [f"{quality[part][key]['value']:.3f}" if part in quality else "–" for part, key in places]
        cells += [measured(row, "p50_ms", "ms", 1), measured(row, "install_mb", "MB", 0)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


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
