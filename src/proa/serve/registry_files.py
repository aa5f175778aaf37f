"""What each repository of the registry holds, as small files: tags, manifests, blobs, referrers.

``Registry`` is the only caller. A repository is a folder of empty or one-line files that name
digests; the content lies once, in ``store.blobs``. Names that come from outside are checked
here before they become paths. Every change is synced when its call returns; the calls block.
"""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proa.serve.references import is_tag
from proa.store.blobs import DIGEST, sync_folder


@dataclass(slots=True, frozen=True)
class Manifest:
    """A manifest on its way in: what a repository notes of it. ``descriptor`` is what its
    ``subject``'s referrers are told."""

    digest: str
    media_type: str
    subject: str = ""
    descriptor: dict[str, Any] | None = None


class Repositories:
    """All repositories below one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def names(self) -> list[str]:
        """Every repository with a manifest, sorted."""
        found = (path.parent for path in self._root.rglob("_manifests") if any(path.iterdir()))
        return sorted(str(path.relative_to(self._root)) for path in found)

    def all(self) -> list[str]:
        """Every repository, those of an unfinished push included, sorted."""
        kinds = ("_manifests", "_blobs")
        found = {path.parent for kind in kinds for path in self._root.rglob(kind)}
        return sorted(str(path.relative_to(self._root)) for path in found)

    def digests(self) -> set[str]:
        """Every blob and manifest that any repository has."""
        kinds = ("_manifests", "_blobs")
        links = (link for kind in kinds for link in self._root.rglob(f"{kind}/sha*-*"))
        return {_digest(link) for link in links if not link.name.endswith("~")}

    def manifests(self, name: str) -> list[str]:
        """The digests of a repository's manifests, sorted."""
        links = (self._root / name / "_manifests").glob("sha*-*")
        return sorted(_digest(link) for link in links if not link.name.endswith("~"))

    def exists(self, name: str) -> bool:
        folder = self._root / name
        return any((folder / part).is_dir() for part in ("_manifests", "_blobs"))

    def tags(self, name: str) -> list[str]:
        """A repository's tags, sorted."""
        folder = self._root / name / "_tags"
        return sorted(filter(is_tag, os.listdir(folder))) if folder.is_dir() else []

    def digest_of(self, name: str, reference: str) -> str | None:
        """The manifest that a tag or digest stands for in this repository."""
        if is_tag(reference):
            return _text(self._root / name / "_tags" / reference)
        return reference if self.media_type(name, reference) is not None else None

    def media_type(self, name: str, digest: str) -> str | None:
        """The media type under which a manifest was put; None where it was not."""
        return _text(self._link(name, "_manifests", digest)) if DIGEST.fullmatch(digest) else None

    def has_blob(self, name: str, digest: str) -> bool:
        return bool(DIGEST.fullmatch(digest)) and self._link(name, "_blobs", digest).exists()

    def is_named(self, digest: str) -> bool:
        """Whether any repository still has this blob or manifest."""
        link = digest.replace(":", "-")
        found = (*self._root.rglob(f"_blobs/{link}"), *self._root.rglob(f"_manifests/{link}"))
        return bool(found)

    def referrers(self, name: str, subject: str) -> list[dict[str, Any]]:
        """Descriptors of the manifests that name ``subject``, by digest."""
        folder = self._link(name, "_referrers", subject)
        paths = sorted(folder.glob("sha*-*")) if folder.is_dir() else []
        return [json.loads(path.read_text()) for path in paths if not path.name.endswith("~")]

    def add_blob(self, name: str, digest: str) -> None:
        if not self.announce(name, digest):
            write_synced(self._link(name, "_blobs", digest), b"")

    def announce(self, name: str, digest: str) -> bool:
        """Whether the blob is there; if so, it is noted that a client now counts on it. The
        link's time is that of the last such note, or 0 once a manifest has named the blob."""
        try:
            os.utime(self._link(name, "_blobs", digest))
        except FileNotFoundError:
            return False
        return True

    def settle(self, name: str, digests: Iterable[str]) -> None:
        """Note that a manifest names these blobs."""
        for digest in digests:
            with suppress(FileNotFoundError):
                os.utime(self._link(name, "_blobs", digest), (0, 0))

    def let_go(self, name: str, named: Container[str], before: float) -> list[str]:
        """Remove the links of blobs that are not ``named`` and that no client was told of since
        ``before`` (seconds); returns their digests."""
        links = [
            link
            for link in (self._root / name / "_blobs").glob("sha*-*")
            if _digest(link) not in named and link.stat().st_mtime < before
        ]
        for link in links:
            link.unlink()
        if links:
            sync_folder(links[0].parent)
        return sorted(map(_digest, links))

    def add_manifest(self, name: str, manifest: Manifest, tag: str = "") -> None:
        """The tag, if any, moves to it at once."""
        link = self._link(name, "_manifests", manifest.digest)
        if _text(link) != manifest.media_type:
            write_synced(link, manifest.media_type.encode())
        if manifest.subject:
            folder = self._link(name, "_referrers", manifest.subject)
            content = json.dumps(manifest.descriptor).encode()
            write_synced(folder / link.name, content)
        if tag and self.digest_of(name, tag) != manifest.digest:
            write_synced(self._root / name / "_tags" / tag, manifest.digest.encode())

    def remove_blob(self, name: str, digest: str) -> None:
        _remove(self._link(name, "_blobs", digest))

    def remove_tag(self, name: str, tag: str) -> None:
        _remove(self._root / name / "_tags" / tag)

    def remove_manifest(self, name: str, digest: str) -> None:
        """With the tags at it, and as a referrer."""
        for tag in self.tags(name):
            if self.digest_of(name, tag) == digest:
                self.remove_tag(name, tag)
        link = self._link(name, "_manifests", digest)
        for path in sorted((self._root / name / "_referrers").glob(f"*/{link.name}")):
            _remove(path)
        _remove(link)

    def imported(self, name: str, tag: str) -> str | None:
        """The digest that Proa itself last put at a tag."""
        return _text(self._root / name / "_imported" / tag)

    def set_imported(self, name: str, tag: str, digest: str) -> None:
        if self.imported(name, tag) != digest:
            write_synced(self._root / name / "_imported" / tag, digest.encode())

    def _link(self, name: str, kind: str, digest: str) -> Path:
        assert DIGEST.fullmatch(digest), "only digests become links"
        return self._root / name / kind / digest.replace(":", "-")


def _digest(link: Path) -> str:
    return link.name.replace("-", ":", 1)


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    if path.parent.is_dir():
        sync_folder(path.parent)


def write_synced(path: Path, content: bytes) -> None:
    """Replace a file at once; it is whole and synced when it appears, and its name is too."""
    missing = [folder for folder in path.parents if not folder.is_dir()]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + "~")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    for folder in (path.parent, *(folder.parent for folder in missing)):
        sync_folder(folder)
