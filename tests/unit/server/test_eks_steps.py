"""The steps of a cluster's life, as the Runner takes them: without a task of its own."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from proa.base.aio import Tasks
from proa.base.clock import run_virtual
from proa.server.doors import NoDoors
from proa.server.eks_lifecycle import Lower
from proa.server.eks_steps import Steps


class GracefulDoors(NoDoors):
    """They give connections a second to end, as ``server.http`` does."""

    def __init__(self) -> None:
        self.closed: list[str] = []

    async def close(self, cluster: str) -> None:
        async with asyncio.timeout(1):
            self.closed.append(cluster)


class Ending:
    """Of the Kubernetes bow, what ``Lower`` asks for."""

    def end(self, uid: str) -> None:
        del uid


def test_a_step_may_set_a_timeout_though_its_plan_is_begun_without_a_task() -> None:
    async def main() -> None:
        doors, crashed = GracefulDoors(), list[str]()
        nothing = cast(Any, None)
        steps = Steps(nothing, cast(Any, Ending()), nothing, doors, nothing)
        lower = cast(Any, steps.performers()[Lower])
        tasks = Tasks(lambda _name, error: crashed.append(str(error)))
        asyncio.get_running_loop().call_soon(tasks.begin, lower(Lower("uid")), "lower")
        await asyncio.sleep(1)
        assert (doors.closed, crashed) == (["uid"], [])

    run_virtual(main())
