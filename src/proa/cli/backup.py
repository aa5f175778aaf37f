"""``proa backup`` and ``proa restore``: everything a Proa knows, in one file, and back.

A backup may be made while Proa runs: the store is read as of one version through the control
plane (or from its file where Proa is down), and the files beside it only grow. A restore takes
an empty data directory, checks the whole file first, and puts nothing in place until all of it
is there. What was made after the backup is not known any more: containers of it are removed at
the next ``proa up``, and clients are told to list again.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import apsw
import click

from proa import __version__
from proa.base.clock import SystemClock, iso8601
from proa.base.config import Config, load_config
from proa.base.errors import CallerFault
from proa.cli import archive
from proa.cli.connection import UnixConnection
from proa.cli.instance import process_id
from proa.store import dump
from proa.store.etcd import EtcdStore
from proa.store.sqlite import SqliteStore

STORE = "store.db"
ALWAYS = ("pki", "longtail")
IMAGES, LOGS = "registry", "events"
SINGLE = ("sealing.key", "host-id")
DUMP_S = 600.0


def backup(data_dir: Path, file: Path, *, images: bool, logs: bool) -> int:
    """Write the backup; the exit code is 1, and no file is left, where that fails."""
    config = load_config(data_dir)
    if config is None:
        click.echo(f"proa: nothing has been set up in {data_dir}", err=True)
        return 1
    try:
        with tempfile.TemporaryFile() as records, archive.Writer(file) as writer:
            _dump(config, records)
            records.seek(0)
            about = _about(config, records)
            writer.add_text(archive.ABOUT, json.dumps(about, indent=1))
            records.seek(0, 2)
            size = records.tell()
            records.seek(0)
            writer.add(archive.RECORDS, records, size)
            folders = [*ALWAYS, *([IMAGES] if images else []), *([LOGS] if logs else [])]
            for path in _files(data_dir, folders):
                _add(writer, data_dir, path)
    except (CallerFault, OSError) as error:
        click.echo(f"proa: {error}", err=True)
        return 1
    click.echo(f"{about['records']} records as of {about['at']} are in {file}")
    return 0


def _about(config: Config, records: IO[bytes]) -> dict[str, Any]:
    """What the archive says of itself; reads the dump once, which checks it."""
    count, version = 0, 0
    for value in dump.read(records):
        version = value.version if isinstance(value, dump.Head) else version
        count += isinstance(value, dump.Item)
    told = ("region", "account", "vpc_cidr", "service_cidr", "aws_port", "kube_port")
    return {
        "format": archive.FORMAT,
        "proa": __version__,
        "at": iso8601(SystemClock().now()),
        "records": count,
        "version": version,
        "config": {name: getattr(config, name) for name in (*told, "registry_port", "store")},
    }


def _dump(config: Config, into: IO[bytes]) -> None:
    """The store, from the control plane if it runs, else from where it lies."""
    if process_id(config.data_dir, "control"):
        connection = UnixConnection(config.hull_socket, DUMP_S)
        try:
            connection.request("GET", "/v1/dump")
            answer = connection.getresponse()
            if answer.status != 200:
                raise CallerFault(f"the control plane does not give its store: {answer.status}")
            shutil.copyfileobj(answer, into)
        finally:
            connection.close()
        return

    async def offline() -> None:
        store = await _open(config, config.data_dir / STORE)
        try:
            async for chunk in dump.export(store):
                into.write(chunk)
        finally:
            await store.close()

    if config.store == "sqlite" and not (config.data_dir / STORE).exists():
        raise CallerFault(f"there is no store in {config.data_dir}")
    asyncio.run(offline())


async def _open(config: Config, file: Path) -> SqliteStore | EtcdStore:
    clock = SystemClock()
    if config.store == "sqlite":
        return await SqliteStore.open(file, clock)
    return await EtcdStore.open(config.store, clock)


def _files(data_dir: Path, folders: list[str]) -> Iterator[Path]:
    """What else a Proa is made of. Of the registry, names come before the blobs they name, so
    that a push meanwhile leaves a blob too many and never one too few."""
    for name in SINGLE:
        if (data_dir / name).is_file():
            yield data_dir / name
    for folder in folders:
        found = [
            path
            for path in sorted((data_dir / folder).rglob("*"))
            if path.is_file() and not path.is_symlink() and _is_kept(path)
        ]
        yield from sorted(found, key=lambda path: "blobs" in path.parts)


def _is_kept(path: Path) -> bool:
    return not path.name.endswith((".partial", "-wal", "-shm", ".lock")) and (
        "uploads" not in path.parts
    )


def _add(writer: archive.Writer, data_dir: Path, path: Path) -> None:
    name = archive.FILES + path.relative_to(data_dir).as_posix()
    with path.open("rb") as file:
        is_sqlite = file.read(16) == b"SQLite format 3\0"
    if not is_sqlite:
        writer.add_file(name, path)
        return
    with tempfile.TemporaryDirectory() as scratch:  # a consistent copy of a file in use
        copy = Path(scratch) / path.name
        source, target = apsw.Connection(str(path)), apsw.Connection(str(copy))
        with target.backup("main", source, "main") as pages:
            while not pages.done:
                pages.step(1000)
        source.close()
        target.close()
        writer.add_file(name, copy)


def restore(config: Config, file: Path) -> int:
    """Bring a backup into an empty data directory (and, with another ``--store``, into an empty
    etcd); the exit code is 1, and nothing is in place, where that fails."""
    config = replace(config, data_dir=config.data_dir.absolute())
    staging = config.data_dir / "restore.partial"
    try:
        _refuse_unless_empty(config.data_dir)
        about = archive.check(file)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True, mode=0o711)
        config.data_dir.chmod(0o711)
        count = _restore(config, file, staging)
        told = about["config"]  # the addresses in the store are of these ranges
        ranged = replace(config, vpc_cidr=told["vpc_cidr"], service_cidr=told["service_cidr"])
        ranged.save()
    except (CallerFault, OSError) as error:
        shutil.rmtree(staging, ignore_errors=True)
        click.echo(f"proa: {error}", err=True)
        return 1
    click.echo(f"{count} records of {about['at']} are in {config.data_dir}")
    flags = _flags(about["config"])
    click.echo(f"Next: proa up --data-dir {config.data_dir}{flags}")
    return 0


def _refuse_unless_empty(data_dir: Path) -> None:
    if process_id(data_dir, "supervisor"):
        raise CallerFault(f"a Proa runs from {data_dir}: restore into another --data-dir")
    for name in (STORE, "pki", "sealing.key"):
        if (data_dir / name).exists():
            raise CallerFault(
                f"{data_dir} holds a Proa already: proa down --purge removes it, or restore into "
                "another --data-dir"
            )


def _restore(config: Config, file: Path, staging: Path) -> int:
    modes = archive.modes(file)
    for name, member in archive.members(file):
        if name == archive.RECORDS or name.startswith(archive.FILES):
            target = staging / name
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with target.open("wb") as sink:
                shutil.copyfileobj(member, sink)
            target.chmod(modes[name])
    count = asyncio.run(_load(config, staging))
    for path in sorted((staging / "files").iterdir()):
        path.rename(config.data_dir / path.name)
    for path in sorted(staging.glob(f"{STORE}*"), reverse=True):
        path.rename(config.data_dir / path.name)  # the store itself last: it makes this a Proa
    shutil.rmtree(staging)
    return count


async def _load(config: Config, staging: Path) -> int:
    store = await _open(config, staging / STORE)
    try:
        with (staging / archive.RECORDS).open("rb") as records:
            return await dump.load(store, dump.read(records))
    finally:
        await store.close()


def _flags(told: dict[str, Any]) -> str:
    """The flags of ``proa up`` that differed from its defaults where the backup was made."""
    flags = [
        f" --{name.replace('_', '-')} {value}"
        for name, value in told.items()
        if name not in ("account", "store") and value != getattr(Config(), name)
    ]
    return "".join(flags)
