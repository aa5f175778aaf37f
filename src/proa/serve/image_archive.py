"""Images in tar files, as ``docker save``, ``podman save`` and skopeo write them.

``open_archive`` reads docker-archive and OCI-archive files, compressed or not, into ``Image``
values whose contents are read from the file when they are asked for. ``proa image load`` puts
them into the registry, which verifies every digest once more.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import json
import lzma
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from proa.base.errors import CallerFault
from proa.serve.registry_manifests import MANIFEST_TYPE, BadManifest, named_by
from proa.store.blobs import digest_of

SMALL = 4 * 1024 * 1024  # bytes of a manifest, an index or a configuration
_DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_GZIP = b"\x1f\x8b"
_OPENERS: dict[bytes, Callable[[Path], Any]] = {
    _GZIP: gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


@dataclass(slots=True, frozen=True)
class Blob:
    """Content of a known digest and size in bytes, read from the archive."""

    digest: str
    size: int
    open: Callable[[], IO[bytes]]


@dataclass(slots=True, frozen=True)
class Image:
    """A manifest, or an index with its ``parts``, and the names it was saved under."""

    names: tuple[str, ...]
    manifest: bytes
    media_type: str
    blobs: tuple[Blob, ...] = ()
    parts: tuple[Image, ...] = ()

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[list[Image]]:
    """The images of a file, for the length of a block. Raises CallerFault where it is no such
    archive, damaged or cut off."""
    with contextlib.ExitStack() as stack:
        try:
            archive = _Archive(stack.enter_context(_opened(path)))
            images = archive.images()
        except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
            raise CallerFault(f"{path}: {_words(error)}") from error
        except (KeyError, ValueError, TypeError, AttributeError, BadManifest) as error:
            raise CallerFault(f"{path} is a damaged image archive: {error}") from error
        if images is None:
            raise CallerFault(f"{path} holds neither a docker-archive nor an OCI archive")
        yield images


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"not a tar file that can be read: {error}"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    """The tar file; what is compressed is unpacked first, as its members are read in any order."""
    with contextlib.ExitStack() as stack:
        source: IO[bytes] = stack.enter_context(path.open("rb"))
        magic = source.read(6)
        source.seek(0)
        for begin, opener in _OPENERS.items():
            if magic.startswith(begin):
                unpacked = stack.enter_context(tempfile.TemporaryFile())
                with opener(path) as packed:
                    shutil.copyfileobj(packed, unpacked, 1 << 20)
                unpacked.seek(0)
                source = unpacked
        yield stack.enter_context(tarfile.open(fileobj=source, mode="r:"))


class _Archive:
    """One open tar file."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._members = {_plain(member.name): member for member in tar.getmembers()}

    def images(self) -> list[Image] | None:
        """What is in it; None where it is no image archive. A whole OCI layout goes first: it
        keeps the digests; Docker leaves the platforms out that it has not pulled."""
        if "index.json" in self._members:
            index = json.loads(self._small("index.json"))
            if "manifest.json" not in self._members:
                return self._of_layout(index)
            with contextlib.suppress(KeyError):
                return self._named_by_docker(self._of_layout(index))
        if "manifest.json" in self._members:
            return [self._of_docker(entry) for entry in json.loads(self._small("manifest.json"))]
        return None

    def _small(self, name: str) -> bytes:
        if self._members[name].size > SMALL:
            raise ValueError(f"{name} is larger than {SMALL} bytes")
        with self._file(name) as file:
            content: bytes = file.read()
            return content

    def _file(self, name: str) -> Any:
        """A member's content, through links. Raises KeyError where it is missing."""
        file = self._tar.extractfile(self._members[name])
        if file is None:
            raise KeyError(name)
        return file

    # OCI

    def _of_layout(self, index: dict[str, Any]) -> list[Image]:
        images: dict[str, Image] = {}
        for entry in index["manifests"]:
            digest, told = str(entry["digest"]), entry.get("annotations") or {}
            name = next((told[key] for key in _NAMES if told.get(key)), "")
            known = images[digest].names if digest in images else ()
            full = (name,) if "/" in name or ":" in name else ()  # else it is but a tag
            names = tuple(dict.fromkeys((*known, *full)))
            images[digest] = self._of_digest(digest, names)
        return list(images.values())

    def _of_digest(self, digest: str, names: tuple[str, ...] = ()) -> Image:
        content = self._small(_blob_path(digest))
        named = named_by(content)
        return Image(
            names,
            content,
            named.media_type or MANIFEST_TYPE,
            tuple(self._blob(digest) for digest in named.blobs),
            tuple(self._of_digest(digest) for digest in named.manifests),
        )

    def _blob(self, digest: str) -> Blob:
        name = _blob_path(digest)
        return Blob(digest, self._members[name].size, lambda: self._file(name))

    def _named_by_docker(self, images: list[Image]) -> list[Image]:
        """An OCI layout whose names only Docker's manifest.json has."""
        if any(image.names for image in images) or len(images) != 1:
            return images
        told = json.loads(self._small("manifest.json"))
        names = dict.fromkeys(name for entry in told for name in entry.get("RepoTags") or ())
        (image,) = images
        return [Image(tuple(names), image.manifest, image.media_type, image.blobs, image.parts)]

    # Docker

    def _of_docker(self, entry: dict[str, Any]) -> Image:
        config = self._small(entry["Config"])
        expected = json.loads(config)["rootfs"]["diff_ids"]
        if len(expected) != len(entry["Layers"]):
            raise ValueError("its configuration names other layers")
        layers = [
            self._layer(_plain(name), diff)
            for name, diff in zip(entry["Layers"], expected, strict=True)
        ]
        manifest = {
            "schemaVersion": 2,
            "mediaType": _DOCKER,
            "config": {
                "mediaType": _DOCKER_CONFIG,
                "size": len(config),
                "digest": digest_of(config),
            },
            "layers": [
                {"mediaType": media_type, "size": blob.size, "digest": blob.digest}
                for media_type, blob in layers
            ],
        }
        name = _plain(entry["Config"])
        blobs = (
            Blob(digest_of(config), len(config), lambda: self._file(name)),
            *(blob for _, blob in layers),
        )
        names = tuple(entry.get("RepoTags") or ())
        return Image(names, json.dumps(manifest).encode(), _DOCKER, blobs)

    def _layer(self, name: str, diff_id: str) -> tuple[str, Blob]:
        """A layer and its media type; one that is not compressed has the digest that the
        configuration says."""
        with self._file(name) as file:
            packed = file.read(2) == _GZIP
            size = file.seek(0, 2)
            file.seek(0)
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        if not packed and digest != diff_id:
            raise ValueError(f"layer {name} is {digest}, not {diff_id}")
        media_type = f"{_DOCKER_LAYER}.gzip" if packed else _DOCKER_LAYER
        return media_type, Blob(digest, size, lambda: self._file(name))


def _plain(name: str) -> str:
    return name.removeprefix("./").rstrip("/")


def _blob_path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
