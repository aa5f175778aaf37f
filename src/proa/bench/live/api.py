"""``api``: what both APIs answer a second at 32 connections, beside nginx, and what watchers get.

Kubernetes over TLS with a client certificate: GET of a pod, a list of 500 objects, validated
creation of ConfigMaps. ECS DescribeClusters and ListTasks signed by SigV4, the signature made once
and checked at each call. Then a thousand watches: how long until all have one change, and how many
creations a second remain while all of them see every one.

Another Kubernetes API, given by its kubeconfig, takes turns with Proa at reads and creations.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop
import yaml

from proa.bench.live.clients import KubeClient, Kubeconfig, read_kubeconfig, signed
from proa.bench.live.instance import Instance, running
from proa.bench.live.measure import Contender, Result, interleave, ratio, scratch, summary
from proa.bench.live.watchers import crowd
from proa.bench.live.wrk import CONNECTIONS, Figures, Load
from proa.bench.live.yardstick import Yardstick, yardstick

ROUNDS, WARM_UP, SECONDS = 3, 1, 2
WATCHERS, CHANGES = 1000, 7
ACCOUNT_S = 10  # until a new namespace has its account
_DEFAULT = "/api/v1/namespaces/default"
_MAPS, _PODS = f"{_DEFAULT}/configmaps", f"{_DEFAULT}/pods"
_DATA = {"key": "value" * 20}
_JSON = {"Content-Type": "application/json"}
_PAIRS = {
    "kubernetes_get": "nginx_tls_get",
    "kubernetes_create": "nginx_tls_post",
    "ecs_describe_clusters": "nginx_post",
    "ecs_list_tasks": "nginx_post",
}
WATCH = "watch"
LOADS = (*_PAIRS, "kubernetes_list", WATCH)
_OTHERS = {"kubernetes_get": "other_get", "kubernetes_create": "other_create"}


def run(only: str = "", beside: str = "") -> Result:
    """The benchmark, or one of its ``LOADS``, beside its peer, and beside the Kubernetes API of
    the kubeconfig ``beside``. Needs root, wrk, nginx and a C compiler. Raises ValueError for a
    load that there is none of, or a kubeconfig that names no API by certificates."""
    if only and only not in LOADS:
        raise ValueError(f"no load {only}: choose from {', '.join(LOADS)}")
    with scratch() as folder, running(folder / "proa") as instance:
        kubeconfig = read_kubeconfig(Path(instance.environment["KUBECONFIG"]), folder)
        body = asyncio.run(_prepare(kubeconfig))
        processor = _processor(instance.process("control"))
        with yardstick(folder, body) as peer:
            loads = _loads(folder, instance, kubeconfig, peer)
            if beside:
                loads |= asyncio.run(_other_loads(folder, Path(beside)))
            wanted = {only, _PAIRS.get(only), _OTHERS.get(only)} if only else set(loads)
            turns = {name: _Turn(load, processor) for name, load in loads.items() if name in wanted}
            contenders = [Contender(name, turn, _nothing) for name, turn in turns.items()]
            rates = asyncio.run(interleave(contenders, ROUNDS, WARM_UP)) if contenders else {}
        figures = {name: _summary(loads[name].history[WARM_UP:]) for name in turns}
        watching = {}
        if only in ("", WATCH):
            watching = uvloop.run(_watch(kubeconfig, loads["kubernetes_create"]))
    for name in turns.keys() & set(LOADS):
        figures[name]["cpu_us"] = round(statistics.median(turns[name].cpu_us[WARM_UP:]), 1)
    return Result(
        name="api",
        method=f"wrk, {CONNECTIONS} connections, {SECONDS} s a round; contenders take turns",
        peer="nginx, one worker, the same bytes from a file (201 for a create), same TLS",
        figures={**figures, **watching},
        ratio={
            f"{ours}{suffix}": ratio(rates[ours], rates[peer])
            for suffix, pairs in (("", _PAIRS), ("_beside", _OTHERS))
            for ours, peer in pairs.items()
            if ours in rates and peer in rates
        },
    )


def _loads(
    folder: Path, instance: Instance, kubeconfig: Kubeconfig, peer: Yardstick
) -> dict[str, Load]:
    secret, server = (kubeconfig.certificate, kubeconfig.key), kubeconfig.server.rstrip("/")
    query, tasks = json.dumps({"clusters": ["default"]}), json.dumps({"cluster": "default"})
    headers = signed(instance.environment, "DescribeClusters", query.encode())
    listing = signed(instance.environment, "ListTasks", tasks.encode())
    endpoint = instance.environment["AWS_ENDPOINT_URL"] + "/"
    some = f"{server}{_DEFAULT}/secrets?limit=500"
    return {
        **_in_namespace("kubernetes", folder, kubeconfig, _DEFAULT),
        "nginx_tls_get": Load(f"{peer.secure}/read", folder, certificate=peer.certificate),
        "kubernetes_list": Load(some, folder, certificate=secret),
        "nginx_tls_post": Load(
            f"{peer.secure}/create", folder, "POST", _JSON, _NEW_MAP, peer.certificate
        ),
        "ecs_describe_clusters": Load(endpoint, folder, "POST", headers, query),
        "ecs_list_tasks": Load(endpoint, folder, "POST", listing, tasks),
        "nginx_post": Load(f"{peer.plain}/read", folder, "POST", headers, query),
    }


async def _other_loads(folder: Path, path: Path) -> dict[str, Load]:
    """The reads and creations of another Kubernetes API, in a namespace made for this run, which
    stays: to take its thousands of objects away is that API's own work."""
    own = folder / "other"
    own.mkdir()
    try:
        kubeconfig = read_kubeconfig(path, own)
    except (OSError, KeyError, StopIteration, TypeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: no API that is entered by certificates: {error!r}") from error
    client, name = KubeClient(kubeconfig), f"bench-{time.time_ns()}"
    space = f"/api/v1/namespaces/{name}"
    try:
        await client.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        await _eventually(lambda: client.call("POST", f"{space}/pods", _pod()))
    finally:
        await client.close()
    return _in_namespace("other", folder, kubeconfig, space)


def _in_namespace(name: str, folder: Path, kubeconfig: Kubeconfig, space: str) -> dict[str, Load]:
    """Reads of the pod and creations of ConfigMaps in a namespace of one Kubernetes API."""
    secret, place = (kubeconfig.certificate, kubeconfig.key), kubeconfig.server.rstrip("/") + space
    return {
        f"{name}_get": Load(f"{place}/pods/bench", folder, certificate=secret),
        f"{name}_create": Load(f"{place}/configmaps", folder, "POST", _JSON, _NEW_MAP, secret),
    }


async def _eventually(call: Callable[[], Awaitable[Any]]) -> Any:
    """A namespace takes pods once it has an account for them."""
    until = time.perf_counter() + ACCOUNT_S
    while True:
        try:
            return await call()
        except RuntimeError:
            if time.perf_counter() > until:
                raise
            await asyncio.sleep(0.2)


def _processor(pid: int) -> Callable[[], float]:
    """Reads the seconds of processor time that a process has used."""
    ticks = os.sysconf("SC_CLK_TCK")

    def used_s() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / ticks

    return used_s


async def _watch(kubeconfig: Kubeconfig, creates: Load) -> dict[str, Any]:
    """The figures with a thousand watchers."""
    client = KubeClient(kubeconfig)
    try:
        newest = (await client.call("GET", f"{_MAPS}?limit=1"))["metadata"]["resourceVersion"]
        since = f"watch=true&resourceVersion={newest}&timeoutSeconds=600"
        took_ms = []
        path = f"{_MAPS}?{since}&labelSelector=watched%3Dyes"
        async with crowd(kubeconfig, path, WATCHERS) as watching:
            for number in range(CHANGES):
                watching.expect(f'"name":"watched-{number}"')
                began = time.perf_counter()
                body = _config_map(f"watched-{number}", {"watched": "yes"})
                await client.call("POST", _MAPS, body)
                took_ms.append((await watching.reached() - began) * 1000)
        async with crowd(kubeconfig, f"{_MAPS}?{since}", WATCHERS) as watching:
            history = [await asyncio.to_thread(creates.run, SECONDS) for _ in range(ROUNDS)]
            beside = {**_summary(history), "mib": round(watching.bytes / 2**20)}
    finally:
        await client.close()
    return {"watch_1000_filtered": summary(took_ms, "ms"), "create_beside_1000_watchers": beside}


class _Turn:
    """One round of a load, as a contender measures it; ``cpu_us`` is the control plane's
    processor time a request in every round."""

    def __init__(self, load: Load, processor: Callable[[], float]) -> None:
        self._load, self._processor = load, processor
        self.cpu_us: list[float] = []

    async def __call__(self) -> float:
        before = self._processor()
        rate = self._load.run(SECONDS).per_second
        self.cpu_us.append((self._processor() - before) / (rate * SECONDS) * 1e6)
        return rate


async def _nothing() -> None:
    """There is nothing to clear between rounds."""


def _config_map(name: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    metadata = {"name": name, **({"labels": labels} if labels else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": _DATA}


_NEW_MAP = json.dumps(_config_map("load-{n}"))


def _pod() -> dict[str, Any]:
    """A pod that no node takes."""
    container = {"name": "main", "image": "nginx", "ports": [{"containerPort": 80}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "bench", "labels": {"app": "bench"}},
        "spec": {"containers": [container], "nodeSelector": {"bench": "nowhere"}},
    }


async def _prepare(kubeconfig: Kubeconfig) -> bytes:
    """Create what is read; as many bytes as an answer has."""
    client = KubeClient(kubeconfig)
    try:
        for number in range(500):
            body = {
                **_config_map(f"listed-{number}"),
                "kind": "Secret",
                "data": {"key": "dmFsdWU="},
            }
            await client.call("POST", f"{_DEFAULT}/secrets", body)
        return json.dumps(await client.call("POST", _PODS, _pod())).encode()
    finally:
        await client.close()


def _summary(history: list[Figures]) -> dict[str, Any]:
    """Medians of the rounds' figures."""
    rows = [asdict(figures) for figures in history]
    medians = {name: round(statistics.median(row[name] for row in rows), 2) for name in rows[0]}
    return {**medians, "rounds": len(rows)}
