"""Bugs planted on purpose are found: the harness can fail, and says what is wrong.

Each is put in at a seam by a context manager and taken out again. Seeds are tried in turn until one
finds it; without the bug the same seed finds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from proa.placement.fleet import Fleet
from proa.reconcile.queue import WorkQueue
from proa.reconcile.view import View
from proa.sim.campaign import judge
from proa.sim.fuzz import draw
from proa.sim.line import StoreLine
from proa.store.api import Committed, Transaction


@contextmanager
def changed(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def lost_wake_up() -> AbstractContextManager[None]:
    """A key that is added while it is worked on is not handed out again."""
    add = WorkQueue.add

    def forgetful(queue: WorkQueue, key: str) -> None:
        if key not in queue._working:
            add(queue, key)

    return changed(WorkQueue, "add", forgetful)


def stale_read() -> AbstractContextManager[None]:
    """Nobody waits until the view shows what was written: pictures are older than their work."""

    async def hasty(_view: View, _version: int) -> None:
        return

    return changed(View, "reached", hasty)


def lost_update() -> AbstractContextManager[None]:
    """Transactions are carried out whatever has become of what they were decided on."""
    commit = StoreLine.commit

    async def careless(line: StoreLine, transaction: Transaction) -> Committed:
        return await commit(line, Transaction((), transaction.writes))

    return changed(StoreLine, "commit", careless)


def double_bind() -> AbstractContextManager[None]:
    """Placement does not count what it has given away."""
    return changed(Fleet, "book", lambda _fleet, _booking: None)


Plant = Callable[[], AbstractContextManager[None]]
SEEDS = 60  # within which each must be found


def found_by(plant: Plant) -> tuple[str, str]:
    """The first seed that finds a planted bug, and what it says."""
    for number in range(SEEDS):
        with plant():
            verdict = judge(draw(str(number)))
        if verdict.problems:
            return verdict.seed, "\n".join(verdict.problems)
    raise AssertionError(f"{SEEDS} seeds have not found {plant.__name__}")


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (
            lost_wake_up,
            "IN_PROGRESS|not been looked at|wants|leads to|is Pend|is PEND|not complete|still",
        ),
        (stale_read, "was read at .* after|wants|not found"),
        (lost_update, "wrote as leader|wanted again|was told|moved|back to|became"),
        (double_bind, "holds .* of|is held by"),
    ],
)
def test_a_planted_bug_is_found_and_named(plant: Plant, said: str) -> None:
    seed, problems = found_by(plant)
    assert re.search(said, problems), problems
    assert not judge(draw(seed)).problems
