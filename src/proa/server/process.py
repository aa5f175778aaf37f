"""What both processes of Proa have in common: configuration, loop, signals, logs."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from proa.base import telemetry
from proa.base.config import Config, load_config
from proa.base.telemetry import get_logger

log = get_logger(__name__)
FAILED_CODE, FAILED_S = 70, 20.0
GARBAGE = (20_000, 20, 50)  # see gc.set_threshold
Serve = Callable[[Config, asyncio.Event], Awaitable[None]]


def run_process(data_dir: Path, serve: Serve) -> None:
    """Run ``serve`` until SIGTERM or SIGINT; it is told by the event."""
    telemetry.configure()
    config = load_config(data_dir)
    if config is None:
        sys.exit(f"proa: nothing has been set up in {data_dir}")

    async def main() -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        loop.call_later(5.0, freeze)
        await serve(config, stopping)

    uvloop.run(main())


def freeze() -> None:
    """What start-up made stays for good: the collector need not look at it again. Hardly anything
    that requests leave behind is a circle, so it may also look less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)


async def stop_when_failed(failed: asyncio.Event, stopping: asyncio.Event) -> None:
    """A control plane whose view or scheduler has died answers, and nothing happens any more:
    better to end, by force where it does not by itself, and be started anew over the store."""
    await failed.wait()
    log.error("a vital part has died: this process ends, to be started anew")
    stopping.set()
    asyncio.get_running_loop().call_later(FAILED_S, os._exit, FAILED_CODE)
