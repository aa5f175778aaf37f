"""The program of the crash test: writers under load that say what was acknowledged.

``python writer.py <sqlite file | etcd url> <seed>``: eight writers commit transactions that put
one number at three keys of their own and add a record; each acknowledged number is a line on
standard output, written at once.
"""

from __future__ import annotations

import asyncio
import os
import sys

from proa.base.clock import SystemClock
from proa.base.errors import TryAgain
from proa.store.api import Put, Store, Transaction
from proa.store.etcd import EtcdStore
from proa.store.sqlite import SqliteStore

WRITERS = 8
PARTS = ("left", "middle", "right")


async def write(store: Store, name: str) -> None:
    number = 0
    while True:
        number += 1
        body = str(number).encode()
        writes = [Put(f"/{part}/{name}", body) for part in PARTS]
        try:
            await store.commit(Transaction(writes=(*writes, Put(f"/log/{name}/{number}", body))))
        except TryAgain:  # etcd is away: whether this one was committed is not known
            continue
        os.write(1, f"{name} {number}\n".encode())


async def main(where: str, seed: str) -> None:
    if where.startswith("etcd://"):
        store: Store = await EtcdStore.open(where, SystemClock())
    else:
        store = await SqliteStore.open(where)
    await asyncio.gather(*(write(store, f"{seed}-{number}") for number in range(WRITERS)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
