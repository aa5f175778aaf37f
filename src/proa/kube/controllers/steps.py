"""Steps of this bow's plans besides plain Calls, and who carries them out.

``performers`` is given to the Runner by the assembly, over the API's in-process entrance.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from proa.base.errors import Conflict
from proa.dispatch.skin import Parts
from proa.kube.api.call import ApiError, Call

CallPerformer = Callable[[Call], Awaitable[int]]
CallsPerformer = Callable[[Sequence[Call]], Awaitable[int]]
Children = Sequence[tuple[Call, Sequence[Parts]]]
BirthsPerformer = Callable[[Children, Sequence[Call]], Awaitable[int]]
Reached = Callable[[int], Awaitable[None]]


@dataclass(slots=True, frozen=True)
class Attempt:
    """A Call whose refusal by the API (quota, admission, validation) is news in itself.

    ``refused`` answers the refusal with Calls that record it; then the plan ends with the
    refusal, so that its key backs off. Because Calls go one by one and end at the first refusal,
    a controller whose creations are all refused costs one call a try (what kube-controller-
    manager's slow start is for)."""

    call: Call
    refused: Callable[[ApiError], Sequence[Call]]


@dataclass(slots=True, frozen=True)
class Births:
    """Calls that create named objects of one cluster, each with the Events that tell of it. They
    go together, many in a transaction; at the first refusal it ends as an ``Attempt`` does, and
    those before it are there. Otherwise ``then`` is written with them, which takes the short way
    (``kube.api.own_writes``)."""

    children: tuple[tuple[Call, Sequence[Parts]], ...]
    refused: Callable[[ApiError], Sequence[Call]]
    then: tuple[Call, ...] = ()


@dataclass(slots=True, frozen=True)
class Together:
    """Calls of one cluster that belong to one decision: those that can be are one transaction, so
    that nobody sees, and nobody acts on, half of it. They end at the first refusal."""

    calls: tuple[Call, ...]


def together(calls: Sequence[Call]) -> tuple[Call | Together, ...]:
    """Calls of one cluster as the steps of a plan."""
    return tuple(calls) if len(calls) < 2 else (Together(tuple(calls)),)


def performers(
    perform: CallPerformer,
    create: BirthsPerformer,
    perform_all: CallsPerformer,
    reached: Reached,
) -> dict[type, Callable[[Any], Awaitable[int]]]:
    """The performers for every type of step that this bow's controllers plan. ``reached`` returns
    once the view shows a version."""

    async def recorded(work: Awaitable[int], refused: Callable[[ApiError], Sequence[Call]]) -> int:
        try:
            return await work
        except Conflict:
            raise
        except ApiError as error:
            # Who decides again must see what was told: a refusal names no version to wait for.
            await reached(await perform_all(refused(error)))
            raise

    async def attempt(step: Attempt) -> int:
        return await recorded(perform(step.call), step.refused)

    async def births(step: Births) -> int:
        return await recorded(create(step.children, step.then), step.refused)

    async def all_of(step: Together) -> int:
        return await perform_all(step.calls)

    return {Call: perform, Attempt: attempt, Births: births, Together: all_of}
