"""The line of one control plane's life to the store: what it costs, what is lost on it.

``World`` makes a ``StoreLine`` for each life over the one store that outlives them all. Every
call takes a moment, so that others run between any two of them, as they do beside a thread that
writes or a store elsewhere; ``Weather`` says what else goes wrong. Once its life has ended, a line
answers nothing any more: what a dying process still tries never reaches the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from proa.base.chance import Chance
from proa.base.clock import Clock
from proa.base.errors import TryAgain
from proa.store.api import Batch, Committed, Page, Record, SlowReader, Store, Transaction

MOMENT_S = 0.002  # at most, before and after a commit


@dataclass(slots=True)
class Weather:
    """What the lines to the store suffer from now. ``slow_s`` is added to each commit at most,
    ``lag_s`` to what a watch brings; ``refused`` and ``lost`` are the shares of commits that fail
    before they are carried out, and whose answer is lost after; each rise of ``breaks`` breaks
    every watch."""

    slow_s: float = 0.0
    lag_s: float = 0.0
    refused: float = 0.0
    lost: float = 0.0
    breaks: int = 0


class StoreLine:
    """The Store port over another store."""

    def __init__(self, store: Store, clock: Clock, chance: Chance, weather: Weather) -> None:
        self._store, self._clock, self._chance = store, clock, chance
        self._weather = weather
        self.dead = False

    async def _alive(self) -> None:
        """Return to the living; the dead wait until they are cancelled."""
        if self.dead:
            await asyncio.get_running_loop().create_future()

    async def _moment(self) -> None:
        await self._clock.sleep((MOMENT_S + self._weather.slow_s) * self._chance.random())
        await self._alive()

    def _strikes(self, share: float) -> bool:
        return bool(share) and self._chance.random() < share

    async def version(self) -> int:
        await self._alive()
        return await self._store.version()

    async def get(self, key: str) -> Record | None:
        await self._alive()
        return await self._store.get(key)

    async def range(self, prefix: str, *, after: str = "", limit: int = 0, at: int = 0) -> Page:
        await self._alive()
        return await self._store.range(prefix, after=after, limit=limit, at=at)

    async def commit(self, transaction: Transaction) -> Committed:
        await self._moment()
        if self._strikes(self._weather.refused):
            raise TryAgain("the store does not answer")
        done = await self._store.commit(transaction)
        await self._moment()
        if self._strikes(self._weather.lost):
            raise TryAgain("the store's answer was lost")
        return done

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Batch]:
        breaks = self._weather.breaks
        async for batch in self._store.watch(prefix, after=after):
            await self._alive()
            if self._weather.lag_s:
                await self._clock.sleep(self._weather.lag_s * self._chance.random())
                await self._alive()
            if self._weather.breaks != breaks:
                raise SlowReader("this watcher fell behind: list again")
            yield batch

    async def grant(self, ttl_s: float) -> int:
        await self._moment()
        return await self._store.grant(ttl_s)

    async def keep_alive(self, lease: int) -> None:
        await self._moment()
        await self._store.keep_alive(lease)

    async def revoke(self, lease: int) -> None:
        await self._moment()
        await self._store.revoke(lease)

    async def compact(self, version: int) -> None:
        await self._moment()
        await self._store.compact(version)

    async def close(self) -> None:
        """The store outlives its lines."""
