"""A control plane that lost a vital part ends, so that it is started anew."""

from __future__ import annotations

import asyncio

import pytest

from proa.base.clock import run_virtual
from proa.base.config import Config
from proa.cloud.compute import put_host
from proa.model.host import Host
from proa.server import process
from proa.sim.crowd_behaviour import Manners
from proa.sim.stage import Stage
from proa.store.api import Transaction


def test_a_dead_part_stops_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[int] = []
    monkeypatch.setattr(process, "FAILED_S", 0.0)
    monkeypatch.setattr(process.os, "_exit", forced.append)

    async def play() -> bool:
        failed, stopping = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(process.stop_when_failed(failed, stopping))
        await asyncio.sleep(0)
        assert not stopping.is_set()
        failed.set()
        await task
        await asyncio.sleep(0.01)
        return stopping.is_set()

    assert asyncio.run(play())
    assert forced == [process.FAILED_CODE], "by force where it does not end by itself"


def test_a_view_that_dies_fails_its_control_plane() -> None:
    async def play() -> tuple[bool, bool]:
        stage = Stage("dies", Manners({}, {}), Config(strict=True), lambda _event: None)
        await stage.open()
        front = stage.front
        assert front is not None
        before = front.plane.failed.is_set()

        def broken(_table: object, _change: object) -> None:
            raise RuntimeError("a subscriber with a bug")

        stage.view.subscribe(broken)
        host = Host("h-1", "h-1", simulated=True)
        await stage.store.commit(Transaction(writes=(put_host(host),)))
        await stage.clock.sleep(1.0)
        after = front.plane.failed.is_set()
        await stage.close()
        return before, after

    assert run_virtual(play()) == (False, True)
