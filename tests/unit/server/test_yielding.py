"""The terminator steps back while many clients are behind."""

from __future__ import annotations

from proa.server.terminator.yielding import MANY, Yielding


def test_it_steps_back_for_many_and_comes_forward_when_all_have_caught_up() -> None:
    steps: list[int] = []
    yielding = Yielding(3, steps.append)
    steps.clear()  # of its trying
    for behind in (0, 1, MANY - 1):
        yielding.look(behind)
    assert steps == []
    for behind in (MANY, MANY + 1, 1):
        yielding.look(behind)
    assert steps == [13]
    yielding.look(0)
    yielding.look(0)
    assert steps == [13, 3]


def test_the_last_priority_is_the_end() -> None:
    steps: list[int] = []
    yielding = Yielding(15, steps.append)
    yielding.look(MANY)
    assert steps[-1] == 19


def test_where_it_could_not_come_forward_it_does_not_step_back() -> None:
    steps: list[int] = []

    def refuse(nice: int) -> None:
        steps.append(nice)
        raise PermissionError(13, "Permission denied")

    yielding = Yielding(0, refuse)
    yielding.look(1000)
    yielding.look(0)
    assert steps == [-1]
