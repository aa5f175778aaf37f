"""``FifoExec``: a process in a running container, its streams as FIFOs.

containerd's shim opens the other ends, so no streaming server and no upgrade protocol is
between the user and the process. Made by ``Native.exec``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any as AnyMessage

from proa.node.ports import ExecRequest, NotFound
from proa.pb import containerd_tasks_pb2 as tasks_pb

_NAMESPACE = (("containerd-namespace", "k8s.io"),)
_PROCESS_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Process"
_CALL_S = 60.0
_CHUNK = 65536
_QUEUE = 64  # chunks read ahead of a slow reader
_DRAIN_S = 2.0  # after the exit, for what is still in the streams
_KILL = 9
_MISSING = 126  # exit code where there is no real one


class FifoExec:
    """One exec session."""

    def __init__(self, tasks: Any, container: str, folder: Path, exec_id: str) -> None:
        self._tasks = tasks
        self._container = container
        self._id = exec_id
        self._folder = folder / exec_id
        self._readers: list[tuple[int, asyncio.StreamReader, asyncio.BaseTransport]] = []
        self._stdin: asyncio.WriteTransport | None = None
        self._writable = asyncio.Event()
        self._exit: asyncio.Task[int] | None = None
        self._with_stdin = False

    async def start(self, process: dict[str, Any], request: ExecRequest) -> None:
        """Run ``request`` with the container's own user, environment and capabilities.
        Raises gRPC's errors (Native translates them)."""
        names = ["stdout"] if request.tty else ["stdout", "stderr"]
        self._with_stdin = request.stdin
        self._folder.mkdir(parents=True, mode=0o700)
        for name in [*names, *(["stdin"] if request.stdin else [])]:
            os.mkfifo(self._folder / name, 0o600)
        # Read ends first, so that the shim's opening for writing finds a reader.
        ends = [os.open(self._folder / name, os.O_RDONLY | os.O_NONBLOCK) for name in names]
        try:
            await self._run(process, request, names)
        except BaseException:
            for end in ends:
                os.close(end)
            raise
        for number, end in enumerate(ends, start=1):
            await self._read_from(number, end)
        if request.stdin:
            await self._write_to()
        loop = asyncio.get_running_loop()
        self._exit = loop.create_task(self._wait_for_exit(), name=f"exec {self._id}")

    async def _run(self, process: dict[str, Any], request: ExecRequest, names: list[str]) -> None:
        environment = [
            item for item in process.get("env", []) if item.split("=")[0] not in request.environment
        ]
        environment += [f"{key}={value}" for key, value in request.environment.items()]
        if request.tty and not any(item.startswith("TERM=") for item in environment):
            environment.append("TERM=xterm")
        spec = {
            **process,
            "args": list(request.command),
            "terminal": request.tty,
            "env": environment,
        }
        path = {name: str(self._folder / name) for name in names}
        await self._tasks.Exec(
            tasks_pb.ExecProcessRequest(
                container_id=self._container,
                exec_id=self._id,
                terminal=request.tty,
                stdin=str(self._folder / "stdin") if request.stdin else "",
                stdout=path["stdout"],
                stderr=path.get("stderr", ""),
                spec=AnyMessage(type_url=_PROCESS_TYPE, value=json.dumps(spec).encode()),
            ),
            metadata=_NAMESPACE,
            timeout=_CALL_S,
        )
        start = tasks_pb.StartRequest(container_id=self._container, exec_id=self._id)
        await self._tasks.Start(start, metadata=_NAMESPACE, timeout=_CALL_S)

    async def _read_from(self, number: int, end: int) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_CHUNK)
        pipe = os.fdopen(end, "rb", buffering=0)
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        self._readers.append((number, reader, transport))

    async def _write_to(self) -> None:
        loop = asyncio.get_running_loop()
        end = os.open(self._folder / "stdin", os.O_WRONLY | os.O_NONBLOCK)
        pipe = os.fdopen(end, "wb", buffering=0)
        self._writable.set()
        self._stdin, _ = await loop.connect_write_pipe(lambda: _Flow(self._writable), pipe)

    async def _wait_for_exit(self) -> int:
        wait = tasks_pb.WaitRequest(container_id=self._container, exec_id=self._id)
        try:
            code = int((await self._tasks.Wait(wait, metadata=_NAMESPACE)).exit_status)
        except grpc.aio.AioRpcError:  # containerd or the container went away
            code = _MISSING
        asyncio.get_running_loop().call_later(_DRAIN_S, self._end_streams)
        return code

    def _end_streams(self) -> None:
        """A child left behind may hold the streams open; nobody waits for it."""
        for _, _, transport in self._readers:
            transport.close()

    async def write(self, data: bytes) -> None:
        if self._stdin is None or self._stdin.is_closing():
            raise NotFound("the process does not read its standard input")
        await self._writable.wait()
        self._stdin.write(data)

    async def close_stdin(self) -> None:
        if self._stdin is None:
            return
        self._stdin.close()
        close = tasks_pb.CloseIORequest(container_id=self._container, exec_id=self._id, stdin=True)
        with contextlib.suppress(grpc.aio.AioRpcError):
            await self._tasks.CloseIO(close, metadata=_NAMESPACE, timeout=_CALL_S)

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        queue: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue(_QUEUE)

        async def pump(number: int, reader: asyncio.StreamReader) -> None:
            while data := await reader.read(_CHUNK):
                await queue.put((number, data))
            await queue.put((number, b""))

        loop = asyncio.get_running_loop()
        pumps = [
            loop.create_task(pump(number, reader), name=f"exec {self._id} stream {number}")
            for number, reader, _ in self._readers
        ]
        try:
            open_streams = len(pumps)
            while open_streams:
                number, data = await queue.get()
                if data:
                    yield number, data
                else:
                    open_streams -= 1
        finally:
            for task in pumps:
                task.cancel()

    async def resize(self, columns: int, rows: int) -> None:
        size = tasks_pb.ResizePtyRequest(
            container_id=self._container, exec_id=self._id, width=columns, height=rows
        )
        with contextlib.suppress(grpc.aio.AioRpcError):  # it has ended
            await self._tasks.ResizePty(size, metadata=_NAMESPACE, timeout=_CALL_S)

    async def wait(self) -> int:
        assert self._exit is not None, "wait before start"
        return await asyncio.shield(self._exit)

    async def close(self) -> None:
        if self._exit is not None and not self._exit.done():
            kill = tasks_pb.KillRequest(
                container_id=self._container, exec_id=self._id, signal=_KILL
            )
            with contextlib.suppress(grpc.aio.AioRpcError):
                await self._tasks.Kill(kill, metadata=_NAMESPACE, timeout=_CALL_S)
            await self._exit
        if self._stdin is not None:
            self._stdin.close()
        self._end_streams()
        delete = tasks_pb.DeleteProcessRequest(container_id=self._container, exec_id=self._id)
        with contextlib.suppress(grpc.aio.AioRpcError):
            await self._tasks.DeleteProcess(delete, metadata=_NAMESPACE, timeout=_CALL_S)
        shutil.rmtree(self._folder, ignore_errors=True)


class _Flow(asyncio.BaseProtocol):
    """Holds writers back while the process does not read."""

    def __init__(self, writable: asyncio.Event) -> None:
        self._writable = writable

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._writable.set()
