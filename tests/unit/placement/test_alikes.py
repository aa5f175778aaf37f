"""Sets of labels and tallies find each other by a label as they would by looking at all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proa.placement.alikes import Alikes, Tallies
from proa.placement.asks import PodTerm, Requirement
from proa.placement.ledger import Alike, Description, Tally, satisfies

KEYS, VALUES = ("app", "hash", "tier"), ("a", "b", "c")
LABELS = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES)).map(
    lambda labels: tuple(sorted(labels.items()))
)
SELECTORS = st.lists(
    st.builds(
        Requirement,
        st.sampled_from(KEYS),
        st.sampled_from(("In", "NotIn", "Exists", "DoesNotExist")),
        st.lists(st.sampled_from(VALUES), min_size=1, max_size=2, unique=True).map(tuple),
    ),
    max_size=3,
).map(tuple)


def _description(selector: tuple[Requirement, ...]) -> Description:
    return Description("c", (PodTerm("", selector, ("n",)),))


@given(st.lists(LABELS, unique=True), st.data(), SELECTORS)
def test_a_description_finds_every_living_set_of_labels_that_it_means(
    sets: list[tuple[tuple[str, str], ...]], data: st.DataObject, selector: tuple[Requirement, ...]
) -> None:
    index = Alikes()
    kept = {labels: Alike("c", "n", dict(labels), False) for labels in sets}
    for labels in kept:
        index.add(labels, kept[labels])
    for labels in data.draw(st.lists(st.sampled_from(sets), unique=True)) if sets else ():
        del kept[labels]
    found = {id(alike) for alike in index.like(_description(selector))}
    meant = {id(one) for one in kept.values() if satisfies(one.labels, selector)}
    assert meant <= found <= {id(one) for one in kept.values()}
    assert all(index.get(labels, False) is kept.get(labels) for labels in sets)


@given(st.lists(SELECTORS, unique=True), st.data(), LABELS)
def test_a_set_of_labels_finds_every_tally_that_counts_it(
    selectors: list[tuple[Requirement, ...]],
    data: st.DataObject,
    labels: tuple[tuple[str, str], ...],
) -> None:
    index, alike = Tallies(), Alike("c", "n", dict(labels), False)
    kept = {selector: Tally(4) for selector in selectors}
    for selector, tally in kept.items():
        index.add(_description(selector), tally)
    for selector in data.draw(st.lists(st.sampled_from(selectors), unique=True)) if kept else ():
        assert index.remove(_description(selector)) is kept.pop(selector)
    found = {id(tally) for _, tally in index.about(alike)}
    meant = {id(tally) for one, tally in kept.items() if satisfies(alike.labels, one)}
    assert meant <= found <= {id(tally) for tally in kept.values()}
    assert {id(tally) for _, tally in index.items()} == {id(tally) for tally in kept.values()}


def test_a_set_of_labels_goes_with_its_last_holder() -> None:
    index, labels = Alikes(), (("app", "a"), ("pod", "a-0"))
    alike = Alike("c", "n", dict(labels), False)
    index.add(labels, alike)
    del alike
    assert index.get(labels, False) is None
    again = Alike("c", "n", dict(labels), False)
    index.add(labels, again)
    assert index.get(labels, False) is again


def test_a_set_of_labels_that_goes_while_others_are_looked_at_is_passed_over() -> None:
    index = Alikes()
    kept = [Alike("c", "n", {"app": "a", "hash": value}, False) for value in VALUES]
    for alike in kept:
        index.add(tuple(alike.labels.items()), alike)
    del alike
    found = index.like(_description((Requirement("app", "In", ("a",)),)))
    assert next(found) is kept[0]
    del kept[1]
    assert list(found) == kept[1:]
