"""Bodies of every schema number are read in the newest form."""

from __future__ import annotations

import contextlib
import json

import pytest

from proa.base.clock import VirtualClock, run_virtual
from proa.store.api import Delete, Put, Record, Store, Transaction
from proa.store.sqlite import memory_store
from proa.store.upgrade import Upgraders, UpgradingStore

# One sample of each schema number of the bodies below /boat/, and the newest form of all.
SAMPLES = {
    1: b'{"name": "Ada"}',
    2: b'{"names": ["Ada"]}',
    3: b'{"names": ["Ada"], "length_m": 0}',
}
NEWEST = {"names": ["Ada"], "length_m": 0}


def boats() -> Upgraders:
    upgraders = Upgraders()
    upgraders.register(
        "/boat/", 1, lambda b: json.dumps({"names": [json.loads(b)["name"]]}).encode()
    )
    upgraders.register("/boat/", 2, lambda b: json.dumps({**json.loads(b), "length_m": 0}).encode())
    return upgraders


def is_newest(record: Record | None) -> bool:
    return record is not None and record.schema == 3 and json.loads(record.body) == NEWEST


@pytest.mark.parametrize("schema", SAMPLES)
def test_every_read_upgrades_a_body_of_schema(schema: int) -> None:
    async def story() -> None:
        store: Store = UpgradingStore(await memory_store(VirtualClock()), boats())
        body = SAMPLES[schema]
        writes = (Put("/boat/a", body, schema), Put("/ship/a", body, schema))
        made = await store.commit(Transaction(writes=writes))
        await store.commit(Transaction(writes=(Delete("/boat/a"),)))
        await store.commit(Transaction(writes=(Put("/boat/a", body, schema),)))
        record = await store.get("/boat/a")
        assert is_newest(record)
        page = await store.range("/boat/", at=made.version)
        assert is_newest(page.records[0]) and page.records[0].version == made.versions[0]
        async with contextlib.aclosing(store.watch("/boat/", after=0)) as batches:  # type: ignore[type-var]
            events = (await anext(batches)).events
        assert [event.kind for event in events] == ["put", "delete", "put"]
        assert all(is_newest(event.record) for event in events)
        assert is_newest(events[1].previous)
        other = await store.get("/ship/a")
        assert other is not None and (other.body, other.schema) == (body, schema)
        await store.close()

    run_virtual(story())


def test_upgraders_of_nested_prefixes_are_refused() -> None:
    upgraders = boats()
    with pytest.raises(AssertionError):
        upgraders.register("/boat/small/", 1, bytes)
    with pytest.raises(AssertionError):
        upgraders.register("/boat/", 2, bytes)
