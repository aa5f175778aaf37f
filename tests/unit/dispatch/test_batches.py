"""Many pieces of writing in few transactions: what fits together, and what a conflict leaves."""

from __future__ import annotations

import asyncio

from proa.base.clock import VirtualClock, run_virtual
from proa.cloud import compute
from proa.dispatch.batches import BYTES, OPERATIONS, commit_all, packed
from proa.dispatch.skin import Parts
from proa.reconcile.view import View
from proa.store.api import Exists, Guard, Put, Transaction
from proa.store.sqlite import memory_store


def part(number: int, size: int = 10) -> Parts:
    key = f"/hull/hosts/{number:05d}"
    return Parts((Guard(key, 0), Exists("/shared")), (Put(key, b"x" * size),))


def test_packs_keep_the_order_and_the_stores_bounds() -> None:
    parts = [part(number) for number in range(1000)]
    packs = list(packed(parts))
    assert [item for pack in packs for item in pack] == parts
    assert len(packs) == -(-1000 // ((OPERATIONS - 1) // 2)), "a shared guard counts once"
    big = list(packed([part(number, BYTES // 2) for number in range(5)]))
    assert [len(pack) for pack in big] == [2, 2, 1]


def test_part_beyond_every_bound_is_alone() -> None:
    whole = Parts((), tuple(Put(f"/hull/hosts/{n}", b"") for n in range(OPERATIONS + 5)))
    assert [len(pack) for pack in packed([part(1), whole, part(2)])] == [1, 1, 1]


def test_conflict_refuses_its_own_part_alone() -> None:
    async def main() -> None:
        store = await memory_store(VirtualClock())
        view = View(store, [compute.HOSTS])
        watching = asyncio.get_running_loop().create_task(view.run())
        await view.synced.wait()
        await store.commit(
            Transaction((), (Put("/shared", b"{}"), Put("/hull/hosts/00007", b"{}")))
        )
        refused = await commit_all(store, view, [part(number) for number in range(200)])
        assert [item.writes[0].key for item in refused] == ["/hull/hosts/00007"]
        page = await store.range("/hull/hosts/")
        assert len(page.records) == 200
        assert view.version >= page.version, "the view shows what was written"
        watching.cancel()
        await store.close()

    run_virtual(main())


def test_nothing_to_write_is_no_transaction() -> None:
    async def main() -> None:
        store = await memory_store(VirtualClock())
        before = await store.version()
        assert await commit_all(store, View(store, []), []) == []
        assert await store.version() == before
        await store.close()

    run_virtual(main())
