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

Bad = NDArray[np.int16]
Narrow = NDArray[np.int16]  # scores: small columns stay in the processor's caches
Wide = NDArray[np.int32]
Small = NDArray[np.uint8]
BYTES = 256
PATTERNS = 64
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
        self._flags: dict[bytes, Mask] = {}
        self.missing: Mask = numbers == 0
        self.complete = not self.missing.any()

    @property
    def few(self) -> bool:
        """Whether the label has few values."""
        return self._codes is not None

    def flags(self, by_number: Mask) -> Mask:
        """Yes or no of each value, by row."""
        if self._codes is None:
            return self.values(by_number)
        pattern = by_number.tobytes()  # few occur, again and again
        found = self._flags.get(pattern)
        if found is None:
            if len(self._flags) >= PATTERNS:
                self._flags.clear()
            found = self._flags[pattern] = self._bytes(by_number).view(np.bool_)
        return found

    def values(self, by_number: NDArray[Kind]) -> NDArray[Kind]:
        """Numbers of each value, by row; not to be written to."""
        if self.each_row_its_own:
            return by_number[1 : len(self.numbers) + 1]
        return by_number[self.numbers]

    def small(self, by_number: Ints) -> Small:
        """Numbers from 0 to 255 of each value, by row, where there are few values; others come
        out as some such number."""
        return self._bytes(by_number)

    def with_counts(self, counts: Ints) -> tuple[bytes, int] | None:
        """(a byte for each row that tells its count and its value: count · size + value, how many
        such there are); None where a byte is not enough."""
        if self._codes is None or not len(counts):
            return None
        kinds = (int(counts[counts.argmax()]) + 1) * self.size
        if kinds > BYTES:
            return None
        values = np.frombuffer(self._codes, dtype=np.uint8)
        return (counts.astype(np.uint8) * np.uint8(self.size) + values).tobytes(), kinds

    def _bytes(self, by_number: Ints | Mask) -> Small:
        assert self._codes is not None, "asked of labels with few values only"
        return looked_up(self._codes, by_number)


def looked_up(codes: bytes, table: Ints | Mask) -> Small:
    """The low byte of each code's number, by row."""
    whole = np.zeros(BYTES, dtype=np.uint8)
    whole[: len(table)] = table
    return np.frombuffer(codes.translate(whole.tobytes()), dtype=np.uint8)


def extremes(codes: bytes, table: Ints, bad: Bad) -> tuple[int, int]:
    """(lowest, highest) number of the codes of rows that are possible; there is one."""
    order = table.argsort()
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    by_row, out = looked_up(codes, ranks), bad.astype(np.int8).view(np.uint8)
    low, high = by_row | out, by_row & ~out
    return int(table[order[low[low.argmin()]]]), int(table[order[high[high.argmax()]]])


def also_bad(bad: Bad, rejected: Mask) -> Bad:
    """``bad`` and the rejected rows."""
    return bad | np.negative(rejected.view(np.int8))


def highest(values: Wide, bad: Bad) -> int:
    """The most of the rows that are possible; there is one."""
    inside = (values & ~bad) | (bad & _LOWEST)
    return int(inside[inside.argmax()])


def lowest(values: Wide, bad: Bad) -> int:
    """The least of the rows that are possible; there is one."""
    inside = (values & ~bad) | (bad & _HIGHEST)
    return int(inside[inside.argmin()])


def any_left(bad: Bad) -> bool:
    """Whether some row is possible."""
    return len(bad) > 0 and bool(bad[bad.argmax()] == 0)


class Extremes:
    """The lowest and the highest number that possible rows have, for a label with few values.

    While ``known`` stays the same, so do the rows that are possible."""

    def __init__(self, domains: Domains) -> None:
        self.domains = domains
        self.present: Ints = np.zeros(0, dtype=np.int64)
        self._known: object = None

    def look(self, bad: Bad, known: object) -> Ints:
        """The values that possible rows have; there is such a row."""
        if known != self._known:
            counts = np.bincount(self.domains.numbers[bad == 0])
            self.present = np.flatnonzero(counts)
            self._known = known
        return self.present

    def of(self, by_number: Ints, bad: Bad, known: object) -> tuple[int, int]:
        """(lowest, highest) number of the values that possible rows have."""
        inside = by_number[self.look(bad, known)]
        return int(inside[inside.argmin()]), int(inside[inside.argmax()])
