"""Which counts concern which bookings, found by a label instead of by looking at all.

``fleet`` keeps both indexes. A fleet with a thousand workloads has as many sets of labels and as
many tallies, and each new workload brings one of each: who meets whom is asked for those alone
that share a label.
"""

from __future__ import annotations

from collections.abc import Iterator
from weakref import ref

from proa.placement.asks import Labels, PodTerm
from proa.placement.ledger import Alike, Description, Tally

Pair = tuple[str, str]  # a label and its value
Key = tuple[Labels, bool]  # labels, and whether the holders are about to end


def _needed(description: Description) -> list[Pair]:
    """Labels that whatever is described has; none where no single value is asked for."""
    first: PodTerm = description.terms[0]
    return [
        (item.key, item.values[0])
        for item in first.selector or ()
        if item.operator == "In" and len(item.values) == 1
    ]


class Alikes:
    """The sets of labels of one namespace's bookings. One goes with the last that holds it."""

    def __init__(self) -> None:
        self._all: dict[Key, ref[Alike]] = {}
        self._by_label: dict[Pair, dict[Key, None]] = {}

    def get(self, labels: Labels, ending: bool) -> Alike | None:
        """What is kept for these labels."""
        found = self._all.get((labels, ending))
        return found() if found is not None else None

    def add(self, labels: Labels, alike: Alike) -> None:
        """Keep one that is not there."""
        key = (labels, alike.ending)

        def gone(dead: ref[Alike]) -> None:
            if self._all.get(key) is dead:
                self._drop(key)

        self._all[key] = ref(alike, gone)
        for pair in labels:
            self._by_label.setdefault(pair, {})[key] = None

    def _drop(self, key: Key) -> None:
        del self._all[key]
        for pair in key[0]:
            bucket = self._by_label[pair]
            bucket.pop(key, None)
            if not bucket:
                del self._by_label[pair]

    def like(self, description: Description) -> Iterator[Alike]:
        """Those that may be described, and all that are."""
        buckets = [self._by_label.get(pair, {}) for pair in _needed(description)]
        keys = min(buckets, key=len) if buckets else self._all
        for key in list(keys):
            kept = self._all.get(key)  # what nobody holds any more goes at any moment
            found = kept() if kept is not None else None
            if found is not None:
                yield found


class Tallies:
    """Tallies by what they count."""

    def __init__(self) -> None:
        self._all: dict[Description, Tally] = {}
        # cluster and label → what is filed there; without a label: what asks for none
        self._filed: dict[tuple[str, Pair | None], dict[Description, Tally]] = {}
        self._where: dict[Description, tuple[str, Pair | None]] = {}

    def get(self, description: Description) -> Tally | None:
        """The tally of a description."""
        return self._all.get(description)

    def items(self) -> list[tuple[Description, Tally]]:
        """All of them."""
        return list(self._all.items())

    def add(self, description: Description, tally: Tally) -> None:
        """Keep one that is not there, under the label that fewest others are filed under."""
        cluster = description.cluster
        places = [(cluster, pair) for pair in _needed(description)]
        place = min(places, key=lambda at: len(self._filed.get(at, ())), default=(cluster, None))
        self._all[description], self._where[description] = tally, place
        self._filed.setdefault(place, {})[description] = tally

    def remove(self, description: Description) -> Tally:
        """Forget one."""
        place = self._where.pop(description)
        filed = self._filed[place]
        del filed[description]
        if not filed:
            del self._filed[place]
        return self._all.pop(description)

    def about(self, alike: Alike) -> Iterator[tuple[Description, Tally]]:
        """Those that may count what has these labels, and all that do."""
        for pair in (*alike.labels.items(), None):
            yield from self._filed.get((alike.cluster, pair), {}).items()
