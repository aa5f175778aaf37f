"""What both processes of Proa have in common: configuration, loop, signals, logs."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from proa.base import telemetry
from proa.base.config import Config, load_config

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
