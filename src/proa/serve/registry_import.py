"""Images from OCI layouts on disk into the registry, as ``proa up`` does with the demo images.

A tag that a user has moved since Proa last put it there is left where it is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from proa.base.errors import CallerFault
from proa.serve.registry import Registry
from proa.serve.registry_manifests import Named, named_by
from proa.store.blobs import CHUNK


async def import_layout(registry: Registry, layout: Path, references: Sequence[str]) -> None:
    """Put an OCI layout's first image, or index, into the registry under each reference
    (``<repository>:<tag>``). What is there already is not copied again. Raises CallerFault,
    DigestMismatch for a damaged layout, BadManifest."""
    index = json.loads((layout / "index.json").read_text())
    if not index["manifests"]:
        raise CallerFault(f"{layout} holds no image")
    digest = str(index["manifests"][0]["digest"])
    for reference in references:
        repository, _, tag = reference.rpartition(":")
        files, names = registry.repositories, (repository, tag)
        current = files.digest_of(*names)
        if current not in (None, digest, files.imported(*names)):
            continue
        if (current, files.imported(*names)) != (digest, digest):
            await _import(registry, layout, repository, digest, tag)
        await asyncio.to_thread(files.set_imported, *names, digest)


async def _import(registry: Registry, layout: Path, repository: str, digest: str, tag: str) -> None:
    content = _path(layout, digest).read_bytes()
    named = named_by(content)
    for each in named.manifests:
        await _import(registry, layout, repository, each, "")
    async with registry.changing:
        await _copy(registry, layout, repository, named)
        await registry.keep_manifest(repository, content, named, tag)


async def _copy(registry: Registry, layout: Path, repository: str, named: Named) -> None:
    for digest in named.blobs:
        if await registry.blobs.size(digest) is None:
            upload = await registry.blobs.begin()
            await registry.blobs.append(upload, _chunks(_path(layout, digest)))
            await registry.blobs.finish(upload, digest)
        await asyncio.to_thread(registry.repositories.add_blob, repository, digest)


def _path(layout: Path, digest: str) -> Path:
    return layout / "blobs" / Path(*digest.split(":"))


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
