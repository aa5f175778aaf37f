"""Bags of background tasks: how they end."""

from __future__ import annotations

import asyncio

import pytest

from proa.base.aio import Tasks
from proa.base.clock import run_virtual


def test_closing_waits_for_every_task_and_raises_nothing() -> None:
    ended: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    async def main() -> None:
        tasks = Tasks()
        for name in ("a", "b"):
            tasks.spawn(work(name), name)
        await asyncio.sleep(1)
        await tasks.close()

    run_virtual(main())
    assert sorted(ended) == ["a", "b"]


def test_who_is_cancelled_while_closing_is_cancelled() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(5)

    async def closing(tasks: Tasks) -> None:
        await tasks.close()
        raise AssertionError("the cancellation was lost")

    async def main() -> None:
        tasks = Tasks()
        tasks.spawn(stubborn(), "stubborn")
        await asyncio.sleep(1)
        closer = asyncio.ensure_future(closing(tasks))
        await asyncio.sleep(1)
        closer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closer

    run_virtual(main())
