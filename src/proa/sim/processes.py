"""Worlds that have nothing to do with each other, played side by side by all processors.

Inside a world nothing uses threads or processes, because its history follows from its seed alone.
Regions of a scenario and ways of a comparison are worlds of their own: each is given to a process,
and what comes back does not depend on which is faster.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol, TypeVar

from proa.base.errors import CallerFault

R_co = TypeVar("R_co", covariant=True)


class Work(Protocol[R_co]):
    """Something to do that tells how far it has come; it and all it tells can be pickled."""

    def __call__(self, tell: Callable[[Any], None]) -> R_co: ...


def processors() -> int:
    """How many may be used by this process."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def side_by_side(
    works: Sequence[Work[R_co]],
    told: Callable[[int, Any], None] = lambda _number, _what: None,
    at_once: int = 0,
) -> list[R_co]:
    """What each work returns, in their order; ``told`` hears what each has to tell, with its
    number. ``at_once`` are done at a time, by default as many as there are processors; where that
    is one, or there is but one work, all is done in this process. Raises CallerFault as the works
    do, ChildProcessError where a process is killed, and RuntimeError for what else goes wrong in
    one; the others are broken off."""
    at_once = min(at_once or processors(), len(works))
    if at_once <= 1:
        return [work(partial(told, number)) for number, work in enumerate(works)]
    team = _Team(works, told)
    try:
        team.run(at_once)
    finally:
        team.end()
    return [team.results[number] for number in range(len(works))]


class _Team:
    """The processes that work now; one that is done with a work takes the next."""

    def __init__(self, works: Sequence[Work[Any]], told: Callable[[int, Any], None]) -> None:
        self._told, self._waiting = told, deque(enumerate(works))
        self._context = get_context("spawn")
        self._members: dict[Connection, Any] = {}
        self._working: dict[Connection, int] = {}
        self.results: dict[int, Any] = {}

    def run(self, at_once: int) -> None:
        """Until nothing is left to do."""
        for _ in range(at_once):
            ours, theirs = self._context.Pipe()
            member = self._context.Process(target=_member, args=(theirs,), daemon=True)
            member.start()
            theirs.close()
            self._members[ours] = member
            self._next(ours)
        while self._working:
            for pipe in wait(list(self._working)):
                assert isinstance(pipe, Connection), "only pipes are waited for"
                self._hear(pipe)

    def _next(self, pipe: Connection) -> None:
        if self._waiting:
            self._working[pipe], work = self._waiting.popleft()
            try:
                pipe.send(work)
            except ConnectionError:
                raise self._ended(pipe) from None

    def _hear(self, pipe: Connection) -> None:
        number = self._working[pipe]
        try:
            kind, what = pipe.recv()
        except (EOFError, ConnectionError):
            raise self._ended(pipe) from None
        if kind == "told":
            self._told(number, what)
        elif kind == "refused":
            raise CallerFault(what)
        elif kind == "failed":
            raise RuntimeError(what)
        else:
            self.results[number] = what
            del self._working[pipe]
            self._next(pipe)

    def _ended(self, pipe: Connection) -> ChildProcessError:
        member = self._members[pipe]
        member.join()
        return ChildProcessError(f"a process ended with code {member.exitcode}")

    def end(self) -> None:
        """Break off what is still at work."""
        for pipe, member in self._members.items():
            member.terminate()
            member.join()
            pipe.close()


def _member(pipe: Connection) -> None:
    """A process: works as they come, until it is ended. An interrupt from the terminal is for the
    parent, whose end ends this one too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            work = pipe.recv()
        except EOFError:
            return
        try:
            message = "done", work(lambda what: pipe.send(("told", what)))
        except CallerFault as error:
            message = "refused", str(error)
        except BrokenPipeError:
            return
        except Exception:
            message = "failed", traceback.format_exc()
        pipe.send(message)
