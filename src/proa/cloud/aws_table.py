"""How tables are made of what AWS's services store: every record lies at
``/aws/<account>/<region or global>/<service>/<kind>/<rest>``.

All of them look at the beginning of a key and its depth, so that a view asks only once which of
the many hold what lies below one parent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from proa.reconcile.view import Table

T = TypeVar("T")
PREFIX = "/aws/"


def aws_table(
    name: str,
    place: tuple[str, str],
    decode: Callable[[bytes], T],
    indexes: Mapping[str, Callable[[str, T], Iterable[str]]] | None = None,
    parts: Mapping[str, tuple[str, ...]] | None = None,
    depth: int = 0,
) -> Table[T]:
    """The table of the records of ``place``, a service and one of its kinds; of those with
    ``depth`` names after the kind, where one kind lies below another. ``parts`` see Table."""

    def matches(key: str) -> bool:
        pieces = key.split("/")
        return tuple(pieces[4:6]) == place and (not depth or len(pieces) == 6 + depth)

    return Table(name, PREFIX, decode, matches, indexes or {}, parts or {}, by_parent=True)
