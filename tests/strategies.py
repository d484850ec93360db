"""Hypothesis strategies for the library's values."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st

from memory_routing import (
    MARKETING,
    Annotation,
    Category,
    Conversation,
    Dataset,
    Example,
    Horizon,
    LabelSet,
    Scenario,
    Taxonomy,
    Turn,
)
from memory_routing.datums import PolicyDatum

# No surrogates: they are tested apart, where they matter.
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80).filter(lambda text: text.strip())
words = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=8)


@st.composite
def categories(draw: st.DrawFn) -> Category:
    name = f"{draw(words.filter(lambda scope: scope not in ('none', 'mixed')))}.{draw(words)}"
    horizon = draw(st.sampled_from(Horizon))
    lifetimes = st.one_of(st.none(), st.integers(1, 10_000).map(lambda days: timedelta(days=days)))
    return Category(name, draw(texts), horizon, draw(st.one_of(st.just(horizon.lifetime), lifetimes)))


@st.composite
def taxonomies(draw: st.DrawFn) -> Taxonomy:
    parts = draw(st.lists(categories(), min_size=1, max_size=6, unique_by=lambda category: category.name))
    return Taxonomy(draw(texts), draw(texts), tuple(parts))


def label_sets(taxonomy: Taxonomy = MARKETING) -> st.SearchStrategy[LabelSet]:
    return st.sets(st.sampled_from(taxonomy.names)).map(lambda names: taxonomy.labels(*names))


turns = st.builds(Turn, st.sampled_from(["user", "assistant", "system", "memory"]), texts)
conversations = st.lists(turns, min_size=1, max_size=5).map(lambda items: Conversation(tuple(items)))


@st.composite
def annotated(draw: st.DrawFn) -> tuple[Conversation, Annotation]:
    conversation = draw(conversations)
    places = [i for i, turn in enumerate(conversation.turns) if not turn.is_context]
    labels = draw(label_sets()) if places else MARKETING.none
    said = {name: tuple(draw(st.sets(st.sampled_from(places), min_size=1))) for name in labels}
    return conversation, Annotation(labels, draw(st.sampled_from([said, None])))


@st.composite
def examples(draw: st.DrawFn) -> Example:
    conversation, annotation = draw(annotated())
    metadata = draw(st.dictionaries(words, st.one_of(texts, st.integers(0, 99), st.lists(words)), max_size=3))
    return Example(conversation, annotation, draw(words), metadata)


datasets = st.lists(examples(), max_size=8).map(lambda items: Dataset(MARKETING, tuple(items)))


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    conversation, annotation = draw(annotated())
    others = draw(st.lists(label_sets(), max_size=2))
    difficulty = draw(st.sampled_from(["easy", "medium", "hard", None]))
    return Scenario(conversation, (annotation.labels, *others), draw(words), annotation.evidence, difficulty)


tokens = st.lists(st.integers(0, 1000), min_size=1, max_size=12)


@st.composite
def policy_datums(draw: st.DrawFn) -> PolicyDatum:
    own = draw(tokens)
    said = draw(st.lists(st.floats(-20, 0, width=32), min_size=len(own), max_size=len(own)))
    return PolicyDatum(draw(tokens), own, said, draw(st.floats(-2, 2, width=32)))
