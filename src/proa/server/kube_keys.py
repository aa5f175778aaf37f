"""The keys of clusters that come after the first: drawn once, kept sealed with their objects.

A cluster's keys lie at ``/kube/<uid>/keys``, so that they move with a backup and go with the
cluster's prefix. Called by the clusters' lifecycle.
"""

from __future__ import annotations

import base64

import orjson

from proa.base.errors import Conflict
from proa.cloud.secrets import Sealer
from proa.kube.pki import ClusterKeys, draw_keys
from proa.server.core import Core
from proa.store.api import Guard, Put, Transaction


def keys_key(uid: str) -> str:
    """Where a cluster's keys lie."""
    return f"/kube/{uid}/keys"


class KeyRing:
    """Draws, keeps and opens the keys of clusters."""

    def __init__(self, core: Core, sealer: Sealer) -> None:
        self._core, self._sealer = core, sealer

    async def of(self, uid: str) -> ClusterKeys:
        """The cluster's keys, drawn on the first call. Raises CannotOpen where they were sealed
        with another sealing key."""
        key, core = keys_key(uid), self._core
        while True:
            record = await core.store.get(key)
            if record is not None:
                return self._opened(key, record.body)
            drawn = draw_keys(core.chance.child(f"keys {uid}"), core.clock.now())
            guard, write = Guard(key, 0), Put(key, self._closed(key, drawn))
            try:
                await core.store.commit(Transaction((guard,), (write,)))
            except Conflict:
                continue  # somebody else drew them: look again
            return drawn

    def _closed(self, key: str, keys: ClusterKeys) -> bytes:
        parts = [keys.ca_pem, keys.ca_key_pem, keys.token_key_pem]
        plain = orjson.dumps([part.decode() for part in parts])
        sealed = base64.b64encode(self._sealer.seal(plain, key)).decode()
        return orjson.dumps({"sealed": sealed})

    def _opened(self, key: str, body: bytes) -> ClusterKeys:
        sealed = base64.b64decode(orjson.loads(body)["sealed"])
        ca, ca_key, token_key = orjson.loads(self._sealer.open(sealed, key))
        return ClusterKeys(ca.encode(), ca_key.encode(), token_key.encode())
