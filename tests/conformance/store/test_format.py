"""Files of earlier formats are taken over: what they hold is there, their history is compacted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest

from proa.base.errors import CallerFault
from proa.store import tables, writer
from proa.store.api import Compacted, Delete, Guard, Put, Transaction
from proa.store.sqlite import SqliteStore


def old_file(path: Path) -> None:
    """As format 2 left it: a value that was replaced, one that lies only in ``current`` since its
    history was compacted, and one that was deleted."""
    sql = apsw.Connection(str(path))
    for number in range(2):
        sql.execute(tables._MIGRATIONS[number])
    sql.execute("PRAGMA user_version=2")
    log = "INSERT INTO log VALUES (?, ?, ?, ?, ?, 1, 0, ?, ?, 1, 0)"
    sql.execute("INSERT INTO current VALUES ('/a', x'61', 1536, 1280, 1, 0)")
    sql.execute("INSERT INTO current VALUES ('/old', x'62', 256, 256, 1, 0)")
    sql.execute(log, (1280, "/a", "put", b"first", 1280, 0, None))
    sql.execute(log, (1536, "/a", "put", b"a", 1280, 1280, b"first"))
    sql.execute(log, (1792, "/gone", "delete", b"c", 512, 512, b"c"))
    sql.execute("INSERT INTO meta VALUES ('revision', 7), ('compacted', 1023)")
    sql.close()


def test_a_file_of_format_two_keeps_its_records_and_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "store.db"
        old_file(path)
        store = await SqliteStore.open(path)
        page = await store.range("/")
        assert [(item.key, item.body, item.version, item.created) for item in page.records] == [
            ("/a", b"a", 1536, 1280),
            ("/old", b"b", 256, 256),
        ]
        done = await store.commit(Transaction((Guard("/a", 1536),), (Put("/a", b"next"),)))
        assert done.version == 8 << 8
        with pytest.raises(Compacted):
            async for _ in store.watch("/", after=1536):
                pass
        await store.close()
        again = await SqliteStore.open(path)
        found = await again.get("/a")
        assert found is not None
        assert (found.body, found.created) == (b"next", 1280)
        await again.close()

    asyncio.run(main())


def test_what_was_replaced_leaves_the_file_once_it_is_compacted(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "store.db"
        store = await SqliteStore.open(path)
        for number in range(20):
            last = await store.commit(Transaction(writes=(Put("/a", b"%d" % number),)))
        await store.commit(Transaction(writes=(Put("/b", b"kept"),)))
        await store.compact(last.version)
        await store.close()
        rows = apsw.Connection(str(path)).execute("SELECT key, body FROM entry ORDER BY version")
        assert rows.fetchall() == [("/a", b"19"), ("/b", b"kept")]

    asyncio.run(main())


def test_versions_go_on_after_the_newest_entry_was_forgotten(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "store.db"
        store = await SqliteStore.open(path)
        await store.commit(Transaction(writes=(Put("/a", b"1"),)))
        gone = await store.commit(Transaction(writes=(Delete("/a"),)))
        await store.compact(gone.version)
        await store.close()
        again = await SqliteStore.open(path)
        assert await again.version() >= gone.version
        made = await again.commit(Transaction(writes=(Put("/b", b"2"),)))
        assert made.version > gone.version
        await again.close()

    asyncio.run(main())


def test_heads_follow_what_is_written_in_any_number(tmp_path: Path) -> None:
    """One row, a whole statement's, more than one: the file holds the newest of each key."""

    async def main() -> None:
        path = tmp_path / "store.db"
        store = await SqliteStore.open(path)
        wanted: dict[str, bytes] = {}
        for count in (1, 2, writer.ALONE, 100):
            puts = tuple(Put(f"/{number:03}", b"%d" % count) for number in range(count))
            await store.commit(Transaction(writes=puts))
            wanted |= {put.key: put.body for put in puts}
        await asyncio.gather(
            *(store.commit(Transaction(writes=(Delete(f"/{number:03}"),))) for number in range(90))
        )
        await store.close()
        again = await SqliteStore.open(path)
        page = await again.range("/")
        assert [(item.key, item.body) for item in page.records] == [
            item for item in sorted(wanted.items()) if item[0] >= "/090"
        ]
        await again.close()

    asyncio.run(main())


def test_a_file_of_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    sql = apsw.Connection(str(path))
    sql.execute("PRAGMA user_version=99")
    sql.close()
    with pytest.raises(CallerFault, match="later Proa"):
        asyncio.run(SqliteStore.open(path))
