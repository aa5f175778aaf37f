"""Whether two values are the same in some attributes, for indexes and triggers that name theirs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from proa.reconcile.view import same_in


class Inner(msgspec.Struct, frozen=True):
    names: dict[str, str] = {}
    number: int = 0


class Outer(msgspec.Struct, frozen=True):
    inner: Inner = Inner()
    other: int = 0


ONE = Outer(Inner({"a": "b"}, 1), 1)


@pytest.mark.parametrize(
    ("names", "other", "same"),
    [
        (("inner.names",), replace(ONE, other=2), True),
        (("inner.names",), Outer(Inner({"a": "b"}, 2), 1), True),
        (("inner.names", "inner.number"), Outer(Inner({"a": "b"}, 2), 1), False),
        (("inner.names", "inner.number"), Outer(Inner({"a": "b"}, 1), 2), True),
        (("inner.names",), Outer(Inner({"a": "c"}, 1), 1), False),
        (("inner.number", "other"), replace(ONE, other=2), False),
        (("inner.number", "other"), Outer(Inner({}, 1), 1), True),
        (("other",), replace(ONE, inner=Inner()), True),
        (("other",), replace(ONE, other=2), False),
    ],
)
def test_only_what_is_named_is_compared(names: tuple[str, ...], other: Any, same: bool) -> None:
    assert same_in(names)(ONE, other) is same
    assert same_in(names)(other, ONE) is same
