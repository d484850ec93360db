from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_routing import MARKETING, Annotation, Conversation, Dataset, DatasetError, Example, marketing
from memory_routing.dataset_stats import dataset_stats

from .strategies import datasets


def line(categories: list[str], text: str = "We sell tea.", **labels: Any) -> dict[str, Any]:
    return {
        "scenario_id": "x-1",
        "conversation": [{"role": "user", "content": text}],
        "labels": {"categories": categories, **labels},
        "metadata": {},
    }


@pytest.mark.parametrize("name", ["data.jsonl", "data.jsonl.gz"])
@given(dataset=datasets)
def test_round_trip(dataset: Dataset, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("data") / name
    dataset.write(file)
    assert Dataset.read(file, MARKETING) == dataset
    before = file.read_bytes()
    dataset.write(file)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


@given(datasets, st.randoms())
def test_hash_does_not_depend_on_order(dataset: Dataset, rng: random.Random) -> None:
    shuffled = list(dataset)
    rng.shuffle(shuffled)
    assert Dataset(MARKETING, tuple(shuffled)).hash == dataset.hash


def test_every_bad_line_is_collected_with_number_and_reason(tmp_path: Path) -> None:
    good = json.dumps(line(["none"]))
    bad: list[tuple[str | bytes, str]] = [
        ('{"conversation": [', "not JSON: Expecting value at column 19"),
        (b"\xff\xfe", "not UTF-8 at byte 0"),
        ("[1]", "expected an object, found a list"),
        (json.dumps(line(["bogus"])), "unknown label 'bogus'"),
        (json.dumps(line([])), "categories: empty"),
        (json.dumps(line(["none", "company.brand_core"])), "none beside another label"),
        (json.dumps(line(["none"], text=" ")), "turn 0: user turn has no text"),
        (json.dumps({"scenario_id": "y", "labels": {"categories": ["none"]}}), "conversation is missing"),
        (json.dumps(line(["none"]) | {"conversation": 7}), "a conversation is a text"),
        (json.dumps(line(["none"]) | {"labels": {"categories": "none"}}), "labels.categories"),
        (json.dumps(line(["company.brand_core"], evidence={"company.brand_core": [1]})), "no turn 1 among 1"),
        (json.dumps(line(["company.brand_core"], evidence={})), "no evidence turn for company.brand_core"),
        (json.dumps(line(["none"], evidence={"company.brand_core": [0]})), "which is no label"),
        ("[" * 100_000, "nested too deeply"),
    ]
    lines = [good, *(text for text, _ in bad), "", good]
    file = tmp_path / "data.jsonl"
    file.write_bytes(b"\n".join(text if isinstance(text, bytes) else text.encode() for text in lines))
    scan = Dataset.scan(file, MARKETING)
    assert len(scan.dataset) == 2
    assert [item.number for item in scan.bad_lines] == list(range(2, len(bad) + 2))
    for item, (_, reason) in zip(scan.bad_lines, bad, strict=True):
        assert reason in item.reason
    assert scan.bad_lines[3].id == "x-1"
    with pytest.raises(DatasetError, match=f"{len(bad)} bad lines") as error:
        Dataset.read(file, MARKETING)
    assert error.value.bad_lines == scan.bad_lines


def test_context_turns_are_no_evidence() -> None:
    conversation = Conversation.of("MEMORY: we sell tea\nUSER: ok")
    with pytest.raises(DatasetError, match="turn 0 is a memory turn"):
        Example(conversation, Annotation(MARKETING.labels("company.brand_core"), {"company.brand_core": [0]}))


def grouped(sizes: list[int]) -> Dataset:
    return Dataset(
        MARKETING,
        tuple(
            Example(
                Conversation.of(f"group {g} item {i}"),
                Annotation(MARKETING.none),
                f"{g}-{i}",
                {"group": f"g{g}", "part": g % 3},
            )
            for g, size in enumerate(sizes)
            for i in range(size)
        ),
    )


def part(example: Example) -> str:
    return str(example.metadata["part"])


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=30),
    st.floats(0.05, 0.9),
    st.integers(0, 5),
    st.randoms(),
)
def test_split_laws(sizes: list[int], fraction: float, seed: int, rng: random.Random) -> None:
    dataset = grouped(sizes)
    first, second = dataset.split(fraction, stratum=part, seed=seed)
    assert sorted(e.id for e in (*first, *second)) == sorted(e.id for e in dataset)
    assert not {e.group for e in first} & {e.group for e in second}
    counts, inside = Counter(map(part, dataset)), Counter(map(part, second))
    for name, n in counts.items():
        # A stratum falls short by less than its largest group.
        assert round(fraction * n) - 4 < inside[name] <= round(fraction * n)
    shuffled = list(dataset)
    rng.shuffle(shuffled)
    again = Dataset(MARKETING, tuple(shuffled)).split(fraction, stratum=part, seed=seed)[1]
    assert {e.id for e in again} == {e.id for e in second}


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, 2.0])
def test_split_refuses_what_is_no_fraction(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction must lie between 0 and 1"):
        grouped([1]).split(fraction)


def test_stats() -> None:
    dataset = marketing.dataset("validation")
    stats = dataset_stats(dataset)
    assert stats.examples == len(dataset) == sum(stats.label_counts.values()) == sum(stats.scopes.values())
    assert sum(stats.pairs.values()) == sum(k * (k - 1) // 2 * n for k, n in stats.label_counts.items())
    assert stats.with_evidence == stats.examples
    assert json.loads(json.dumps(stats.to_dict()))["categories"]["none"] == stats.label_counts[0]
    empty = dataset_stats(Dataset(MARKETING, ()))
    assert (empty.examples, empty.words.median) == (0, 0)


def test_the_packaged_dataset_is_what_the_card_says() -> None:
    train, validation = marketing.dataset("train"), marketing.dataset("validation")
    assert (len(train), len(validation)) == (6926, 1227)
    assert not {e.group for e in train} & {e.group for e in validation}
    assert not {e.hash for e in train} & {e.hash for e in validation}
    parts = Counter(str(e.metadata["part"]) for e in (*train, *validation))
    held = Counter(str(e.metadata["part"]) for e in validation)
    assert len(parts) == 46
    for name, n in parts.items():
        assert held[name] / n == pytest.approx(0.15, abs=0.015)
    assert all(e.annotation.evidence is not None for e in (*train, *validation))
    card = (Path(marketing.__file__).parent / "DATA_CARD.md").read_text(encoding="utf-8")
    for fact in ("8,153", "6,926", "1,227", "200", "no human annotators", "language model"):
        assert fact in card


def test_the_packaged_benchmark() -> None:
    scenarios = marketing.benchmark()
    assert len(scenarios) == 200
    assert Counter(s.difficulty for s in scenarios) == {"easy": 56, "medium": 88, "hard": 56}
    assert len({s.domain for s in scenarios}) == 7
    assert all(s.evidence is not None for s in scenarios)


def test_packaged_files_are_packed_without_a_date() -> None:
    for file in Path(marketing.__file__).parent.glob("*.gz"):
        assert file.read_bytes()[4:8] == b"\0\0\0\0"
        gzip.decompress(file.read_bytes())


def test_published_training_data_is_read_with_its_faults_named(published: Path) -> None:
    counts: Mapping[str, tuple[int, int]] = {"seed_batch1_1000": (994, 6), "seed_batch2_1001": (986, 15)}
    for name, expected in counts.items():
        scan = Dataset.scan(published / f"{name}.jsonl", MARKETING)
        assert (len(scan.dataset), len(scan.bad_lines)) == expected
        assert all("turn" in item.reason for item in scan.bad_lines)
