"""Contenders for a lead: each believes to lead from time to time, and acts on it.

A scenario may have some beside its control plane, on lines of their own to the same store. What a
contender does is fenced as every leader's writes are; ``laws.leads`` holds each deed against who
leads at that commit.
"""

from __future__ import annotations

from proa.base.aio import Tasks
from proa.base.chance import Chance
from proa.base.clock import Clock
from proa.base.errors import TryAgain
from proa.reconcile.leader import Election
from proa.sim.laws.leads import DEED_PREFIX, deed
from proa.store.api import Put, Store, Transaction

NAME = "contest"
PAUSE_S = 2.0


class Contender:
    """One of them, until closed. Now and then it falls asleep, and wakes up believing to lead."""

    def __init__(self, store: Store, clock: Clock, chance: Chance, identity: str) -> None:
        self._store, self._clock, self._chance = store, clock, chance
        self._identity = identity
        self.deeds = 0

    async def run(self) -> None:
        """Contend, lead and lose for ever."""
        while True:
            election = Election(self._store, self._clock, NAME, self._identity)
            tasks = Tasks()
            try:
                await election.win()
                keeping = tasks.spawn(election.keep(), f"lead of {self._identity}")
                while not keeping.done():
                    await self._act(election)
            except TryAgain:
                await self._clock.sleep(PAUSE_S)
            finally:
                await tasks.close()

    async def _act(self, election: Election) -> None:
        """One deed, which must not be done once somebody else leads; then a pause, a long one
        where this contender's machine stands still."""
        fence = election.fence
        body = deed(self._identity, fence.version)
        await self._store.commit(Transaction((fence,), (Put(DEED_PREFIX + NAME, body),)))
        self.deeds += 1
        stands_still = self._chance.random() < 0.1
        await self._clock.sleep(PAUSE_S * (10 if stands_still else 1) * self._chance.random())
        if stands_still and self._chance.random() < 0.5:
            await election.resign()
