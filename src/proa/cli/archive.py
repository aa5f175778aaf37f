"""The file that ``proa backup`` writes: a gzipped tar whose last member holds every checksum.

Members: ``proa-backup.json`` (what this is), ``records`` (the store, see ``store.dump``),
``files/…`` (below the data directory), ``SHA256SUMS``. A reader checks all of it before it
trusts any of it, so a file that was cut short or changed restores nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Any, Self

from proa.base.errors import CallerFault

FORMAT = 1
ABOUT, RECORDS, FILES, SUMS = "proa-backup.json", "records", "files/", "SHA256SUMS"


class NoBackup(CallerFault):
    """The file is no backup, or not a whole one."""


class Writer:
    """Writes a new archive; it takes its name only when everything is in it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        descriptor = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        self._tar = tarfile.open(fileobj=self._file, mode="w:gz", compresslevel=3)  # noqa: SIM115
        self._sums: list[str] = []

    def __enter__(self) -> Self:
        return self

    def add(self, name: str, source: IO[bytes], size: int, mode: int = 0o600) -> None:
        """One member of ``size`` bytes."""
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, mode & 0o777
        digesting = _Digesting(source)
        self._tar.addfile(info, digesting)
        self._sums.append(f"{digesting.digest.hexdigest()}  {name}\n")

    def add_text(self, name: str, text: str) -> None:
        """A member out of a text."""
        body = text.encode()
        self.add(name, io.BytesIO(body), len(body))

    def add_file(self, name: str, path: Path) -> None:
        """A member out of a file as long as it is now; one that has gone is left out."""
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return
        with file:
            status = os.fstat(file.fileno())
            self.add(name, file, status.st_size, status.st_mode)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            body = "".join(self._sums).encode()
            info = tarfile.TarInfo(SUMS)
            info.size, info.mode = len(body), 0o600
            self._tar.addfile(info, io.BytesIO(body))
            self._tar.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._partial.rename(self._path)
            return
        self._file.close()
        self._partial.unlink(missing_ok=True)


class _Digesting(io.RawIOBase):
    """Reads on while summing up what was read."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source, self.digest = source, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        body = self._source.read(size)
        self.digest.update(body)
        return body


def check(path: Path) -> dict[str, Any]:
    """Read the whole archive against its checksums; returns what it says of itself. Raises
    NoBackup."""
    with _reading(path):
        return _check(path)


def _check(path: Path) -> dict[str, Any]:
    sums: dict[str, str] = {}
    promised: dict[str, str] = {}
    about: dict[str, Any] = {}
    for name, member in members(path):
        body = hashlib.sha256()
        text = b""
        while chunk := member.read(1 << 20):
            body.update(chunk)
            if name in (ABOUT, SUMS):
                text += chunk
        if name == SUMS:
            lines = text.decode(errors="replace").splitlines()
            promised = {line[66:]: line[:64] for line in lines}
        else:
            sums[name] = body.hexdigest()
        if name == ABOUT:
            about = _about(path, text)
    if not about or RECORDS not in sums:
        raise NoBackup(f"{path} is no backup of Proa")
    if promised != sums:
        raise NoBackup(f"{path} is damaged: its checksums do not match")
    if about.get("format") != FORMAT:
        raise NoBackup(f"{path} has format {about.get('format')}; this Proa reads {FORMAT}")
    return about


def _about(path: Path, text: bytes) -> dict[str, Any]:
    try:
        about = json.loads(text)
    except ValueError as error:
        raise NoBackup(f"{path} is no backup of Proa") from error
    if not isinstance(about, dict):
        raise NoBackup(f"{path} is no backup of Proa")
    return about


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever a reader of damaged archives raises is a NoBackup."""
    try:
        yield
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise NoBackup(str(error)) from error
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise NoBackup(f"{path} is no whole backup of Proa: {error}") from error


def members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Every member in turn, of an archive that was checked. Raises NoBackup for what is no plain
    file and for names that lead out of the place they are for."""
    with tarfile.open(path, mode="r:gz") as tar:
        for info in tar:
            pure = PurePosixPath(info.name)
            if not info.isreg() or pure.is_absolute() or ".." in pure.parts:
                raise NoBackup(f"{path} holds {info.name!r}, which no backup does")
            file = tar.extractfile(info)
            assert file is not None, "a regular member has content"
            yield info.name, file


def modes(path: Path) -> dict[str, int]:
    """The permission bits of every member."""
    with tarfile.open(path, mode="r:gz") as tar:
        return {info.name: info.mode & 0o700 for info in tar}
