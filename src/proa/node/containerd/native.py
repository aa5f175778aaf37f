"""containerd's native services on the same socket as CRI: what CRI has no words for.

Exits and out-of-memory kills as a stream, process ids, arbitrary signals, exec with plain
FIFOs, and patches of a container's OCI spec. Used by ``ContainerdRuntime`` only.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Awaitable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.field_mask_pb2 import FieldMask

from proa.base.aio import Tasks
from proa.base.clock import Clock
from proa.base.errors import CallerFault, TryAgain
from proa.node.containerd.exec import FifoExec
from proa.node.containerd.oci import Patch
from proa.node.ports import ExecRequest, ExecSession, Exited, NotFound
from proa.pb import containerd_containers_pb2 as containers_pb
from proa.pb import containerd_containers_pb2_grpc as containers_grpc
from proa.pb import containerd_events_pb2 as events_pb
from proa.pb import containerd_events_pb2_grpc as events_grpc
from proa.pb import containerd_tasks_pb2 as tasks_pb
from proa.pb import containerd_tasks_pb2_grpc as tasks_grpc

NAMESPACE = (("containerd-namespace", "k8s.io"),)
CALL_S = 120.0  # longest wait for a call that should take milliseconds
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)
T = TypeVar("T")
_SUBSCRIBED = "/proa/subscribed"
_REPUBLISH_S = 0.05
_OOM_MEMORY = 4096  # containers whose out-of-memory event, or exit, is remembered


def translate(error: grpc.aio.AioRpcError, passing: bool) -> Exception:
    """Ours for gRPC's: NotFound, TryAgain where it may pass, CallerFault otherwise."""
    code, text = error.code(), error.details() or str(error.code())
    if code is grpc.StatusCode.NOT_FOUND:
        return NotFound(text)
    if code in _AWAY or passing:
        return TryAgain(text)
    return CallerFault(text)


async def call(rpc: Awaitable[Any], *, passing: bool = False) -> Any:
    """Await one RPC; ``passing`` marks calls whose failures are worth a repetition."""
    try:
        return await rpc
    except grpc.aio.AioRpcError as error:
        raise translate(error, passing) from error


@dataclass(slots=True, frozen=True)
class Task:
    """A process as its shim sees it."""

    pid: int
    stopped: bool
    exit_code: int
    exited_at: float


def _remember(memory: dict[str, T], id: str, what: T) -> None:
    """Note something of a container; of those noted longest ago nothing is kept."""
    memory[id] = what
    while len(memory) > _OOM_MEMORY:
        memory.pop(next(iter(memory)))


class Native:
    """The native services over one channel."""

    def __init__(self, channel: Any, clock: Clock, fifo_dir: Path) -> None:
        self._containers = containers_grpc.ContainersStub(channel)
        self._task = tasks_grpc.TasksStub(channel)
        self._events = events_grpc.EventsStub(channel)
        self._clock = clock
        self._fifo_dir = fifo_dir
        self._oom: dict[str, None] = {}
        self._exits: dict[str, Exited] = {}  # without a word of memory so far
        self._tasks = Tasks()

    async def close(self) -> None:
        """End background work."""
        await self._tasks.close()

    def was_oom(self, id: str) -> bool:
        """Whether the kernel killed a process of this container for memory."""
        return id in self._oom

    def note_oom(self, id: str) -> None:
        """Remember that the kernel killed a process of this container for memory."""
        _remember(self._oom, id, None)

    async def task(self, id: str) -> Task:
        """The shim's own word on a container or sandbox, which CRI's books follow by moments.
        Raises NotFound once CRI has cleaned up behind an exit."""
        request = tasks_pb.GetRequest(container_id=id)
        answer = await call(self._task.Get(request, metadata=NAMESPACE, timeout=CALL_S))
        process = answer.process
        at = process.exited_at.seconds + process.exited_at.nanos / 1e9
        stopped = process.status == tasks_pb.STOPPED
        return Task(int(process.pid), stopped, int(process.exit_status), at if stopped else 0.0)

    async def signal_and_wait(self, id: str, number: int, grace_s: float) -> None:
        """Send a signal of the user's choice, which CRI cannot, and wait for the end."""
        kill = tasks_pb.KillRequest(container_id=id, signal=number)
        await call(self._task.Kill(kill, metadata=NAMESPACE, timeout=CALL_S))
        wait = tasks_pb.WaitRequest(container_id=id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await call(self._task.Wait(wait, metadata=NAMESPACE))

    async def patch(self, id: str, patch: Patch) -> None:
        """Change the OCI spec of a container that was created and not started."""
        record, spec = await self._spec(id)
        patch.apply(spec)
        record.spec.value = json.dumps(spec).encode()
        request = containers_pb.UpdateContainerRequest(
            container=record, update_mask=FieldMask(paths=["spec"])
        )
        await call(self._containers.Update(request, metadata=NAMESPACE, timeout=CALL_S))

    async def spec(self, id: str) -> dict[str, Any]:
        """A container's OCI spec."""
        return (await self._spec(id))[1]

    async def _spec(self, id: str) -> tuple[Any, dict[str, Any]]:
        """The container record and its OCI spec."""
        request = containers_pb.GetContainerRequest(id=id)
        answer = await call(self._containers.Get(request, metadata=NAMESPACE, timeout=CALL_S))
        return answer.container, json.loads(answer.container.spec.value)

    async def exec(self, id: str, request: ExecRequest, exec_id: str) -> ExecSession:
        """Start a process in a running container."""
        _, spec = await self._spec(id)
        session = FifoExec(self._task, id, self._fifo_dir, exec_id)
        try:
            await session.start(spec["process"], request)
        except grpc.aio.AioRpcError as error:
            await session.close()
            raise translate(error, passing=False) from error
        return session

    async def events(self) -> AsyncGenerator[Exited | None, None]:
        """See ``Runtime.events``."""
        filters = [f'topic=="{topic}"' for topic in ("/tasks/exit", "/tasks/oom", _SUBSCRIBED)]
        request = events_pb.SubscribeRequest(filters=filters)
        stream = self._events.Subscribe(request, metadata=NAMESPACE)
        announcer = self._tasks.spawn(self._announce(), "containerd subscription")
        try:
            async for envelope in stream:
                if envelope.topic == _SUBSCRIBED:
                    if not announcer.cancelled() and announcer.cancel():
                        yield None
                elif (item := self.exit_told_by(envelope)) is not None:
                    yield item
        except grpc.aio.AioRpcError as error:
            raise TryAgain(error.details() or "event stream lost") from error
        finally:
            announcer.cancel()
            stream.cancel()

    async def _announce(self) -> None:
        """The stream gives no sign that the subscription stands, so an event of our own is
        sent until it arrives."""
        event = AnyMessage(type_url="proa/subscribed")
        request = events_pb.PublishRequest(topic=_SUBSCRIBED, event=event)
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await self._events.Publish(request, metadata=NAMESPACE, timeout=CALL_S)
            await self._clock.sleep(_REPUBLISH_S)

    def exit_told_by(self, envelope: Any) -> Exited | None:
        """What one event says of a container's exit."""
        if envelope.topic == "/tasks/oom":
            id = events_pb.TaskOOM.FromString(envelope.event.value).container_id
            self.note_oom(id)
            # The shim tells of both from two threads: the exit's word may have been first.
            exited = self._exits.pop(id, None)
            return replace(exited, oom=True) if exited is not None else None
        event = events_pb.TaskExit.FromString(envelope.event.value)
        if event.id != event.container_id:  # an exec's process
            return None
        at = event.exited_at.seconds + event.exited_at.nanos / 1e9
        oom = event.container_id in self._oom and event.exit_status != 0
        exited = Exited(event.container_id, event.exit_status, at, oom)
        if not oom and exited.exit_code != 0:
            _remember(self._exits, exited.id, exited)
        return exited
