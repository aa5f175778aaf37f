"""A small Kubernetes under virtual time: the real view and runner over a store and an API in
memory, and nodes that run pods by the clock. Controllers are given to ``World``."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any

from proa.base.chance import Chance
from proa.base.clock import VirtualClock, iso8601
from proa.cloud import compute
from proa.cloud.network import ADDRESSES
from proa.dispatch.skin import Parts
from proa.kube.api.call import ApiConflict, ApiError, Call
from proa.kube.controllers.node_lifecycle import NodeLifecycleController
from proa.kube.controllers.steps import performers
from proa.kube.keys import object_key, prefix_of
from proa.kube.nodes import Heartbeats
from proa.kube.tables import PODS, TABLES
from proa.reconcile.controller import Controller
from proa.reconcile.runner import Runner
from proa.reconcile.view import Table, View
from proa.store.api import (
    Batch,
    Committed,
    Event,
    Exists,
    Guard,
    GuardFailed,
    Page,
    Put,
    Record,
    Transaction,
)

CLUSTER = "c1"
Json = dict[str, Any]


class MemoryStore:
    """Range, watch and unguarded writes: what a view and the API below need."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.now = 0
        self._watchers: list[asyncio.Queue[Batch]] = []

    def put(self, key: str, body: bytes) -> int:
        self.now += 256
        old = self.records.get(key)
        record = Record(key, body, self.now, old.created if old else self.now)
        self.records[key] = record
        self._tell(Event("put", record, old))
        return self.now

    def delete(self, key: str) -> int:
        self.now += 256
        old = self.records.pop(key)
        self._tell(Event("delete", Record(key, old.body, self.now, old.created), old))
        return self.now

    async def version(self) -> int:
        return self.now

    async def commit(self, transaction: Transaction) -> Committed:
        for guard in transaction.guards:
            record = self.records.get(guard.key)
            found = record.version if record else 0
            if isinstance(guard, Exists) and not found:
                raise GuardFailed(guard.key, 1, 0)
            if isinstance(guard, Guard) and guard.version != found:
                raise GuardFailed(guard.key, guard.version, found)
        versions = tuple(
            self.put(write.key, write.body) if isinstance(write, Put) else self.delete(write.key)
            for write in transaction.writes
        )
        return Committed(self.now, versions)

    def _tell(self, event: Event) -> None:
        for watcher in self._watchers:
            watcher.put_nowait(Batch((event,), self.now))

    async def range(self, prefix: str, *, after: str = "", limit: int = 0, at: int = 0) -> Page:
        found = [self.records[key] for key in sorted(self.records) if key.startswith(prefix)]
        return Page(tuple(found), self.now)

    async def watch(self, prefix: str, *, after: int) -> AsyncIterator[Batch]:
        queue: asyncio.Queue[Batch] = asyncio.Queue()
        self._watchers.append(queue)
        while True:
            yield await queue.get()


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


class FakeApi:
    """Objects with uids, versions, generations, finalizers and graceful deletion of pods."""

    def __init__(self, store: MemoryStore, clock: VirtualClock, chance: Chance) -> None:
        self.store, self.clock, self.chance = store, clock, chance
        self.refuse: Callable[[Call], ApiError | None] = lambda _call: None
        self.calls: list[Call] = []

    async def perform(self, call: Call) -> int:
        await asyncio.sleep(0.001)
        self.calls.append(call)
        error = self.refuse(call)
        if error is not None:
            raise error
        return self.apply(call)

    async def perform_all(self, calls: Sequence[Call]) -> int:
        return max([await self.perform(call) for call in calls], default=0)

    async def create_all(
        self, children: Sequence[tuple[Call, Sequence[Parts]]], then: Sequence[Call] = ()
    ) -> int:
        version = 0
        for call, beside in children:
            version = await self.perform(call)
            for parts in beside:
                version = (await self.store.commit(Transaction(parts.guards, parts.writes))).version
        return max(version, await self.perform_all(then))

    def apply(self, call: Call) -> int:
        name = call.name or call.body.get("metadata", {}).get("name", "")
        key = object_key(call.cluster, call.group, call.resource, call.namespace, name)
        record = self.store.records.get(key)
        if call.verb == "create":
            if record is not None:
                if call.existing_ok:
                    return record.version
                raise ApiError(409, "AlreadyExists", f'{call.resource} "{name}" already exists')
            return self._create(key, call)
        if record is None:
            if call.missing_ok:
                return 0
            raise ApiError(404, "NotFound", f'{call.resource} "{name}" not found')
        body = json.loads(record.body)
        if call.version and call.version != record.version:
            raise ApiConflict("the object has been modified")
        if call.uid and call.uid != body["metadata"]["uid"]:
            raise ApiConflict("another uid")
        if call.verb == "delete":
            return self._delete(key, body, call)
        return self._change(key, record, body, call)

    def _create(self, key: str, call: Call) -> int:
        body = copy.deepcopy(call.body)
        if call.resource == "pods":  # admission adds to it
            body["spec"]["volumes"] = [*body["spec"].get("volumes", []), {"name": "token"}]
        meta = body.setdefault("metadata", {})
        meta.setdefault("name", call.name)
        if call.namespace:
            meta.setdefault("namespace", call.namespace)
        meta |= {
            "uid": self.chance.uid(),
            "creationTimestamp": iso8601(self.clock.now()),
            "generation": 1,
        }
        if call.resource != "nodes":
            body.pop("status", None)
        if call.resource == "pods":
            body["status"] = {"phase": "Pending"}
        if call.resource == "namespaces":
            body.setdefault("spec", {})["finalizers"] = ["kubernetes"]
        return self._put(key, body)

    def _put(self, key: str, body: Json) -> int:
        return self.store.put(key, json.dumps(body).encode())

    def _change(self, key: str, record: Record, body: Json, call: Call) -> int:
        before = json.dumps(body)
        if call.subresource == "finalize":
            body = {**copy.deepcopy(call.body), "metadata": body["metadata"]}
        elif call.subresource == "status":
            change = copy.deepcopy(call.body.get("status", {}))
            if "strategic" in call.patch_type and "conditions" in change:
                known = {
                    item["type"]: item for item in body.get("status", {}).get("conditions", [])
                }
                for item in change["conditions"]:
                    known[item["type"]] = {**known.get(item["type"], {}), **item}
                change["conditions"] = list(known.values())
            body["status"] = merged(body.get("status", {}), change)
        else:
            spec = json.dumps(body.get("spec"))
            body = merged(body, {k: v for k, v in call.body.items() if k != "status"})
            if json.dumps(body.get("spec")) != spec:
                body["metadata"]["generation"] += 1
        if json.dumps(body) == before:
            return record.version
        if self._is_over(body):
            return self.store.delete(key)
        return self._put(key, body)

    def _is_over(self, body: Json) -> bool:
        meta = body["metadata"]
        if not meta.get("deletionTimestamp") or meta.get("finalizers"):
            return False
        if body["kind"] == "Pod":
            return meta.get("deletionGracePeriodSeconds") == 0
        return not body.get("spec", {}).get("finalizers") or body["kind"] != "Namespace"

    def _delete(self, key: str, body: Json, call: Call) -> int:
        meta = body["metadata"]
        before = json.dumps(body)
        wanted = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}.get(call.propagation)
        if wanted and wanted not in meta.get("finalizers", []):
            meta.setdefault("finalizers", []).append(wanted)
        grace = call.grace_s
        if grace is None:
            on_node = body["kind"] == "Pod" and body["spec"].get("nodeName")
            ended = body.get("status", {}).get("phase") in ("Succeeded", "Failed")
            grace = 30 if on_node and not ended else 0
        meta.setdefault("deletionTimestamp", iso8601(self.clock.now() + grace))
        meta["deletionGracePeriodSeconds"] = min(grace, meta.get("deletionGracePeriodSeconds", 30))
        if body["kind"] == "Namespace":
            body["status"] = {**body.get("status", {}), "phase": "Terminating"}
        if self._is_over(body):
            return self.store.delete(key)
        if json.dumps(body) == before:
            return self.store.records[key].version
        return self._put(key, body)


class World:
    """Start with ``async with World(controllers) as world``."""

    def __init__(
        self,
        controllers: Iterable[Controller],
        seed: str = "world",
        tables: Iterable[Table[Any]] = (*TABLES, compute.HOSTS, compute.INSTANCES, ADDRESSES),
    ) -> None:
        self.clock = VirtualClock()
        self.chance = Chance(seed)
        self.store = MemoryStore()
        self.api = FakeApi(self.store, self.clock, self.chance.child("api"))
        self.view = View(self.store, tables)  # type: ignore[arg-type]
        given = list(controllers)
        lifecycles = [item for item in given if isinstance(item, NodeLifecycleController)]
        self.heartbeats = lifecycles[0].heartbeats if lifecycles else Heartbeats(self.clock)
        self.runner = Runner(
            self.store,  # type: ignore[arg-type]
            self.view,
            self.clock,
            given,
            performers(
                self.api.perform, self.api.create_all, self.api.perform_all, self.view.reached
            ),
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> World:
        self._tasks.append(asyncio.create_task(self.view.run()))
        await self.view.synced.wait()
        self.runner.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.runner.close()
        for task in self._tasks:
            task.cancel()
        assert not self.runner.crashes

    def spawn(self, work: Awaitable[None]) -> None:
        self._tasks.append(asyncio.ensure_future(work))  # type: ignore[arg-type]

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    # Objects

    def create(self, group: str, resource: str, body: Json) -> Json:
        meta = body["metadata"]
        namespace = meta.get("namespace", "")
        self.api.apply(Call(CLUSTER, "create", group, resource, namespace, meta["name"], body=body))
        return self.get(group, resource, namespace, meta["name"])

    def patch(
        self, group: str, resource: str, namespace: str, name: str, body: Json, sub: str = ""
    ) -> None:
        self.api.apply(Call(CLUSTER, "patch", group, resource, namespace, name, sub, body))

    def delete(self, group: str, resource: str, namespace: str, name: str, **more: Any) -> None:
        self.api.apply(Call(CLUSTER, "delete", group, resource, namespace, name, **more))

    def get(self, group: str, resource: str, namespace: str, name: str) -> Json:
        key = object_key(CLUSTER, group, resource, namespace, name)
        body: Json = json.loads(self.store.records[key].body)
        return body

    def list(self, group: str, resource: str, namespace: str = "") -> list[Json]:
        prefix = prefix_of(CLUSTER, group, resource, namespace)
        keys = sorted(key for key in self.store.records if key.startswith(prefix))
        return [json.loads(self.store.records[key].body) for key in keys]

    def events(self, reason: str) -> list[str]:
        found = [item for item in self.list("", "events") if item["reason"] == reason]
        return [item["message"] for item in found]

    # Pods that run

    def namespace(self, name: str = "default") -> None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        self.create("", "namespaces", body)

    def pod_status(self, pod: Json, **status: Any) -> None:
        meta = pod["metadata"]
        self.patch("", "pods", meta["namespace"], meta["name"], {"status": status}, "status")

    def make_ready(self, pod: Json, ready: bool = True) -> None:
        at = iso8601(self.clock.now())
        condition = {
            "type": "Ready",
            "status": "True" if ready else "False",
            "lastTransitionTime": at,
        }
        ip = f"10.0.0.{int(pod['metadata']['uid'][:2], 16)}"
        self.pod_status(pod, phase="Running", conditions=[condition], podIP=ip)

    async def kubelet(self, start_s: float = 1.0, stop_s: float = 1.0) -> None:
        """Binds, starts and stops every pod after these times."""
        seen: set[tuple[str, str]] = set()
        while True:
            for entry in list(self.view.rows(PODS).scan()):
                pod, meta = entry.value, entry.value.metadata
                stage = "stop" if meta.deleting else "start"
                if pod.terminal or (meta.uid, stage) in seen:
                    continue
                seen.add((meta.uid, stage))
                delay = stop_s if meta.deleting else start_s
                self.spawn(self._later(delay, meta.namespace, meta.name, meta.uid, stage))
            await asyncio.sleep(0.1)

    async def _later(self, delay: float, namespace: str, name: str, uid: str, stage: str) -> None:
        await asyncio.sleep(delay)
        record = self.store.records.get(object_key(CLUSTER, "", "pods", namespace, name))
        pod = json.loads(record.body) if record else {"metadata": {"uid": ""}}
        if pod["metadata"]["uid"] != uid:
            return
        if stage == "stop":
            self.delete("", "pods", namespace, name, grace_s=0, uid=uid)
        elif not pod["metadata"].get("deletionTimestamp"):
            self.patch("", "pods", namespace, name, {"spec": {"nodeName": "node-1"}})
            self.make_ready(pod)


def rows(world: World, table: Table[Any]) -> list[Any]:
    return [entry.value for entry in world.view.rows(table).scan()]


def deployment(name: str = "web", replicas: int = 3, image: str = "one", **spec: Any) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 10,
            **spec,
        },
    }


def image_of(name: str) -> Json:
    return {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": name}]}}}}
