"""Keys in order: whatever came and went before a look, the look shows what is there, sorted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proa.reconcile.order import Order

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
