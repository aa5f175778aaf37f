"""The agent's end of the CNI forwarder: ADD attaches a namespace, DEL releases it.

``ContainerdRuntime`` tells ``expect`` which network a Sandbox is to get before it asks for the
CRI sandbox; containerd's plugin call then finds it here by uid. A DEL counts only if it speaks
of the CRI sandbox that holds the interface now, so that a late one of an earlier attempt does
no harm. One connection carries one call (see forwarder.c for the framing).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from proa.base.errors import CallerFault, TryAgain
from proa.base.telemetry import get_logger
from proa.model.sandbox import Network
from proa.node.ports import NetworkPort

log = get_logger(__name__)
_LIMIT = 1 << 20  # bytes of one request
_CALL_TIMEOUT_S = 60.0


@dataclass(slots=True, frozen=True)
class Call:
    """One invocation of the plugin."""

    command: str
    sandbox_id: str
    netns: str
    uid: str
    interface: str


@dataclass(slots=True, frozen=True)
class Place:
    """Where a CRI sandbox is on the network."""

    sandbox_id: str
    netns: str
    address: str


def parse(request: bytes) -> Call:
    """Read the forwarder's request; raises CallerFault when it is not one."""
    head = request.split(b"\n\n", 1)[0].decode(errors="replace")
    variables = dict(line.split("=", 1) for line in head.splitlines() if "=" in line)
    pairs = variables.get("CNI_ARGS", "").split(";")
    arguments = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    if not variables.get("CNI_COMMAND"):
        raise CallerFault("CNI_COMMAND is missing")
    return Call(
        command=variables["CNI_COMMAND"],
        sandbox_id=variables.get("CNI_CONTAINERID", ""),
        netns=variables.get("CNI_NETNS", ""),
        uid=arguments.get("K8S_POD_UID", ""),
        interface=variables.get("CNI_IFNAME", "eth0"),
    )


def result(call: Call, address: str) -> str:
    """A CNI 0.4.0 result with one address."""
    version, prefix = ("6", 128) if ":" in address else ("4", 32)
    ips = [{"version": version, "address": f"{address}/{prefix}", "interface": 0}]
    return json.dumps(
        {
            "cniVersion": "0.4.0",
            "interfaces": [{"name": call.interface, "sandbox": call.netns}],
            "ips": ips,
            "dns": {},
        }
    )


class CniServer:
    """Answers plugin calls for one agent."""

    def __init__(self, network: NetworkPort) -> None:
        self._network = network
        self._expected: dict[str, Network] = {}
        self._holders: dict[str, str] = {}  # uid → id of the CRI sandbox that is attached
        self._places: dict[str, Place] = {}  # uid → where the last ADD put it
        self._server: asyncio.Server | None = None

    def expect(self, uid: str, network: Network) -> None:
        """The next ADD of this Sandbox gets this network."""
        self._expected[uid] = network

    def place(self, uid: str, sandbox_id: str) -> Place | None:
        """Where the CRI sandbox is, if it was attached in this life of the agent."""
        place = self._places.get(uid)
        return place if place is not None and place.sandbox_id == sandbox_id else None

    def adopt(self, uid: str, sandbox_id: str) -> None:
        """After a restart: this CRI sandbox holds the interface."""
        self._holders[uid] = sandbox_id

    def release(self, uid: str, sandbox_id: str) -> None:
        """This CRI sandbox is gone; a later one of the same Sandbox is left alone."""
        if self._holders.get(uid, sandbox_id) == sandbox_id:
            self._expected.pop(uid, None)
            self._holders.pop(uid, None)
            self._places.pop(uid, None)

    async def handle(self, request: bytes) -> tuple[int, str]:
        """One plugin call: exit code and what to print (CNI specification, "Error")."""
        try:
            call = parse(request)
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                return 0, await self._carry_out(call)
        except (CallerFault, TryAgain, TimeoutError, OSError) as error:
            log.warning("CNI call failed", error=str(error))
            body = {"cniVersion": "0.4.0", "code": 11, "msg": str(error) or "timed out"}
            return 1, json.dumps(body)

    async def _carry_out(self, call: Call) -> str:
        if call.command == "DEL":
            if self._holders.get(call.uid, call.sandbox_id) == call.sandbox_id and call.uid:
                await self._network.detach(call.uid)
                self._holders.pop(call.uid, None)
            return ""
        if call.command == "CHECK":
            return ""
        if call.command != "ADD":
            raise CallerFault(f"unknown CNI_COMMAND {call.command}")
        network = self._expected.get(call.uid)
        if network is None:
            raise TryAgain(f"no Sandbox with uid {call.uid!r} is expected")
        if network.mode == "none":  # containerd insists on an address
            self._places[call.uid] = Place(call.sandbox_id, call.netns, "")
            return result(call, "127.0.0.1")
        address = await self._network.attach(call.netns, network, call.uid)
        self._holders[call.uid] = call.sandbox_id
        self._places[call.uid] = Place(call.sandbox_id, call.netns, address)
        return result(call, address)

    async def start(self, socket: Path) -> None:
        """Listen; a socket left behind by a killed agent is replaced."""
        socket.parent.mkdir(parents=True, exist_ok=True)
        socket.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, path=str(socket))
        socket.chmod(0o600)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_CALL_TIMEOUT_S):
                request = await reader.read(_LIMIT)
                while chunk := await reader.read(_LIMIT):
                    request += chunk
                    if len(request) > _LIMIT:
                        return
            code, text = await self.handle(request)
            writer.write(f"{code}\n{text}".encode())
            await writer.drain()
        except (OSError, TimeoutError):
            pass  # the caller went away: containerd calls again
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None
