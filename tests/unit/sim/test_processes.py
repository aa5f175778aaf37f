"""Works side by side: each one's result in its place, whatever becomes of the others."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from proa.base.errors import CallerFault
from proa.sim.processes import side_by_side


def doubled(number: int, tell: Callable[[Any], None]) -> tuple[int, int]:
    tell(number)
    return number * 2, os.getpid()


def wrong(how: str, _tell: Callable[[Any], None]) -> tuple[int, int]:
    if how == "refused":
        raise CallerFault("no such thing")
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise ValueError("a bug")


def test_works_are_done_by_several_processes_and_answered_in_order() -> None:
    heard: list[tuple[int, Any]] = []
    works = [partial(doubled, number) for number in (5, 6, 7)]
    done = side_by_side(works, lambda number, what: heard.append((number, what)), at_once=2)
    assert [value for value, _ in done] == [10, 12, 14]
    assert sorted(heard) == [(0, 5), (1, 6), (2, 7)]
    pids = {pid for _, pid in done}
    assert len(pids) == 2 and os.getpid() not in pids


def test_where_one_is_done_at_a_time_nothing_leaves_this_process() -> None:
    heard: list[tuple[int, Any]] = []
    works = [partial(doubled, number) for number in (5, 6)]
    done = side_by_side(works, lambda number, what: heard.append((number, what)), at_once=1)
    assert done == [(10, os.getpid()), (12, os.getpid())]
    assert heard == [(0, 5), (1, 6)]
    assert side_by_side([]) == []


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ("refused", CallerFault, "no such thing"),
        ("failed", RuntimeError, "ValueError: a bug"),
        ("killed", ChildProcessError, "code -9"),
    ],
)
def test_what_goes_wrong_in_a_process_is_told_here(
    how: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        side_by_side([partial(wrong, how), partial(doubled, 1)], at_once=2)
