"""``up``: from ``proa up --detach`` to both APIs ready, beside a containerd's own start.

Warm: the data directory, its images and its containerd have been there before, as after
``proa down``. The peer is started and stopped in turns with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from proa.bench.live.instance import Instance
from proa.bench.live.measure import Contender, Result, interleave, ratio, scratch, summary
from proa.bench.live.peer import bare_cri

ROUNDS, WARM_UP = 3, 1


def run() -> Result:
    """The benchmark. Needs root."""
    with scratch() as folder, contextlib.ExitStack() as stack:
        peer = stack.enter_context(bare_cri(folder / "peer"))
        instance = Instance(folder / "proa")
        stack.callback(instance.down, purge=True)
        contenders = (
            Contender("containerd", _timed(peer.launch), _thread(peer.halt)),
            Contender("proa_up", _timed(instance.up), _thread(instance.down)),
        )
        samples = asyncio.run(interleave(contenders, ROUNDS, WARM_UP))
    return Result(
        name="up",
        method="proa up --detach until it returns, warm, with proa down between",
        peer="an empty containerd of the same configuration, until CRI answers",
        figures={name: summary(times, "ms") for name, times in samples.items()},
        ratio={"up": ratio(samples["proa_up"], samples["containerd"])},
    )


def _timed(work: Callable[[], None]) -> Callable[[], Awaitable[float]]:
    async def measure() -> float:
        began = time.perf_counter()
        await asyncio.to_thread(work)
        return (time.perf_counter() - began) * 1000

    return measure


def _thread(work: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def clear() -> None:
        await asyncio.to_thread(work)

    return clear
