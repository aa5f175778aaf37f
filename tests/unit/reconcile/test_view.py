"""Views: what two tables that hold the same record share, and who is told when."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from proa.base.clock import VirtualClock, run_virtual
from proa.reconcile.view import Change, Table, View
from proa.store.api import Delete, Page, Put, Transaction
from proa.store.memory import MemoryStore


class Thing(msgspec.Struct, frozen=True):
    name: str


class Narrow(Thing, frozen=True):
    size: int = 0


def test_general_table_shares_the_rows_of_the_narrower_one() -> None:
    decoded: list[bytes] = []

    def decode(body: bytes) -> Thing:
        decoded.append(body)
        return msgspec.json.decode(body, type=Thing)

    narrow: Table[Narrow] = Table(
        "narrow",
        "/",
        msgspec.json.Decoder(Narrow).decode,
        lambda key: key.startswith("/narrow/"),
    )
    every: Table[Thing] = Table("every", "/", decode, accepts=Thing)

    async def main() -> None:
        store = MemoryStore(VirtualClock())
        view = View(store, [narrow, every])
        told: list[tuple[str, Change[Thing]]] = []
        view.subscribe(lambda table, change: told.append((table.name, change)))
        watching = asyncio.get_running_loop().create_task(view.run())
        await view.synced.wait()
        body = b'{"name":"one","size":3}'
        puts = (Put("/narrow/1", body), Put("/other/1", b'{"name":"two"}'))
        done = await store.commit(Transaction((), puts))
        await view.reached(done.version)
        assert view.rows(every).get("/narrow/1") is view.rows(narrow).get("/narrow/1")
        assert decoded == [b'{"name":"two"}'], "what is decoded already is not decoded again"
        assert [name for name, _ in told] == ["narrow", "every", "every"]
        done = await store.commit(Transaction((), (Delete("/narrow/1"),)))
        await view.reached(done.version)
        assert view.rows(every).get("/narrow/1") is None
        assert [entry.key for entry in view.rows(every).scan()] == ["/other/1"]
        watching.cancel()

    run_virtual(main())


def test_who_asks_to_be_told_is_told_once_the_view_shows_the_version() -> None:
    async def main() -> None:
        store = MemoryStore(VirtualClock())
        view = View(store, ())
        following = asyncio.create_task(view.run())
        await view.synced.wait()
        told: list[str] = []
        version = (await store.commit(Transaction(writes=(Put("/a", b"1"),)))).version
        view.when_reached(version, lambda: told.append("then"))
        view.when_reached(0, lambda: told.append("at once"))
        assert told == ["at once"]
        await view.reached(version)
        assert told == ["at once", "then"]
        following.cancel()

    run_virtual(main())


class SlowlyListing(MemoryStore):
    """It takes a second for each page of a list."""

    async def range(self, prefix: str, *, after: str = "", limit: int = 0, at: int = 0) -> Page:
        await asyncio.sleep(1)
        return await super().range(prefix, after=after, limit=limit, at=at)


def test_a_version_is_reached_while_listing_again_only_once_all_before_it_is_there() -> None:
    rows: Table[bytes] = Table("rows", "/", lambda body: body)

    async def main() -> None:
        store = SlowlyListing(VirtualClock())
        keys = [f"/rows/{number:04}" for number in range(1500)]
        for key in keys:
            await store.commit(Transaction((), (Put(key, b"old"),)))
        view = View(store, [rows])
        watching = asyncio.create_task(view.run())
        await view.synced.wait()
        store.break_watches()
        await asyncio.sleep(0)
        last = await store.commit(Transaction((), (Put(keys[-1], b"new"),)))
        await store.commit(Transaction((), (Put(keys[0], b"newer"),)))
        await asyncio.sleep(1.5)  # the first page is there
        await view.reached(last.version)
        shown = view.rows(rows).get(keys[-1])
        assert shown is not None
        assert shown.value == b"new"
        watching.cancel()

    run_virtual(main())


def test_a_record_that_went_while_nobody_looked_has_ended_before_another_of_its_key_is_there() -> (
    None
):
    rows: Table[bytes] = Table("rows", "/", lambda body: body)
    told: list[tuple[bytes, bytes]] = []

    def tell(_table: Table[Any], change: Change[Any]) -> None:
        told.append(
            (change.old.value if change.old else b"", change.new.value if change.new else b"")
        )

    async def main() -> None:
        store = SlowlyListing(VirtualClock())
        await store.commit(Transaction((), (Put("/a", b"old"), Put("/b", b"old"))))
        view = View(store, [rows])
        watching = asyncio.create_task(view.run())
        await view.synced.wait()
        view.subscribe(tell)
        store.break_watches()
        await store.commit(Transaction((), (Delete("/a"), Put("/b", b"new"))))
        await view.reached((await store.commit(Transaction((), (Put("/a", b"new"),)))).version)
        watching.cancel()

    run_virtual(main())
    assert told == [(b"old", b""), (b"", b"new"), (b"old", b"new")]
