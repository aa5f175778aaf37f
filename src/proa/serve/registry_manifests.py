"""What an image manifest or index says: the blobs and manifests it names, its type, its subject.

Pure functions over the JSON of OCI image-spec 1.1 and Docker's schema 2; ``Registry`` and the
importer ask them before they keep a manifest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from proa.store.blobs import DIGEST, digest_of

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
_IMAGES = (MANIFEST_TYPE, "application/vnd.docker.distribution.manifest.v2+json")
_INDEXES = (INDEX_TYPE, "application/vnd.docker.distribution.manifest.list.v2+json")


class BadManifest(Exception):
    """Not a manifest; the text says why."""


@dataclass(slots=True, frozen=True)
class Named:
    """What a manifest names. ``blobs`` and ``manifests`` are what must be there before it;
    ``subject`` is what it is attached to, which need not."""

    media_type: str
    blobs: tuple[str, ...]
    manifests: tuple[str, ...]
    subject: str = ""
    artifact_type: str = ""
    annotations: dict[str, str] | None = None

    def descriptor(self, content: bytes) -> dict[str, Any]:
        """How an index of referrers lists this manifest."""
        found: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": digest_of(content),
            "size": len(content),
        }
        if self.artifact_type:
            found["artifactType"] = self.artifact_type
        if self.annotations:
            found["annotations"] = self.annotations
        return found


def named_by(content: bytes, content_type: str = "") -> Named:
    """Read a manifest that was sent as ``content_type`` (empty: not said). Raises BadManifest."""
    try:
        manifest = json.loads(content)
    except ValueError as error:
        raise BadManifest(f"not JSON: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("schemaVersion") != 2:
        raise BadManifest("only schema version 2 is supported")
    said = content_type.partition(";")[0].strip()
    of_index = "manifests" in manifest
    media_type = manifest.get("mediaType") or said or (INDEX_TYPE if of_index else MANIFEST_TYPE)
    kinds = _INDEXES if of_index else _IMAGES
    if media_type not in kinds or (said in (*_IMAGES, *_INDEXES) and said != media_type):
        raise BadManifest(f"this is no {media_type!r}, sent as {said!r}")
    if of_index and ("layers" in manifest or "config" in manifest):
        raise BadManifest("it is an index and an image at once")
    config = manifest.get("config")
    if not of_index and not isinstance(config, dict):
        raise BadManifest("an image names its config")
    subject = manifest.get("subject")
    return Named(
        media_type,
        tuple(_digests([] if of_index else [config, *_local_layers(manifest)])),
        tuple(_digests(_listed(manifest, "manifests"))),
        next(_digests([subject]), "") if subject is not None else "",
        str(manifest.get("artifactType") or (config or {}).get("mediaType") or ""),
        manifest.get("annotations"),
    )


def _local_layers(manifest: dict[str, Any]) -> list[Any]:
    """Layers that are pulled from here; those with URLs of their own are not."""
    layers = _listed(manifest, "layers")
    return [layer for layer in layers if not (isinstance(layer, dict) and layer.get("urls"))]


def _listed(manifest: dict[str, Any], member: str) -> list[Any]:
    found = manifest.get(member, [])
    if not isinstance(found, list):
        raise BadManifest(f"{member} is no list")
    return found


def _digests(descriptors: Iterable[Any]) -> Iterator[str]:
    for descriptor in descriptors:
        digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
        if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
            raise BadManifest(f"{digest!r} is no sha256 digest")
        yield digest
