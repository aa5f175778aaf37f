"""Agents' reports: statuses and events in few transactions, lost races, pods that are gone."""

from __future__ import annotations

from typing import Any

import orjson

from proa.base.chance import Chance
from proa.base.clock import run_virtual
from proa.cloud.network import HeldAddress
from proa.cloud.network.records import address_key, encode
from proa.kube.reports import Reports
from proa.kube.tables import PODS
from proa.model.sandbox import ContainerStatus, NodeEvent, SandboxStatus
from proa.store.api import Guard, Put, Transaction
from tests.unit.kube.world import World

SPEC = {"nodeName": "node-1", "containers": [{"name": "main", "image": "a"}]}


def status(uid: str, key: str, phase: str = "running", **more: Any) -> SandboxStatus:
    item = ContainerStatus("main", "running" if phase == "running" else "exited", ready=True)
    return SandboxStatus(uid, phase, key=key, skin="kube", containers=(item,), **more)


class Counted:
    """A store that counts its transactions."""

    def __init__(self, store: Any) -> None:
        self._store, self.commits = store, 0

    async def version(self) -> int:
        version: int = await self._store.version()
        return version

    async def commit(self, transaction: Transaction) -> Any:
        self.commits += 1
        return await self._store.commit(transaction)


def reports(world: World, store: Any = None) -> Reports:
    return Reports(store or world.store, world.clock, Chance("r"), world.api.perform)


async def pods(world: World, *names: str) -> list[tuple[str, str]]:
    for name in names:
        world.create(
            "",
            "pods",
            {"kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": SPEC},
        )
        await world.sleep(1)
    return [(row.value.metadata.uid, row.key) for row in world.view.rows(PODS).scan()]


def test_reports_of_many_pods_are_one_transaction_with_their_events() -> None:
    async def main() -> None:
        async with World([]) as world:
            made = await pods(world, "a", "b", "c")
            store = Counted(world.store)
            told = [NodeEvent(uid, "Started", "Started container main") for uid, _ in made]
            await reports(world, store).take(world.view, [status(*pod) for pod in made], told)
            assert store.commits == 1
            assert [pod["status"]["phase"] for pod in world.list("", "pods")] == ["Running"] * 3
            assert len(world.list("", "events")) == 3

    run_virtual(main())


def test_pod_that_another_writes_meanwhile_is_decided_again() -> None:
    async def main() -> None:
        async with World([]) as world:
            made = await pods(world, "a", "b")
            entry = world.view.rows(PODS).get(made[0][1])
            assert entry is not None
            changed = orjson.loads(entry.body)
            changed["metadata"]["labels"] = {"new": "yes"}
            put = Put(entry.key, orjson.dumps(changed))
            await world.store.commit(Transaction((Guard(entry.key, entry.version),), (put,)))
            await reports(world).take(world.view, [status(*pod) for pod in made], [])
            found = world.list("", "pods")
            assert [pod["status"]["phase"] for pod in found] == ["Running"] * 2
            assert found[0]["metadata"]["labels"] == {"new": "yes"}

    run_virtual(main())


def test_pod_that_is_deleted_goes_with_its_address_once_nothing_is_left_of_it() -> None:
    async def main() -> None:
        async with World([]) as world:
            (made,) = await pods(world, "a")
            world.delete("", "pods", "default", "a")
            await world.sleep(1)
            holder = f"{made[1]}@{made[0]}"
            held = HeldAddress("vpc-1", "subnet-1", "10.0.0.9", holder)
            key = address_key("vpc-1", "10.0.0.9")
            await world.store.commit(Transaction(writes=(Put(key, encode(held)),)))
            await reports(world).take(world.view, [status(*made, "succeeded", stopping=True)], [])
            assert len(world.list("", "pods")) == 1 and key in world.store.records
            store = Counted(world.store)
            gone = status(*made, "succeeded", gone=True)
            await reports(world, store).take(world.view, [gone], [])
            assert world.list("", "pods") == [] and key not in world.store.records
            assert store.commits == 1

    run_virtual(main())
