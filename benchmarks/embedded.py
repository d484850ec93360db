"""Measure the shipped embedded router: quality, latency, cold start, size. Writes docs/results/embedded.json.

    python benchmarks/embedded.py [--model FOLDER] [--published FOLDER] [--out FILE]

Quality is scored on the packaged benchmark and, where the original project's files are at hand, on its 50
scenarios and 17 deployment scenarios. Times are of one core: median and 95th percentile, with the machine named.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from memory_routing import Conversation, Report, Scenario, evaluate, marketing, read_scenarios
from memory_routing.embedded import EmbeddedRouter

ROOT = Path(__file__).parents[1]
PUBLISHED = {"published 50": "marketing_routing_benchmark.json", "deployment 17": "deployment_scenarios.json"}
TOKENS = (46, 105)
"""Median lengths of the published 50 and of the packaged benchmark."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=Path)
    options.add_argument("--published", type=Path, default=ROOT.parent / "shared/data/published")
    options.add_argument("--out", type=Path, default=ROOT / "docs/results/embedded.json")
    told = options.parse_args()
    one_core()
    router = EmbeddedRouter(told.model, workers=1)
    sets = {"packaged 200": marketing.benchmark()}
    for name, file in PUBLISHED.items():
        if (told.published / file).exists():
            sets[name] = read_scenarios(told.published / file, router.taxonomy)
    folder = told.model or marketing.MODEL_FOLDER
    results = {
        "machine": machine(),
        "model": {
            "config": router.manifest.config,
            "dataset_hash": router.manifest.dataset_hash,
            "files": router.manifest.files,
            "megabytes": round(sum(file.stat().st_size for file in folder.iterdir()) / 1e6, 1),
        },
        "validation": router.manifest.metrics,
        "quality": {name: quality(evaluate(router, scenarios)) for name, scenarios in sets.items()},
        "latency": [latency(router, marketing.benchmark(), tokens) for tokens in TOKENS],
        "cold_start_s": cold_start(told.model),
    }
    told.out.parent.mkdir(parents=True, exist_ok=True)
    told.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


def one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def machine() -> dict[str, Any]:
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    return {"processor": cpu, "cores_used": 1, "system": platform.system(), "python": platform.python_version()}


def quality(report: Report) -> dict[str, Any]:
    none = report.categories["none"]
    rows = {name: estimate.to_dict() for name, estimate in report.summary.items()}
    rows |= {"none_precision": none.precision.to_dict(), "none_recall": none.recall.to_dict()}
    rows |= {f"f1_{name}": group.f1.to_dict() for name, group in report.groups["difficulty"].items()}
    return rows


def latency(router: EmbeddedRouter, scenarios: tuple[Scenario, ...], tokens: int) -> dict[str, Any]:
    """Time single decisions on the conversation whose length is nearest."""

    def length(conversation: Conversation) -> int:
        usage = router.classify(conversation).usage
        return usage.input_tokens if usage else 0

    near = min((s.conversation for s in scenarios), key=lambda c: abs(length(c) - tokens))
    times = []
    for _ in range(300):
        start = time.perf_counter()
        router.classify(near)
        times.append(1000 * (time.perf_counter() - start))
    times = times[50:]
    cuts = statistics.quantiles(times, n=20)
    return {"tokens": length(near), "runs": len(times), "p50_ms": cuts[9], "p95_ms": cuts[18], "min_ms": min(times)}


def cold_start(model: Path | None) -> dict[str, Any]:
    """Time from the start of a process to its first decision, through Python and through the command."""
    load = f"Router.load({str(model)!r})" if model else "Router.load()"
    code = f"from memory_routing import Router; {load}.classify('We never discount.')"
    command = [sys.executable, "-m", "memory_routing", "classify", "We never discount."]
    command += ["--model", str(model)] if model else []
    return {
        name: statistics.median(seconds(line) for _ in range(7))
        for name, line in {"python": [sys.executable, "-c", code], "command": command}.items()
    }


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
