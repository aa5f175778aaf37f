"""From domains to rows, fast: what is known of each value of a label, laid out over all rows.

Indexing by thousands of numbers costs more than all the rest of a decision. Labels with few
values are looked up as bytes through a table of 256, and labels that number the rows one by one
(host names) need no look-up. Rows that are out of the question are marked by ``Bad``: -1, all
bits set, so that masks combine by bitwise or. Used by ``spread``, ``pods``, ``strategies``.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from proa.placement.rows import Ints, Mask

Bad = NDArray[np.int32]
Narrow = NDArray[np.int32]
BYTES = 256
FEW = BYTES  # labels with more values than these are looked up by numbers
Kind = TypeVar("Kind", bound=np.generic)
_LOWEST, _HIGHEST = np.int32(-(2**31)), np.int32(2**31 - 1)


class Domains:
    """The numbers of one label's values by row, as of one layout of the fleet."""

    def __init__(self, numbers: Ints, size: int) -> None:
        self.numbers, self.size = numbers, size
        count = len(numbers)
        self._codes = numbers.astype(np.uint8).tobytes() if size <= FEW else None
        self.each_row_its_own = (
            self._codes is None
            and size > count
            and bool((numbers == np.arange(1, count + 1)).all())
        )
        self.missing: Mask = numbers == 0
        self.complete = not self.missing.any()

    @property
    def few(self) -> bool:
        """Whether the label has few values."""
        return self._codes is not None

    def flags(self, by_number: Mask) -> Mask:
        """Yes or no of each value, by row."""
        if self._codes is not None:
            return self._bytes(by_number).view(np.bool_)
        return self.values(by_number)

    def values(self, by_number: NDArray[Kind]) -> NDArray[Kind]:
        """Numbers of each value, by row; not to be written to."""
        if self.each_row_its_own:
            return by_number[1 : len(self.numbers) + 1]
        return by_number[self.numbers]

    def small(self, by_number: Ints) -> NDArray[np.uint8]:
        """Numbers from 0 to 255 of each value, by row, where there are few values."""
        return self._bytes(by_number)

    def ranks(self, by_number: Ints) -> tuple[NDArray[np.uint8], Ints]:
        """The rank of each row's number among those of all values, and the numbers by rank, where
        there are few values."""
        order = by_number.argsort()
        ranks = np.empty(len(order), dtype=np.int64)
        ranks[order] = np.arange(len(order))
        return self._bytes(ranks), by_number[order]

    def _bytes(self, by_number: Ints | Mask) -> NDArray[np.uint8]:
        assert self._codes is not None, "asked of labels with few values only"
        table = np.zeros(BYTES, dtype=np.uint8)
        table[: len(by_number)] = by_number
        return np.frombuffer(self._codes.translate(table.tobytes()), dtype=np.uint8)


def also_bad(bad: Bad, rejected: Mask) -> Bad:
    """``bad`` and the rejected rows."""
    return bad | np.negative(rejected.view(np.int8))


def highest(values: Narrow, bad: Bad) -> int:
    """The most of the rows that are possible; there is one."""
    inside = (values & ~bad) | (bad & _LOWEST)
    return int(inside[inside.argmax()])


def lowest(values: Narrow, bad: Bad) -> int:
    """The least of the rows that are possible; there is one."""
    inside = (values & ~bad) | (bad & _HIGHEST)
    return int(inside[inside.argmin()])


def extremes(ranks: NDArray[np.uint8], bad: Bad) -> tuple[int, int]:
    """(lowest, highest) rank of the rows that are possible; there is one."""
    out = bad.astype(np.int8).view(np.uint8)
    low, high = ranks | out, ranks & ~out
    return int(low[low.argmin()]), int(high[high.argmax()])
