"""``start``: from the API call to running, for one and for 50 at once, beside bare CRI.

Three contenders take turns in one run: a pod under the Kubernetes API, a Fargate task under ECS,
and RunPodSandbox, CreateContainer, StartContainer on the peer's containerd. All run the same
image and command from images that are there already. Every client's connections are open before
the clock starts, as the peer's channel is, and no round begins before what the last one left
behind is cleared away. ECS has no watch: its client asks again and again, which takes time from the
very machine it measures, so it asks nothing while no round yet has been done.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]

from proa.bench.live.clients import Ecs, KubeClient, read_kubeconfig
from proa.bench.live.instance import Instance, running
from proa.bench.live.measure import Contender, Result, interleave, ratio, scratch, summary
from proa.bench.live.peer import BUSYBOX, COMMAND, BareCri, bare_cri, shims

PLAN = ((1, 10, 2), (50, 5, 1))  # how many at once, measured rounds, rounds of warming up
_PODS = "/api/v1/namespaces/default/pods"
_LIMIT_S = 120.0
_POLL_S, _POLL_MAX_S = 0.005, 0.05  # between two questions: for each task, and for any number
_QUIET = 0.8  # of the fastest round so far passes before the first question
_PER_CALL = 10  # RunTask's greatest count
_CONNECTIONS = 5  # of the Kubernetes client: one of them for the watch
_REST_S = 1.5  # until a Proa has put away what is left of containers that are gone


async def _gone(socket: Path) -> None:
    """Wait until a containerd holds no sandbox, and its Proa is at rest."""
    async with asyncio.timeout(_LIMIT_S):
        while shims(socket):
            await asyncio.sleep(0.05)
    await asyncio.sleep(_REST_S)


class Pods:
    """Pods under the Kubernetes API; running is Ready as a watch shows it."""

    def __init__(self, instance: Instance, client: KubeClient) -> None:
        self._client = client
        self._socket = instance.data_dir / "run" / "containerd.sock"
        self._names: list[str] = []
        self._count = 0

    async def start(self, count: int) -> float:
        """Milliseconds from the first POST to the last Ready."""
        self._names = [f"bench-{self._count + number}" for number in range(count)]
        self._count += count
        listed = await self._client.call("GET", _PODS)
        version = listed["metadata"]["resourceVersion"]
        async with asyncio.timeout(_LIMIT_S), self._client.watch(_PODS, version) as events:
            others = range(_CONNECTIONS - 1)
            await asyncio.gather(*[self._client.call("GET", _PODS) for _ in others])
            began = time.perf_counter()
            watching = asyncio.create_task(self._all_ready(events))
            posts = [self._client.call("POST", _PODS, _pod(name)) for name in self._names]
            await asyncio.gather(watching, *posts)
        return (watching.result() - began) * 1000

    async def _all_ready(self, events: AsyncIterator[dict[str, Any]]) -> float:
        waited = set(self._names)
        async for event in events:
            if event["type"] == "MODIFIED" and _is_ready(event["object"]):
                waited.discard(event["object"]["metadata"]["name"])
                if not waited:
                    return time.perf_counter()
        raise RuntimeError(f"the watch ended before {sorted(waited)} were ready")

    async def clear(self) -> None:
        names, self._names = self._names, []
        now = {"gracePeriodSeconds": 0}
        await asyncio.gather(
            *[self._client.call("DELETE", f"{_PODS}/{name}", now) for name in names]
        )
        await _gone(self._socket)


def _pod(name: str) -> dict[str, Any]:
    container = {"name": "main", "image": BUSYBOX, "command": list(COMMAND)}
    container["imagePullPolicy"] = "IfNotPresent"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container]},
    }


def _is_ready(pod: dict[str, Any]) -> bool:
    status = pod["status"]
    conditions = {item["type"]: item["status"] for item in status.get("conditions", [])}
    return status.get("phase") == "Running" and conditions.get("Ready") == "True"


class Tasks:
    """Fargate tasks under ECS; running is lastStatus RUNNING of DescribeTasks."""

    def __init__(self, instance: Instance, client: Ecs) -> None:
        self._client = client
        self._environment = instance.environment
        self._socket = instance.data_dir / "run" / "containerd.sock"
        self._arns: list[str] = []
        self._fastest_ms: dict[int, float] = {}  # by how many

    async def prepare(self) -> None:
        """Register the task definition; find a subnet."""
        environment = self._environment
        ec2 = boto3.client(
            "ec2",
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            region_name=environment["AWS_DEFAULT_REGION"],
        )
        subnets = await asyncio.to_thread(ec2.describe_subnets)
        self._subnet = subnets["Subnets"][0]["SubnetId"]
        container = {"name": "main", "image": BUSYBOX, "command": list(COMMAND), "stopTimeout": 2}
        await self._client.call(
            "RegisterTaskDefinition",
            family="bench",
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            cpu="256",
            memory="512",
            containerDefinitions=[container],
        )

    async def start(self, count: int) -> float:
        """Milliseconds from the first RunTask to the answer that shows the last one RUNNING."""
        shares = [min(_PER_CALL, count - first) for first in range(0, count, _PER_CALL)]
        async with asyncio.timeout(_LIMIT_S):
            await asyncio.gather(*[self._client.call("ListTasks") for _ in shares])
            began = time.perf_counter()
            answers = await asyncio.gather(*[self._run(share) for share in shares])
            self._arns = [task["taskArn"] for answer in answers for task in answer["tasks"]]
            if len(self._arns) != count:
                raise RuntimeError(f"RunTask: {[answer['failures'] for answer in answers]}")
            quiet_s = _QUIET * self._fastest_ms.get(count, 0.0) / 1000
            await asyncio.sleep(began + quiet_s - time.perf_counter())
            await self._all_running()
            took_ms = (time.perf_counter() - began) * 1000
        self._fastest_ms[count] = min(took_ms, self._fastest_ms.get(count, took_ms))
        return took_ms

    async def _run(self, count: int) -> Any:
        return await self._client.call(
            "RunTask",
            taskDefinition="bench",
            count=count,
            launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": {"subnets": [self._subnet]}},
        )

    async def _all_running(self) -> None:
        """Asks about one that is not running; once it is, about all that were not."""
        waited, pause_s = list(self._arns), min(_POLL_S * len(self._arns), _POLL_MAX_S)
        while waited:
            ask = self._client.asking("DescribeTasks", tasks=waited[:1])
            while not _are_running(await ask()):
                await asyncio.sleep(pause_s)
            answer = await self._client.call("DescribeTasks", tasks=waited)
            waited = [
                task["taskArn"] for task in answer["tasks"] if not _are_running({"tasks": [task]})
            ]

    async def clear(self) -> None:
        arns, self._arns = self._arns, []
        await asyncio.gather(*[self._client.call("StopTask", task=arn) for arn in arns])
        await _gone(self._socket)


def _are_running(answer: Any) -> bool:
    """Whether every task of an answer runs. Raises RuntimeError for one that has stopped."""
    for task in answer["tasks"]:
        if task["lastStatus"] in ("DEPROVISIONING", "STOPPED"):
            raise RuntimeError(f"a task stopped: {task.get('stoppedReason')}")
    return all(task["lastStatus"] == "RUNNING" for task in answer["tasks"])


def run() -> Result:
    """The benchmark. Needs root."""
    with scratch() as folder, contextlib.ExitStack() as stack:
        peer = stack.enter_context(bare_cri(folder / "peer"))
        peer.launch()
        peer.load_images()
        instance = stack.enter_context(running(folder / "proa"))
        samples = asyncio.run(_measure(peer, instance, folder))
    figures: dict[str, Any] = {}
    ratios: dict[str, float] = {}
    for count, by_name in samples.items():
        figures[str(count)] = {name: summary(times, "ms") for name, times in by_name.items()}
        for name in ("kubernetes", "ecs"):
            ratios[f"{name}_{count}"] = ratio(by_name[name], by_name["bare_cri"])
    return Result(
        name="start",
        method="API call to running, busybox sleep, image present, connections open; in turns",
        peer="bare CRI on a containerd of the same configuration with the bridge CNI plugin",
        figures=figures,
        ratio=ratios,
    )


async def _measure(
    peer: BareCri, instance: Instance, folder: Path
) -> dict[int, dict[str, list[float]]]:
    kubeconfig = read_kubeconfig(Path(instance.environment["KUBECONFIG"]), folder)
    kube = KubeClient(kubeconfig, _CONNECTIONS)
    ecs = Ecs(instance.environment)
    pods, tasks = Pods(instance, kube), Tasks(instance, ecs)
    await peer.connect()
    try:
        await tasks.prepare()
        samples = {}
        for count, rounds, warm_up in PLAN:
            contenders = (
                Contender("bare_cri", partial(_bare, peer, count), peer.clear),
                Contender("kubernetes", partial(pods.start, count), pods.clear),
                Contender("ecs", partial(tasks.start, count), tasks.clear),
            )
            samples[count] = await interleave(contenders, rounds, warm_up)
        return samples
    finally:
        await peer.disconnect()
        await ecs.close()
        await kube.close()


async def _bare(peer: BareCri, count: int) -> float:
    began = time.perf_counter()
    await peer.start_containers(count)
    return (time.perf_counter() - began) * 1000
