"""Works side by side: each one's result in its place, whatever becomes of the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
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


@pytest.mark.parametrize("size", [10, 2_000_000])
def test_a_process_that_ends_before_it_takes_its_work_is_told_as_such(
    tmp_path: Path, size: int
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os\n"
        "from proa.sim.processes import side_by_side\n"
        "if __name__ != '__main__':\n"
        "    os._exit(3)\n"
        f"side_by_side([b'x' * {size}] * 2, at_once=2)\n"
    )
    ran = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ChildProcessError: a process ended with code 3" in ran.stderr
