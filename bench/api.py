"""``api``: reads and writes per second of both APIs at 32 connections, beside nginx.

Kubernetes over TLS with a client certificate (GET of one ConfigMap, creation of ConfigMaps);
ECS DescribeClusters signed by SigV4, the signature made once and checked at each call.
"""

from __future__ import annotations

import asyncio
import json
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.clients import KubeClient, Kubeconfig, read_kubeconfig, signed
from bench.instance import Instance, running
from bench.measure import Contender, Result, interleave, ratio, scratch
from bench.wrk import CONNECTIONS, Figures, Load
from bench.yardstick import Yardstick, yardstick

ROUNDS, WARM_UP, SECONDS = 3, 1, 4
_MAPS = "/api/v1/namespaces/default/configmaps"
_DATA = {"key": "value" * 20}


def run() -> Result:
    """The benchmark. Needs root, wrk, nginx and a C compiler."""
    with scratch() as folder, running(folder / "proa") as instance:
        kubeconfig = read_kubeconfig(Path(instance.environment["KUBECONFIG"]), folder)
        body = asyncio.run(_make_map(kubeconfig))
        with yardstick(folder, body) as peer:
            loads = _loads(folder, instance, kubeconfig, peer)
            turns = [Contender(name, _Turn(load), _nothing) for name, load in loads.items()]
            rates = asyncio.run(interleave(turns, ROUNDS, WARM_UP))
    pairs = {
        "kubernetes_get": "nginx_tls_get",
        "kubernetes_create": "nginx_tls_post",
        "ecs_describe_clusters": "nginx_post",
    }
    return Result(
        name="api",
        method=f"wrk, {CONNECTIONS} connections, {SECONDS} s a round; contenders take turns",
        peer="nginx, one worker, the same bytes from a file (201 for a create), same TLS",
        figures={name: _summary(load.history[WARM_UP:]) for name, load in loads.items()},
        ratio={ours: ratio(rates[ours], rates[peer]) for ours, peer in pairs.items()},
    )


def _loads(
    folder: Path, instance: Instance, kubeconfig: Kubeconfig, peer: Yardstick
) -> dict[str, Load]:
    secret = (kubeconfig.certificate, kubeconfig.key)
    maps, as_json = kubeconfig.server.rstrip("/") + _MAPS, {"Content-Type": "application/json"}
    new = json.dumps(_config_map("load-{n}"))
    query = json.dumps({"clusters": ["default"]})
    headers = signed(instance.environment, "DescribeClusters", query.encode())
    endpoint = instance.environment["AWS_ENDPOINT_URL"] + "/"
    return {
        "kubernetes_get": Load(f"{maps}/bench", folder, certificate=secret),
        "nginx_tls_get": Load(f"{peer.secure}/read", folder, certificate=peer.certificate),
        "kubernetes_create": Load(maps, folder, "POST", as_json, new, secret),
        "nginx_tls_post": Load(
            f"{peer.secure}/create", folder, "POST", as_json, new, peer.certificate
        ),
        "ecs_describe_clusters": Load(endpoint, folder, "POST", headers, query),
        "nginx_post": Load(f"{peer.plain}/read", folder, "POST", headers, query),
    }


class _Turn:
    """One round of a load, as a contender measures it."""

    def __init__(self, load: Load) -> None:
        self._load = load

    async def __call__(self) -> float:
        return self._load.run(SECONDS).per_second


async def _nothing() -> None:
    """There is nothing to clear between rounds."""


def _config_map(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": _DATA,
    }


async def _make_map(kubeconfig: Kubeconfig) -> bytes:
    """Create the ConfigMap that is read; as many bytes as an answer has."""
    client = KubeClient(kubeconfig)
    try:
        return json.dumps(await client.call("POST", _MAPS, _config_map("bench"))).encode()
    finally:
        await client.close()


def _summary(history: list[Figures]) -> dict[str, Any]:
    """Medians of the rounds' figures."""
    rows = [asdict(figures) for figures in history]
    medians = {name: round(statistics.median(row[name] for row in rows), 2) for name in rows[0]}
    return {**medians, "rounds": len(rows)}
