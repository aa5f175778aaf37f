"""kill -9 under load: what was acknowledged is there, whole transactions or nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from proa.base.chance import Chance
from proa.base.clock import SystemClock
from proa.store.api import Store
from proa.store.etcd import EtcdStore
from proa.store.sqlite import SqliteStore
from tests.conformance.store import writer
from tests.conformance.store.backends import Etcd

SOURCE = Path(writer.__file__).resolve().parents[3] / "src"


@contextlib.contextmanager
def writing(where: str, seed: str, out: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Writers at work, killed at the end. Returns after their first acknowledgement."""
    with out.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, writer.__file__, where, seed],
            stdout=sink,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
    try:
        before = out.stat().st_size
        for _ in range(1000):
            if out.stat().st_size > before:
                break
            assert process.poll() is None, "the writer ended by itself"
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.wait()


def acknowledged(out: Path) -> dict[str, int]:
    """The last number of each writer that was acknowledged; torn last lines do not count."""
    last: dict[str, int] = {}
    for line in out.read_bytes().split(b"\n")[:-1]:
        name, number = line.decode().split()
        last[name] = max(int(number), last.get(name, 0))
    return last


async def check(store: Store, last: dict[str, int]) -> None:
    """No acknowledged write is lost, no transaction is torn, history agrees with the state."""
    at = await store.version()
    parts = {}
    for part in writer.PARTS:
        records = (await store.range(f"/{part}/", at=at)).records
        parts[part] = {r.key.rpartition("/")[2]: (int(r.body), r.version >> 8) for r in records}
    left = parts["left"]
    assert all(found == left for found in parts.values())
    assert all(left[name][0] >= number for name, number in last.items())
    logged: dict[str, list[int]] = {}
    for record in (await store.range("/log/", at=at)).records:
        logged.setdefault(record.key.split("/")[2], []).append(int(record.body))
    assert {name: max(of) for name, of in logged.items()} == {n: left[n][0] for n in left}
    seen: dict[str, tuple[int, int]] = {}
    async with contextlib.aclosing(store.watch("/right/", after=0)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            for event in batch.events:
                if event.record.version <= at:
                    name = event.record.key.rpartition("/")[2]
                    seen[name] = (int(event.record.body), event.record.version >> 8)
            if batch.version >= at:
                break
    assert seen == left


def test_sqlite_loses_nothing_when_its_process_is_killed(tmp_path: Path) -> None:
    dice = Chance("sqlite is killed")
    file, out = tmp_path / "store.db", tmp_path / "acknowledged"
    out.touch()

    async def reopen() -> None:
        store = await SqliteStore.open(file)
        try:
            await check(store, acknowledged(out))
            records = (await store.range("/log/")).records
            of = {(r.key.split("/")[2], int(r.body)) for r in records}
            whole = {(n, i) for n, last in acknowledged(out).items() for i in range(1, last + 1)}
            assert whole <= of
        finally:
            await store.close()

    for round in range(4):
        with writing(str(file), f"r{round}", out):
            time.sleep(0.05 + dice.random() * 0.3)
        asyncio.run(reopen())
    assert len(acknowledged(out)) == 4 * writer.WRITERS


def test_etcd_loses_nothing_when_it_is_killed_and_writers_go_on(tmp_path: Path) -> None:
    dice = Chance("etcd is killed")
    out = tmp_path / "acknowledged"
    out.touch()
    server = Etcd(tmp_path)
    server.start()

    async def inspect() -> None:
        store = await EtcdStore.open(server.url, SystemClock())
        try:
            await check(store, acknowledged(out))
        finally:
            await store.close()

    try:
        with writing(server.url, "w", out):
            for _ in range(3):
                time.sleep(0.1 + dice.random() * 0.3)
                server.kill()
                before = acknowledged(out)
                server.start()
                asyncio.run(inspect())
                for _ in range(500):
                    if acknowledged(out) != before:
                        break
                    time.sleep(0.02)
                assert acknowledged(out) != before, "the writers never went on"
    finally:
        server.kill()
