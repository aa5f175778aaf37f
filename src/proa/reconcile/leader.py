"""Leader election by a store lease: who may run the controllers where several could.

The holder keeps a key bound to a lease; the others wait for the key to vanish. ``fence`` is a
guard that every write of the leader may carry: it fails once somebody else leads.
"""

from __future__ import annotations

from proa.base.clock import Clock
from proa.base.errors import TryAgain
from proa.store.api import Guard, LeaseGone, Put, Store, Transaction

TERM_S = 15.0


class Election:
    """One contender for one name."""

    def __init__(self, store: Store, clock: Clock, name: str, identity: str) -> None:
        self._store, self._clock = store, clock
        self._key = f"/hull/leader/{name}"
        self._identity = identity
        self._lease = 0
        self._version = 0

    @property
    def fence(self) -> Guard:
        """Holds as long as this contender leads."""
        return Guard(self._key, self._version)

    async def win(self) -> None:
        """Return once this contender leads."""
        while not await self._try():
            await self._clock.sleep(TERM_S / 5)

    async def _try(self) -> bool:
        self._lease = await self._store.grant(TERM_S)
        put = Put(self._key, self._identity.encode(), lease=self._lease)
        try:
            done = await self._store.commit(Transaction((Guard(self._key, 0),), (put,)))
        except TryAgain:
            await self._store.revoke(self._lease)
            return False
        self._version = done.version
        return True

    async def keep(self) -> None:
        """Renew until the lease is lost; returns then, and the caller must stop leading."""
        while True:
            await self._clock.sleep(TERM_S / 3)
            try:
                await self._store.keep_alive(self._lease)
            except LeaseGone:
                return

    async def resign(self) -> None:
        """Give the name up at once."""
        await self._store.revoke(self._lease)
