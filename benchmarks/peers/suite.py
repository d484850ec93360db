"""Train and score what others offer on our data, on this machine, each in an environment of its own.

    python benchmarks/peers/suite.py [--only NAME] [--work FOLDER] [--published FOLDER] [--encoder FOLDER]

Writes docs/results/peers.json; `benchmarks/tables.py` makes the table of it. Every peer trains on the packaged training
data, takes its threshold from the packaged validation data, and is scored once on the packaged 200 scenarios and, where
the original project's files are at hand, on its 50, of which stored predictions of its two models are scored too.
All run on one thread. The size is that of the environment's packages, with models. The teacher is scored where a key
for it is in the environment.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from memory_routing import MARKETING, Conversation, Report, Scenario, compare, evaluate, marketing, read_scenarios
from memory_routing.local.encoder import find_encoder
from memory_routing.predictions import read_predictions, score_predictions

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BENCHMARK, STORED = "marketing_routing_benchmark.json", "final_benchmark_results.json"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}


@attrs.frozen
class Peer:
    """A script and what its environment needs; without packages it runs in ours."""

    name: str
    script: str
    packages: tuple[str, ...] = ()


TORCH = "torch==2.13.0"
PEERS = (
    Peer("embedded router", "ours", (str(ROOT),)),
    Peer("always none", "constant"),
    Peer("commonest single label", "constant"),
    Peer("n-grams and logistic regression", "ngrams", ("scikit-learn>=1.5",)),
    Peer("frozen encoder and logistic regression", "probe", (TORCH, "sentence-transformers>=5", "scikit-learn>=1.5")),
    Peer("spaCy textcat_multilabel", "textcat", ("spacy>=3.8",)),
    Peer("fastText", "bags", ("fasttext>=0.9.3", "numpy<2")),
    Peer("semantic-router", "utterances", (TORCH, "semantic-router>=1.1", "transformers>=5")),
    Peer("adaptive-classifier", "adaptive", (TORCH, "adaptive-classifier>=0.3.1")),
    Peer("SetFit", "contrastive", (TORCH, "setfit>=1.2")),
)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", action="append", choices=[peer.name for peer in PEERS])
    options.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "memory-routing-peers")
    options.add_argument("--published", type=Path, default=ROOT.parent / "shared/data/published")
    options.add_argument("--encoder", type=Path, default=None)
    options.add_argument("--out", type=Path, default=ROOT / "docs/results/peers.json")
    told = options.parse_args()
    sets = {"packaged": list(marketing.benchmark())}
    if (told.published / BENCHMARK).exists():
        sets["published"] = list(read_scenarios(told.published / BENCHMARK, MARKETING))
    data = told.work / "data"
    write_data(data, sets)
    known = json.loads(told.out.read_text(encoding="utf-8")) if told.out.exists() else {"rows": {}}
    reports: dict[str, dict[str, Report]] = {name: {} for name in sets}
    rows: dict[str, Any] = known["rows"]
    for peer in PEERS:
        if told.only and peer.name not in told.only:
            continue
        measured, decided = run(peer, data, told.work, told.encoder)
        scored = {name: score_predictions(decided, named(name, items), peer.name) for name, items in sets.items()}
        for name, report in scored.items():
            reports[name][peer.name] = report
        rows[peer.name] = {"quality": {name: quality(report) for name, report in scored.items()}, **measured}
        print(peer.name, json.dumps(rows[peer.name]))
        against = reports["packaged"].get(PEERS[0].name)
        if against is not None and peer is not PEERS[0]:
            rows[peer.name]["against"] = str(compare(against, scored["packaged"])).splitlines()[:2]
        save(told.out, rows)
    if "published" in sets:
        for name, decided in read_predictions(told.published / STORED, MARKETING).items():
            report = score_predictions(decided, sets["published"], name)
            rows[name] = {"quality": {"published": quality(report)}, "note": "stored predictions"}
    if "COHERE_API_KEY" in os.environ:
        from memory_routing.cohere import CohereRouter

        found = {name: evaluate(CohereRouter(), items) for name, items in sets.items()}
        rows["teacher"] = {"quality": {name: quality(report) for name, report in found.items()}}
    save(told.out, rows)


def save(out: Path, rows: dict[str, Any]) -> None:
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    processor = cpu.partition("model name")[2].partition("\n")[0].strip("\t :") or "unknown"
    whole = {"machine": {"processor": processor, "threads": 1, "python": sys.version.split()[0]}, "rows": rows}
    out.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def named(name: str, items: Sequence[Scenario]) -> list[Scenario]:
    """Scenarios with ids that no other benchmark has."""
    return [attrs.evolve(item, id=f"{name}/{item.id}") for item in items]


def text(conversation: Conversation) -> str:
    return conversation.to_transcript()


def write_data(folder: Path, sets: dict[str, list[Scenario]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "names.json").write_text(json.dumps(list(MARKETING.names)), encoding="utf-8")
    for part in ("train", "validation"):
        examples = marketing.dataset(part)
        rows = [{"id": e.id, "text": text(e.conversation), "labels": list(e.labels)} for e in examples]
        write(folder / f"{part}.jsonl", rows)
    scenarios = [item for name, items in sets.items() for item in named(name, items)]
    write(folder / "scenarios.jsonl", [{"id": s.id, "text": text(s.conversation), "labels": []} for s in scenarios])


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def run(peer: Peer, data: Path, work: Path, encoder: Path | None) -> tuple[dict[str, Any], Any]:
    """What a peer measured of itself, and its decisions."""
    place = work / peer.script
    python, size = (Path(sys.executable), None) if not peer.packages else environment(place / "env", peer.packages)
    out = place / "out"
    out.mkdir(parents=True, exist_ok=True)
    data, out = data.absolute(), out.absolute()
    told = {**os.environ, **ONE_THREAD, **OFFLINE, "PEER": peer.name}
    if TORCH in peer.packages:
        told["PEER_ENCODER"] = str(encoder or find_encoder())
    command = [str(python), str(HERE / f"{peer.script}.py"), str(data), str(out)]
    # There, whatever a peer leaves behind.
    subprocess.run(command, env=told, check=True, cwd=out)
    measured = json.loads((out / "measured.json").read_text(encoding="utf-8"))
    ((_, decided),) = read_predictions(out / "predictions.jsonl", MARKETING).items()
    return {**measured, "install_mb": size}, decided


def environment(folder: Path, packages: Sequence[str]) -> tuple[Path, float]:
    """An environment with these packages, and how many megabytes they take."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        for package in packages:
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", package], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    files = [file for file in site.rglob("*") if file.is_file() and not {"pip", "setuptools"} & set(file.parts)]
    return python, sum(file.stat().st_size for file in files) / 1e6


def quality(report: Report) -> dict[str, Any]:
    names = ("f1", "exact", "macro_f1")
    return {name: report.summary[name].to_dict() for name in names}


if __name__ == "__main__":
    main()
