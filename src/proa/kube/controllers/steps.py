"""Steps of this bow's plans besides plain Calls, and who carries them out.

``performers`` is given to the Runner by the assembly, over the API's in-process entrance.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from proa.base.errors import Conflict
from proa.kube.api.call import ApiError, Call

CallPerformer = Callable[[Call], Awaitable[int]]


@dataclass(slots=True, frozen=True)
class Attempt:
    """A Call whose refusal by the API (quota, admission, validation) is news in itself.

    ``refused`` answers the refusal with Calls that record it; then the plan ends with the
    refusal, so that its key backs off. Because Calls go one by one and end at the first refusal,
    a controller whose creations are all refused costs one call a try (what kube-controller-
    manager's slow start is for)."""

    call: Call
    refused: Callable[[ApiError], Sequence[Call]]


def performers(perform: CallPerformer) -> dict[type, Callable[[Any], Awaitable[int]]]:
    """The performers for every type of step that this bow's controllers plan."""

    async def attempt(step: Attempt) -> int:
        try:
            return await perform(step.call)
        except Conflict:
            raise
        except ApiError as error:
            for record in step.refused(error):
                await perform(record)
            raise

    return {Call: perform, Attempt: attempt}
