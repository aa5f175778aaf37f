"""Fresh Proas on demand, in one process: what the pytest plugin talks to.

``python -m proa.sim.nursery`` reads a JSON object a line from its standard input: ``{"start":
{"hosts": 1, "behaviour": ""}}`` is answered with ``{"id": 1, "environment": {…}}`` or ``{"error":
"…"}``, ``{"stop": 1}`` with ``{}``. It ends, and with it everything it made, when its input ends:
nothing outlives the tests, however they end. Imports are paid once, an instance costs a fraction.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import uvloop

from proa.base import telemetry
from proa.base.config import Config
from proa.base.errors import CallerFault
from proa.kube.schema.cache import SchemaCache
from proa.sim.control import Solo

ATTEMPTS = 5  # at ports that nobody else has
LISTEN = "127.0.0.1"
LINE_LIMIT = 1 << 20


class Nursery:
    """The instances there are, by number."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._instances: dict[int, Solo] = {}
        self._made = 0
        self._schemas = SchemaCache.open(None)

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one request."""
        if "stop" in request:
            await self._stop(int(request["stop"]))
            return {}
        try:
            return await self._start(request["start"])
        except (CallerFault, OSError) as error:
            return {"error": str(error)}

    async def _start(self, wanted: dict[str, Any]) -> dict[str, Any]:
        for attempt in range(ATTEMPTS):
            self._made += 1
            data_dir = self._folder / str(self._made)
            for name in ("run", "logs"):
                (data_dir / name).mkdir(parents=True)
            aws, kube, registry = free_ports(3)
            config = Config(data_dir, LISTEN, aws, kube, registry, runtime="sim", **wanted)
            config.save()
            solo = Solo(config, durable=False, schemas=self._schemas)
            try:
                await solo.start()
            except OSError:  # somebody else took the port
                await solo.close()
                if attempt == ATTEMPTS - 1:
                    raise
                continue
            self._instances[self._made] = solo
            return {"id": self._made, "environment": solo.environment}
        raise AssertionError("the loop returns or raises")

    async def _stop(self, number: int) -> None:
        solo = self._instances.pop(number, None)
        if solo is not None:
            await solo.close()
            shutil.rmtree(solo.config.data_dir, ignore_errors=True)

    async def close(self) -> None:
        """End them all."""
        for number in list(self._instances):
            await self._stop(number)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((LISTEN, 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


async def serve(folder: Path) -> None:
    """Answer until the input ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE_LIMIT)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    nursery = Nursery(folder)
    try:
        while line := await reader.readline():
            answer = await nursery.answer(json.loads(line))
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()
    finally:
        await nursery.close()


def main() -> None:
    """Run with a folder of its own, removed at the end."""
    telemetry.configure()
    folder = Path(tempfile.mkdtemp(prefix="proa-"))
    try:
        uvloop.run(serve(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
