from __future__ import annotations

import pytest

from memory_routing import MARKETING, Annotation, Conversation, Dataset, Example, LabelSet, marketing

pytest.importorskip("datasketch", reason="the extra 'data' is not installed")

from memory_routing.duplicates import find_duplicates, find_leaks, without_duplicates

TEXT = "our newsletter goes out every tuesday at nine and nobody may send it without a second pair of eyes"
NONE, BRAND = MARKETING.none, MARKETING.labels("company.brand_core")


def data(*items: tuple[str, LabelSet]) -> Dataset:
    return Dataset(
        MARKETING, tuple(Example(Conversation.of(text), Annotation(y), f"e{i}") for i, (text, y) in enumerate(items))
    )


def test_kinds_of_duplicates() -> None:
    other = "the printer on floor three is out of paper again and the lift does not stop there today"
    near = TEXT.replace("tuesday", "friday")
    found = find_duplicates(data((TEXT, BRAND), (other, NONE), (TEXT, NONE), (near, BRAND), (near + "!", NONE)))
    assert [(p.first, p.second) for p in found.exact] == [(0, 2)]
    assert [p.ids for p in found.conflicts] == [("e0", "e2")]
    assert {(p.first, p.second) for p in found.near} == {(0, 3), (0, 4), (2, 3), (2, 4), (3, 4)}
    assert {(p.first, p.second) for p in found.contrasts} == {(0, 4), (2, 3), (3, 4)}
    assert {(p.first, p.second) for p in found.redundant} == {(0, 3), (2, 4)}
    assert {round(p.similarity, 2) for p in found.near} == {0.7, 1.0}


def test_near_copies_go_only_where_labels_agree() -> None:
    near = TEXT.replace("tuesday", "friday")
    kept = without_duplicates(data((TEXT, BRAND), (near, BRAND), (near + "!", NONE), (TEXT, BRAND)))
    assert [e.id for e in kept] == ["e0", "e2"]


def test_short_texts() -> None:
    assert find_duplicates(data(("hi", NONE), ("ok", NONE), ("\U0001f600", NONE))).near == ()
    assert len(find_duplicates(data(("hi", NONE), ("hi", NONE))).exact) == 1


@pytest.mark.slow
def test_the_packaged_data_have_no_copies_and_leak_nowhere() -> None:
    train, validation = marketing.dataset("train"), marketing.dataset("validation")
    copies = find_duplicates(train + validation, 0.5)
    assert copies.exact == ()
    assert copies.redundant == ()
    assert len(copies.contrasts) > 40
    for leaks in (
        find_leaks(train, validation.examples, 0.32),
        find_leaks(train + validation, marketing.benchmark(), 0.3),
    ):
        assert leaks.exact == leaks.near == ()
