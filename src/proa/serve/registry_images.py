"""The registry's images as ``proa image`` shows and removes them.

``server.control`` puts ``handle`` beside the registry's own API on the hull's socket:
``GET /v1/images``, ``DELETE /v1/images?reference=``. A reference is what a manifest of a pod or
task would say.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from proa.base.errors import CallerFault
from proa.base.http import Request, Response
from proa.serve.references import parse, repositories_of, shown
from proa.serve.registry import Registry
from proa.serve.registry_manifests import named_by
from proa.store.blobs import BlobUnknown, read_whole


@dataclass(slots=True, frozen=True)
class Listed:
    """One reference. ``size`` is in bytes, of everything that a pull of all platforms reads;
    ``platforms`` are like "linux/arm64/v8"."""

    reference: str
    digest: str
    size: int
    platforms: tuple[str, ...]


class Images:
    """Over one registry, which containers know by ``registry_port`` on the loopback."""

    def __init__(self, registry: Registry, registry_port: int) -> None:
        self._registry, self._port = registry, registry_port

    async def handle(self, request: Request) -> Response:
        """Answer a request of the command line."""
        try:
            if request.method == "GET":
                listed = [asdict(entry) for entry in await self.listed()]
                return _json(200, {"images": listed})
            if request.method == "DELETE":
                return _json(200, {"freed": await self.remove(request.param("reference"))})
        except CallerFault as error:
            return _json(404, {"message": str(error)})
        return _json(405, {"message": f"{request.method} is not allowed here"})

    async def listed(self) -> list[Listed]:
        """Every tag, by repository and tag; untagged manifests are parts of others or of a
        push, and are not shown."""
        files = self._registry.repositories
        found = []
        for repository in await asyncio.to_thread(files.names):
            for tag in await asyncio.to_thread(files.tags, repository):
                digest = files.digest_of(repository, tag)
                if digest is None:
                    continue
                seen: dict[str, int] = {}
                platforms: list[str] = []
                with suppress(BlobUnknown):
                    await self._measure(repository, digest, seen, platforms)
                    name = f"{shown(repository, self._port)}:{tag}"
                    found.append(Listed(name, digest, sum(seen.values()), tuple(platforms)))
        return found

    async def _measure(
        self, repository: str, digest: str, seen: dict[str, int], platforms: list[str]
    ) -> None:
        """Add the sizes, by digest, of all that a manifest is made of, and its platforms."""
        if digest in seen:
            return
        content = await read_whole(self._registry.blobs, digest)
        seen[digest] = len(content)
        named = named_by(content)
        for blob in named.blobs:
            seen.setdefault(blob, await self._registry.blobs.size(blob) or 0)
        for manifest in named.manifests:
            with suppress(BlobUnknown):  # of an index whose other platforms were not loaded
                await self._measure(repository, manifest, seen, platforms)
        config = json.loads(content).get("config")
        if config and named.artifact_type.endswith(("image.config.v1+json", "image.v1+json")):
            platforms.append(await self._platform(str(config["digest"])))

    async def _platform(self, config: str) -> str:
        try:
            told = json.loads(await read_whole(self._registry.blobs, config))
            parts = [told["os"], told["architecture"], told.get("variant", "")]
        except (BlobUnknown, ValueError, KeyError, TypeError):
            return "unknown"
        return "/".join(filter(None, parts))

    async def remove(self, reference: str) -> int:
        """Remove a tag, and its image if no other tag of the repository is at it; or, named by
        digest, an image with all its tags. Returns the bytes freed; raises CallerFault."""
        registry = self._registry
        async with registry.changing:
            repository, tag, digest = self._find(reference)
            files = registry.repositories
            if tag:
                await asyncio.to_thread(files.remove_tag, repository, tag)
                tags = await asyncio.to_thread(files.tags, repository)
                if any(files.digest_of(repository, other) == digest for other in tags):
                    return 0
            freed = await self._drop(repository, digest)
            return freed + await registry.garbage.collect(repository)

    def _find(self, text: str) -> tuple[str, str, str]:
        """Where a pull of this reference would find the image: repository, tag (empty where it
        says a digest) and digest."""
        meant = parse(text, self._port)
        for repository in repositories_of(meant.path, meant.host):
            digest = self._registry.repositories.digest_of(repository, meant.tag or meant.digest)
            if digest is not None:
                return repository, meant.tag, digest
        raise CallerFault(f"there is no image {text}")

    async def _drop(self, repository: str, digest: str) -> int:
        """Remove a manifest and, of an index, the images that nothing else names."""
        files, blobs = self._registry.repositories, self._registry.blobs
        if await self._is_kept(repository, digest):
            return 0
        children: tuple[str, ...] = ()
        with suppress(BlobUnknown):
            children = named_by(await read_whole(blobs, digest)).manifests
        await asyncio.to_thread(files.remove_manifest, repository, digest)
        freed = await self._registry.garbage.forget(digest)
        for child in children:
            tags = await asyncio.to_thread(files.tags, repository)
            if not any(files.digest_of(repository, tag) == child for tag in tags):
                freed += await self._drop(repository, child)
        return freed

    async def _is_kept(self, repository: str, digest: str) -> bool:
        """Whether an index of the repository names this manifest."""
        for other in await asyncio.to_thread(self._registry.repositories.manifests, repository):
            with suppress(BlobUnknown):
                if digest in named_by(await read_whole(self._registry.blobs, other)).manifests:
                    return True
        return False


def _json(status: int, value: dict[str, Any]) -> Response:
    return Response(status, json.dumps(value).encode(), {"content-type": "application/json"})
