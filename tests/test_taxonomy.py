from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_routing import MARKETING, Category, Horizon, LabelSet, Malformed, Taxonomy, TaxonomyError

from .strategies import label_sets, taxonomies


@given(taxonomies())
def test_toml_round_trip(taxonomy: Taxonomy) -> None:
    again = Taxonomy.from_toml(taxonomy.to_toml())
    assert again == taxonomy
    assert again.hash == taxonomy.hash


@given(taxonomies(), taxonomies())
def test_hashes_are_equal_for_equal_taxonomies_alone(a: Taxonomy, b: Taxonomy) -> None:
    assert (a.hash == b.hash) == (a == b)


@given(taxonomies().flatmap(label_sets))
def test_read_undoes_write(labels: LabelSet) -> None:
    assert labels.taxonomy.read(labels.taxonomy.write(labels)) == labels


@given(st.text())
def test_read_never_raises(text: str) -> None:
    assert isinstance(MARKETING.read(text), LabelSet | Malformed)


@given(
    label_sets(),
    st.randoms(),
    st.sampled_from([", ", ",", "\n", ",\n", "\n\n", " , "]),
    st.sampled_from(["", "- ", "* ", "• ", '"', "'", "`", "“"]),
    st.sampled_from(["", ".", "\n", " ", ".\n"]),
    st.booleans(),
)
def test_read_forgives_form(labels: LabelSet, random: object, separator: str, mark: str, end: str, upper: bool) -> None:
    names = list(labels) or ["none"]
    random.shuffle(names)  # type: ignore[attr-defined]
    closing = {'"': '"', "'": "'", "`": "`", "“": "”"}.get(mark, "")
    text = separator.join(f"{mark}{name}{closing}" for name in [*names, names[0]]) + end
    assert MARKETING.read(text.upper() if upper else text) == labels


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("  \n ", "empty"),
        (".", "empty"),
        ("company.brand_core, bogus", "unknown label 'bogus'"),
        ("company.brand_core, none", "none beside another label"),
        ("none, company.brand_core", "none beside another label"),
        ("brand_core", "unknown label 'brand_core'"),
        ("categories: none", "unknown label 'categories: none'"),
        ("company.brand_core user.role_context", "unknown label 'company.brand_core user.role_context'"),
        ("company.brand_core; user.role_context", "unknown label 'company.brand_core; user.role_context'"),
        ("company.brand_core,, user.role_context", "unknown label ''"),
        ("company.brand_core, ", "unknown label ''"),
        ("company.brand_core., user.role_context", "unknown label 'company.brand_core.'"),
    ],
)
def test_read_forgives_nothing_else(text: str, reason: str) -> None:
    assert MARKETING.read(text) == Malformed(text, reason)


def test_marketing_is_the_taxonomy_of_the_seeds() -> None:
    horizons = {category.name: category.horizon.value for category in MARKETING}
    assert horizons == {
        "company.brand_core": "long",
        "company.strategic_signatures": "long",
        "company.knowledge_artifacts": "long",
        "company.business_priorities": "short",
        "company.tools_config": "medium",
        "company.performance_context": "rolling",
        "user.communication_style": "long",
        "user.strategic_approach": "long",
        "user.role_context": "medium",
        "user.workflow_patterns": "medium",
        "user.session_history": "short",
        "user.interaction_preferences": "evolving",
    }
    days = {c.name: c.lifetime.days for c in MARKETING if c.lifetime and c.lifetime != c.horizon.lifetime}
    assert days == {"user.role_context": 365, "user.workflow_patterns": 365, "user.session_history": 14}
    assert {category.scope for category in MARKETING} == {"company", "user"}


def test_horizons() -> None:
    assert [h.rank for h in Horizon] == [0, 1, 1, 1, 2]
    assert [h.lifetime and h.lifetime.days for h in Horizon] == [90, 180, 180, None, None]
    assert [h for h in Horizon if h.review_after == timedelta(days=365)] == [Horizon.EVOLVING, Horizon.LONG]


def test_diff() -> None:
    older = Taxonomy(
        "t",
        "1",
        (Category("a.x", "x", Horizon.LONG), Category("a.y", "y", Horizon.SHORT), Category("a.z", "z", Horizon.LONG)),
    )
    newer = Taxonomy(
        "t",
        "2",
        (Category("a.z", "z", Horizon.SHORT), Category("a.x", "ex", Horizon.LONG), Category("a.w", "w", Horizon.LONG)),
    )
    diff = older.diff(newer)
    assert (diff.added, diff.removed, diff.reordered) == (("a.w",), ("a.y",), True)
    assert diff.changed == {
        "a.x": ("description: x -> ex",),
        "a.z": ("horizon: long -> short", "lifetime_days: 0 -> 90"),
    }
    assert str(older.diff(older)) == "no difference"


@pytest.mark.parametrize(
    ("toml", "messages"),
    [
        ("name = [1, 2\nx", ["not valid TOML", "line 2"]),
        ("name = 'a'\nversion = '1'", ["category is missing"]),
        ("name = 'a'\nversion = '1'\ncategory = []", ["no categories"]),
        ("name = 'a'\nversion = '1'\nextra = 1\ncategory = []", ["extra"]),
        (
            "name = 'a'\nversion = 1\n[[category]]\nname = 'Bad Name'\ndescription = 'x'\nhorizon = 'long'\n"
            "[[category]]\nname = 'a.b'\nhorizon = 'forever'\nlifetime_days = -1\n",
            [
                "expected a text, found 1 @ $.version",
                "'Bad Name'",
                "$.categories[0]",
                "'forever' is no horizon",
                "description is missing",
                "lifetime_days is a whole number",
                "$.categories[1]",
            ],
        ),
        (
            "name = 'a'\nversion = '1'\n[category]\nname = 'a.b'\ndescription = 'x'\nhorizon = 'long'\n",
            ["expected a list, found an object @ $.categories"],
        ),
        (
            "name = 'a'\nversion = '1'\n[[category]]\nname = 'none.b'\ndescription = 'x'\nhorizon = 'long'\n",
            ["'none' is no scope of its own"],
        ),
        (
            "name = 'a'\nversion = '1'\n[[category]]\nname = 'a.b'\ndescription = 'x'\nhorizon = 'long'\n"
            "lifetime_days = 99999999999",
            ["up to 36,500"],
        ),
        ("a = " + "[" * 100_000, ["nested too deeply"]),
        (
            "name = 'a'\nversion = '1'\n" + 2 * "[[category]]\nname = 'a.b'\ndescription = 'x'\nhorizon = 'long'\n",
            ["twice", "a.b"],
        ),
    ],
)
def test_bad_files_name_every_mistake_and_its_place(toml: str, messages: list[str], tmp_path: Path) -> None:
    file = tmp_path / "taxonomy.toml"
    file.write_text(toml, encoding="utf-8")
    with pytest.raises(TaxonomyError) as error:
        Taxonomy.load(file)
    for message in [str(file), *messages]:
        assert message in str(error.value)


@pytest.mark.parametrize("lifetime", [timedelta(hours=12), timedelta(days=40_000), timedelta(0)])
def test_a_lifetime_is_whole_days_that_a_calendar_holds(lifetime: timedelta) -> None:
    with pytest.raises(TaxonomyError, match="whole days"):
        Category("a.b", "c", Horizon.LONG, lifetime)


def test_a_byte_order_mark_is_let_be(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text(MARKETING.to_toml(), encoding="utf-8-sig")
    assert Taxonomy.load(tmp_path / "t.toml") == MARKETING


def test_labels_of_two_taxonomies_do_not_mix() -> None:
    other = Taxonomy("other", "1", (Category("a.b", "x", Horizon.LONG),))
    with pytest.raises(TaxonomyError, match="cannot be written"):
        MARKETING.write(other.none)
    with pytest.raises(TaxonomyError, match="cannot be combined"):
        MARKETING.none | other.none
    with pytest.raises(TaxonomyError, match=r"no category .* marketing; its categories are company\.brand_core"):
        MARKETING.labels("brand_core")


@given(label_sets(), label_sets())
def test_label_sets_are_sets(a: LabelSet, b: LabelSet) -> None:
    assert set(a | b) == set(a) | set(b)
    assert set(a & b) == set(a) & set(b)
    assert set(a - b) == set(a) - set(b)
    assert (a <= b) == (set(a) <= set(b))
    assert list(a) == sorted(a, key=MARKETING.names.index)
    assert (a == b) == (set(a) == set(b))
    assert hash(a) == hash(MARKETING.labels(*reversed(a.names)))
    assert a.is_none == (len(a) == 0)


def test_an_unordered_label_set_cannot_be_written() -> None:
    with pytest.raises(TaxonomyError, match="out of order"):
        LabelSet(MARKETING, ("user.role_context", "company.brand_core"))


@pytest.mark.parametrize(
    ("names", "scope", "rank"),
    [
        ([], "none", None),
        (["company.brand_core"], "company", 2),
        (["user.session_history", "user.role_context"], "user", 1),
        (["company.brand_core", "user.session_history"], "mixed", 2),
        (["company.business_priorities", "user.session_history", "company.brand_core"], "mixed", 0),
    ],
)
def test_scope_and_horizon_of_label_sets(names: list[str], scope: str, rank: int | None) -> None:
    labels = MARKETING.labels(*names)
    assert (labels.scope, labels.horizon_rank) == (scope, rank)
