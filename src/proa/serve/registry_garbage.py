"""Frees what no manifest of the registry names any more, without pulling it from under a push.

A push uploads blobs first, or is told that they are there, and names them in a manifest last. So
a blob that no manifest names goes only once no client was told of it for a while; one that a
manifest has named goes with its last manifest. ``Registry`` asks for it after every deletion,
``server.control`` now and then for what pushes have left.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from proa.base.clock import Clock
from proa.base.telemetry import get_logger
from proa.serve.registry_files import Repositories
from proa.serve.registry_manifests import BadManifest, named_by
from proa.store.blobs import Blobs, BlobUnknown, read_whole

PUSH_S = 3600.0  # a push names what it uploaded within this time
EVERY_S = 3600.0
log = get_logger(__name__)


class Garbage:
    """Over the registry's blobs and repositories. ``changing`` is the lock under which both
    change together."""

    def __init__(
        self, blobs: Blobs, repositories: Repositories, clock: Clock, changing: asyncio.Lock
    ) -> None:
        self._blobs, self._repositories, self._clock = blobs, repositories, clock
        self._changing = changing

    async def collect(self, repository: str) -> int:
        """Free what the repository alone kept and names no more; bytes freed. The caller holds
        ``changing``."""
        named: set[str] = set()
        try:
            for digest in await asyncio.to_thread(self._repositories.manifests, repository):
                with suppress(BlobUnknown):
                    named.update(named_by(await read_whole(self._blobs, digest)).blobs)
        except BadManifest as error:
            log.warning("repository is not collected", repository=repository, error=str(error))
            return 0
        before = self._clock.now() - PUSH_S
        let_go = await asyncio.to_thread(self._repositories.let_go, repository, named, before)
        return sum([await self.forget(digest) for digest in let_go])

    async def forget(self, digest: str) -> int:
        """Remove a blob that no repository names; bytes freed. The caller holds ``changing``."""
        size = await self._blobs.size(digest)
        if size is None or await asyncio.to_thread(self._repositories.is_named, digest):
            return 0
        await self._blobs.remove(digest)
        return size

    async def sweep(self) -> int:
        """Collect every repository, then the blobs that none has (of a crash between the two);
        bytes freed. Requests are answered in between."""
        freed = 0
        for repository in await asyncio.to_thread(self._repositories.all):
            async with self._changing:
                freed += await self.collect(repository)
        async with self._changing:
            linked = await asyncio.to_thread(self._repositories.digests)
            for digest in await self._blobs.digests():
                if digest not in linked:
                    freed += await self.forget(digest)
        return freed

    async def run(self) -> None:
        """Sweep now and then, until cancelled."""
        while True:
            await self._clock.sleep(EVERY_S)
            try:
                freed = await self.sweep()
            except OSError as error:
                log.warning("the registry could not be swept", error=str(error))
                continue
            if freed:
                log.info("the registry was swept", bytes=freed)
