"""Keys in order: whatever came and went before a look, the look shows what is there, sorted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proa.reconcile.order import Order, Shelves

STEPS = st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=200)


@given(STEPS)
def test_order_shows_what_is_there(steps: list[tuple[int, bool]]) -> None:
    order, there = Order(), set[str]()
    for number, look in steps:
        key = f"k{number}"
        if key in there:
            order.remove(key)
        else:
            order.add(key)
        there ^= {key}
        if look:
            assert order.keys() == sorted(there)
    assert order.keys() == sorted(there)


def _shelf(key: str) -> str:
    shelf, slash, _ = key.partition("/")
    return shelf + slash if slash else ""


@given(STEPS, st.sampled_from(["", "a", "a/", "a-b/1", "b/", "c/"]), st.integers(0, 60))
def test_shelves_show_what_is_there_as_one_order_would(
    steps: list[tuple[int, bool]], prefix: str, last: int
) -> None:
    shelves, there = Shelves(_shelf), set[str]()
    for number, look in steps:
        key = f"{('a', 'a-b', 'b')[number % 3]}/{number}"
        if key in there:
            shelves.remove(key)
        else:
            shelves.add(key)
        there ^= {key}
        after = f"{('a', 'a-b', 'b')[last % 3]}/{last}" if last % 2 else ""
        if look:
            wanted = [key for key in sorted(there) if key.startswith(prefix) and key > after]
            assert list(shelves.scan(prefix, after)) == wanted
