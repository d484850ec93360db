"""Train and score what others offer on our data, on this machine, each in an environment of its own.

    python benchmarks/peers/suite.py [--only NAME | --recompute] [--work FOLDER] [--published FOLDER] [--encoder FOLDER]

Writes docs/results/peers.json and, beside it, the predictions that its quality and comparisons are computed from:
`--recompute` does that again and runs no peer; `benchmarks/tables.py` makes the table. Every peer trains on the
packaged training data, takes its threshold and what else it chooses from the packaged validation data, and is scored
once on the packaged 200 scenarios and, where the original project's files are at hand, on its 50, of which stored
predictions of its two models are scored too. All run on one thread. The size is that of the environment's packages,
with models. The teacher is scored where a key for it is in the environment.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from environments import OURS, ROOT, TORCH, Decisions, Peer, run

from memory_routing import MARKETING, Decision, Report, Scenario, compare, marketing, read_scenarios
from memory_routing.files import write_whole
from memory_routing.predictions import Undecided, read_predictions, score_predictions

BENCHMARK, STORED = "marketing_routing_benchmark.json", "final_benchmark_results.json"
PEERS = (
    Peer("embedded router", "ours", (OURS,)),
    Peer("always none", "constant"),
    Peer("commonest single label", "constant"),
    Peer("n-grams and logistic regression", "ngrams", ("scikit-learn>=1.5",)),
    Peer("n-grams with fixed settings", "ngrams", ("scikit-learn>=1.5",)),
    Peer("frozen encoder and logistic regression", "probe", (TORCH, "sentence-transformers>=5", "scikit-learn>=1.5")),
    Peer("spaCy textcat_multilabel", "textcat", ("spacy>=3.8",)),
    Peer("fastText", "bags", ("fasttext>=0.9.3", "numpy<2")),
    Peer("semantic-router", "utterances", (TORCH, "semantic-router>=1.1", "transformers>=5")),
    Peer("adaptive-classifier", "adaptive", (TORCH, "adaptive-classifier>=0.3.1")),
    Peer("SetFit", "contrastive", (TORCH, "setfit>=1.2")),
)
ORIGINAL = {
    "Llama-8B + LoRA + RL (Ours)": "the original's 8B model",
    "Cohere Command-R-Plus (104B)": "the original's 104B teacher",
}
"""Names in the original project's file, and here."""
TEACHER = "teacher"
FIRST = PEERS[0].name
ORDER = (*(peer.name for peer in PEERS), *ORIGINAL.values(), TEACHER)
Rows = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = options.add_mutually_exclusive_group()
    what.add_argument("--only", action="append", choices=[peer.name for peer in PEERS])
    what.add_argument("--recompute", action="store_true")
    options.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "memory-routing-peers")
    options.add_argument("--published", type=Path, default=ROOT.parent / "shared/data/published")
    options.add_argument("--encoder", type=Path, default=None)
    options.add_argument("--out", type=Path, default=ROOT / "docs/results/peers.json")
    told = options.parse_args(arguments)
    sets = benchmarks(told.published)
    if not told.recompute:
        write_data(told.work / "data", sets)
        for peer in PEERS:
            if not told.only or peer.name in told.only:
                row, decided = run(peer, told.work / "data", told.work, told.encoder)
                print(peer.name, json.dumps(row), flush=True)
                save(told.out, {peer.name: row}, {peer.name: decided}, sets)
        if "COHERE_API_KEY" in os.environ and not told.only:
            save(told.out, {TEACHER: {}}, {TEACHER: teacher(sets)}, sets)
    decisions = original(told.published / STORED) if "published" in sets else {}
    save(told.out, {name: {"note": "stored predictions"} for name in decisions}, decisions, sets)


def benchmarks(published: Path) -> dict[str, list[Scenario]]:
    """Scenarios with ids that no other benchmark has."""
    sets: dict[str, Sequence[Scenario]] = {"packaged": marketing.benchmark()}
    if (published / BENCHMARK).exists():
        sets["published"] = read_scenarios(published / BENCHMARK, MARKETING)
    return {name: [attrs.evolve(item, id=f"{name}/{item.id}") for item in items] for name, items in sets.items()}


def predictions_beside(results: Path) -> Path:
    return results.with_name(f"{results.stem}_predictions.json.gz")


def write_data(folder: Path, sets: Mapping[str, Sequence[Scenario]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "names.json").write_text(json.dumps(list(MARKETING.names)), encoding="utf-8")
    for part in ("train", "validation"):
        rows = [(e.id, e.conversation, list(e.labels)) for e in marketing.dataset(part)]
        write(folder / f"{part}.jsonl", rows)
    write(folder / "scenarios.jsonl", [(s.id, s.conversation, []) for items in sets.values() for s in items])


def write(path: Path, rows: Sequence[tuple[str, Any, list[str]]]) -> None:
    # Escaped: the readers split at every line end that Unicode knows.
    told = ({"id": key, "text": c.to_transcript(), "labels": labels} for key, c, labels in rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in told), encoding="utf-8")


def teacher(sets: Mapping[str, Sequence[Scenario]]) -> Decisions:
    from memory_routing.cohere import CohereRouter

    scenarios = [item for items in sets.values() for item in items]
    decided = CohereRouter().classify_batch([item.conversation for item in scenarios])
    return {item.id: decision for item, decision in zip(scenarios, decided, strict=True)}


def original(file: Path) -> dict[str, Decisions]:
    """What the original project's models said of its benchmark."""
    return {
        ORIGINAL[name]: {f"published/{key}": decision for key, decision in decided.items()}
        for name, decided in read_predictions(file, MARKETING).items()
    }


def save(out: Path, rows: Rows, decisions: Mapping[str, Decisions], sets: Mapping[str, Sequence[Scenario]]) -> None:
    """Put rows and what they rest on in the place of those that were kept, and compute all anew."""
    kept = predictions_beside(out)
    if out.exists() and kept.exists():
        rows = {**json.loads(out.read_text(encoding="utf-8"))["rows"], **rows}
        decisions = {**read_predictions(kept, MARKETING), **decisions}
    # The predictions of others are theirs to give.
    ours = [name for name in ORDER if name in decisions and name not in ORIGINAL.values()]
    told = {name: [plain(key, one) for key, one in decisions[name].items()] for name in ours}
    write_whole(kept, json.dumps({"detailed_results": told}).encode())
    write_whole(out, (json.dumps({"rows": score(rows, decisions, sets)}, indent=1) + "\n").encode())


def plain(key: str, decision: Decision | Undecided) -> dict[str, Any]:
    """A decision as `read_predictions` reads it."""
    if isinstance(decision, Undecided):
        return {"id": key, "error": decision.reason}
    if decision.malformed is None:
        return {"id": key, "predicted": decision.to_dict()["categories"]}
    return {"id": key, "predicted": [], "decision": {"malformed": decision.malformed.reason}}


def score(rows: Rows, decisions: Mapping[str, Decisions], sets: Mapping[str, Sequence[Scenario]]) -> Rows:
    """All rows in order, quality and comparisons computed anew where the benchmark is at hand, else as they were."""
    order = [name for name in ORDER if name in decisions or name in rows]
    reports = {
        name: {
            part: score_predictions(decisions[name], items, name)
            for part, items in sets.items()
            if any(item.id in decisions.get(name, {}) for item in items)
        }
        for name in order
    }
    found: Rows = {}
    for name in order:
        row = rows.get(name, {})
        scored = {**row.get("quality", {}), **{part: quality(report) for part, report in reports[name].items()}}
        found[name] = {**row, "quality": scored}
        if name != FIRST and FIRST in found:
            against = {
                part: verdicts(reports[FIRST][part], report)
                for part, report in reports[name].items()
                if part in reports[FIRST]
            }
            # What was compared before holds while the first has not been run without that benchmark.
            before = {p: told for p, told in row.get("against", {}).items() if p in found[FIRST]["quality"]}
            found[name]["against"] = {**before, **against}
    return found


def verdicts(first: Report, second: Report) -> dict[str, Any]:
    """What may be said of the difference in F1 and in exact match."""
    comparison = compare(first, second)
    said = zip(comparison.differences.items(), comparison.sentences(), strict=True)
    return {
        metric: {"proven": difference.proven, "difference": difference.difference.to_dict(), "sentence": sentence}
        for (metric, difference), sentence in said
        if metric in ("f1", "exact")
    }


def quality(report: Report) -> dict[str, Any]:
    found = {name: report.summary[name] for name in ("f1", "exact", "macro_f1")}
    found |= {f"f1_{name}": group.f1 for name, group in report.groups["difficulty"].items() if name == "hard"}
    return {name: estimate.to_dict() for name, estimate in found.items()}


if __name__ == "__main__":
    main()
