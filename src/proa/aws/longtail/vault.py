"""Where the moto worker keeps its state: one SQLite file of snapshots, and files of contents.

``Vault.commit`` replaces the snapshots of any number of places (service, account, region) in
one durable transaction. Snapshots are sealed, since they hold keys and passwords. Contents (the
bodies of S3 objects) are files named by their hash, written before the snapshot that refers to
them and removed after the last one that did; they are readable by the owner only.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import apsw

from proa.cloud.secrets import Sealer

Place = tuple[str, str, str]  # moto's name of the service, account, region
INLINE_BYTES = 4096
_SCHEMA = """
CREATE TABLE IF NOT EXISTS snapshots (
    service TEXT, account TEXT, region TEXT, stamp TEXT, body BLOB,
    PRIMARY KEY (service, account, region)
);
CREATE TABLE IF NOT EXISTS contents (
    service TEXT, account TEXT, region TEXT, digest TEXT,
    PRIMARY KEY (service, account, region, digest)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_digest ON contents (digest);
"""


@dataclass(slots=True, frozen=True)
class Snapshot:
    """A place's state and the contents that it refers to."""

    body: bytes
    digests: frozenset[str]


class Contents:
    """Files of bytes, named by their SHA-256."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, content: bytes) -> str:
        """Keep bytes durably; returns their digest."""
        digest = hashlib.sha256(content).hexdigest()
        path = self._path(digest)
        if path.exists():
            return digest
        partial = path.with_suffix(".partial")
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        return digest

    def open(self, digest: str) -> IO[bytes]:
        """The bytes of a digest, as a file."""
        return self._path(digest).open("rb")

    def remove(self, digest: str) -> None:
        """Forget bytes."""
        self._path(digest).unlink(missing_ok=True)

    def sync(self) -> None:
        """Make the names of new files durable."""
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def names(self) -> Iterator[str]:
        """Every file that is there."""
        return (path.name for path in self._folder.iterdir())

    def _path(self, digest: str) -> Path:
        return self._folder / digest


class Content:
    """The part of a temporary file that moto's S3 uses, over ``Contents``: small bytes are held
    in memory, all others in a file. A content is written once, after being emptied."""

    contents: ClassVar[Contents]

    def __init__(self, _max_size: int = 0) -> None:
        self._inline, self.digest, self._position = b"", "", 0

    def __reduce__(self) -> tuple[Any, ...]:
        return Content, (), (self._inline, self.digest)

    def __setstate__(self, state: tuple[bytes, str]) -> None:
        self._inline, self.digest = state

    def seek(self, position: int) -> None:
        self._position = position

    def truncate(self) -> None:
        assert self._position == 0, "contents are only ever emptied"
        self._inline, self.digest = b"", ""

    def write(self, data: bytes) -> None:
        assert not (self._inline or self.digest), "contents are written once"
        if len(data) <= INLINE_BYTES:
            self._inline = bytes(data)
        else:
            self.digest = self.contents.put(data)

    def read(self, size: int = -1) -> bytes:
        if not self.digest:
            end = None if size < 0 else self._position + size
            data = self._inline[self._position : end]
        else:
            with self.contents.open(self.digest) as file:
                file.seek(self._position)
                data = file.read(size)
        self._position += len(data)
        return data

    def close(self) -> None:
        """Nothing is open between two reads."""


class Vault:
    """The state's files below one folder; only one process may have them open."""

    def __init__(self, folder: Path, sealer: Sealer, stamp: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sealer, self._stamp = sealer, stamp
        self._lock = (folder / "lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # until a predecessor has gone
        self._connection = apsw.Connection(str(folder / "state.db"))
        os.chmod(folder / "state.db", 0o600)
        self._connection.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")
        self._connection.execute(_SCHEMA)
        self.contents = Contents(folder / "contents")
        self._last: dict[Place, bytes] = {}
        self._sweep()

    def _sweep(self) -> None:
        """Remove contents that a crash left without a snapshot."""
        kept = {row[0] for row in self._connection.execute("SELECT digest FROM contents")}
        for name in list(self.contents.names()):
            if name not in kept:
                self.contents.remove(name)

    def places(self) -> list[Place]:
        """Every place that has a snapshot."""
        found = self._connection.execute(
            "SELECT service, account, region FROM snapshots ORDER BY 1, 2, 3"
        )
        return [(service, account, region) for service, account, region in found]

    def load(self, place: Place) -> bytes:
        """A place's state. Raises CannotOpen."""
        return self._sealer.open(self._column("body", place), _context(place))

    def stamp(self, place: Place) -> str:
        """The versions that a place's state was written with."""
        return str(self._column("stamp", place))

    def _column(self, name: str, place: Place) -> Any:
        query = f"SELECT {name} FROM snapshots WHERE service=? AND account=? AND region=?"
        return next(iter(self._connection.execute(query, place)))[0]

    def commit(self, snapshots: Mapping[Place, Snapshot]) -> int:
        """Keep new states of places, all or none; what has not changed is not written. Returns
        how many were."""
        changed = {
            place: (snapshot, hashlib.sha256(snapshot.body).digest())
            for place, snapshot in snapshots.items()
        }
        changed = {p: value for p, value in changed.items() if self._last.get(p) != value[1]}
        if not changed:
            return 0
        if any(snapshot.digests for snapshot, _ in changed.values()):
            self.contents.sync()
        dropped: set[str] = set()
        with self._connection:
            for place, (snapshot, _digest) in changed.items():
                dropped |= self._write(place, snapshot)
        self._last.update((place, digest) for place, (_, digest) in changed.items())
        for digest in sorted(dropped):
            if not list(self._connection.execute(
                "SELECT 1 FROM contents WHERE digest=? LIMIT 1", (digest,)
            )):  # fmt: skip
                self.contents.remove(digest)
        return len(changed)

    def _write(self, place: Place, snapshot: Snapshot) -> set[str]:
        """Write one place; returns the contents that it no longer refers to."""
        execute = self._connection.execute
        rows = execute(
            "SELECT digest FROM contents WHERE service=? AND account=? AND region=?", place
        )
        before = {row[0] for row in rows}
        sealed = self._sealer.seal(snapshot.body, _context(place))
        execute("INSERT OR REPLACE INTO snapshots VALUES (?,?,?,?,?)",
                (*place, self._stamp, sealed))  # fmt: skip
        for digest in sorted(snapshot.digests - before):
            execute("INSERT INTO contents VALUES (?,?,?,?)", (*place, digest))
        for digest in sorted(before - snapshot.digests):
            execute(
                "DELETE FROM contents WHERE service=? AND account=? AND region=? AND digest=?",
                (*place, digest),
            )
        return before - snapshot.digests

    def close(self) -> None:
        """Let another process have the files."""
        self._connection.close()
        self._lock.close()


def _context(place: Place) -> str:
    return "longtail/" + "/".join(place)
