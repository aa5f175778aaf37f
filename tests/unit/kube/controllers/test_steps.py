"""Steps of plans: what a refusal leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from proa.base.clock import VirtualClock, run_virtual
from proa.kube.api.call import ApiError, Call
from proa.kube.controllers.steps import Births, Children, performers
from proa.kube.tables import TABLES
from proa.reconcile.view import View
from proa.store.api import Put, Transaction
from proa.store.memory import MemoryStore


def test_a_refusal_is_raised_once_the_view_shows_what_tells_of_it() -> None:
    async def main() -> None:
        store = MemoryStore(VirtualClock())
        view = View(store, TABLES)

        async def refuse(children: Children, then: Sequence[Call]) -> int:
            raise ApiError(403, "Forbidden", "no")

        async def tell(calls: Sequence[Call]) -> int:
            return (await store.commit(Transaction(writes=(Put("/told", b"{}"),)))).version

        async def late() -> None:
            await asyncio.sleep(10)
            await view.run()

        following = asyncio.create_task(late())
        create = performers(lambda call: tell((call,)), refuse, tell, view.reached)[Births]
        with pytest.raises(ApiError):
            await create(Births((), lambda error: ()))
        assert view.version == await store.version() > 0
        following.cancel()

    run_virtual(main())
