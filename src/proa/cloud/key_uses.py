"""When access keys were last used: noted at every call, written down now and then.

The gateway notes, IAM's GetAccessKeyLastUsed reads, the assembly flushes. A crash forgets what
was noted since the last flush, as AWS's own record lags behind.
"""

from __future__ import annotations

from proa.cloud.identity import KEY_USES, KeyUse, encode, key_use_key
from proa.reconcile.view import View
from proa.store.api import Put, Store, Transaction

BATCH = 50
NOTED = 10_000  # keys that are remembered between two flushes


class KeyUses:
    """Uses since the last flush, over those in the store."""

    def __init__(self) -> None:
        self._noted: dict[tuple[str, str], KeyUse] = {}

    def note(self, account: str, id: str, use: KeyUse) -> None:
        """A long-term key was used."""
        if (account, id) in self._noted or len(self._noted) < NOTED:
            self._noted[(account, id)] = use

    def of(self, view: View, account: str, id: str) -> KeyUse | None:
        """The last use of a key, if it ever was used."""
        noted = self._noted.get((account, id))
        if noted is not None:
            return noted
        entry = view.rows(KEY_USES).get(key_use_key(account, id))
        return entry.value if entry is not None else None

    async def flush(self, store: Store) -> None:
        """Write down what was noted."""
        while self._noted:
            some = sorted(self._noted)[:BATCH]
            puts = tuple(Put(key_use_key(*name), encode(self._noted[name])) for name in some)
            await store.commit(Transaction((), puts))
            for name in some:
                self._noted.pop(name, None)
