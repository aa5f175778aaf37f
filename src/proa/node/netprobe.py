"""``HostProber``: carries out probes and hooks from the Host.

HTTP, TCP and gRPC checks go out of the Sandbox's own network namespace, so they reach it
whatever VPC it is in and whatever rules guard it, as the kubelet's do; commands run through the
runtime. Texts are the kubelet's, because users read them in events.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from proa.base.clock import Clock
from proa.model.sandbox import HttpProbe, Probe
from proa.node.mounts import enter_network_namespace
from proa.node.ports import Runtime, Target, TimedOut

_OUTPUT = 10 * 1024  # bytes of a command's output in an event (kubelet)
_BODY = 1024  # bytes of an HTTP answer that are read
_REDIRECTS = 10
_CONCURRENT_COMMANDS = 8  # an exec costs several milliseconds of one core
_SHORT_S = 60.0
_HEALTH_PATH = "/grpc.health.v1.Health/Check"
_FRAME, _SETTINGS, _HEADERS, _DATA = 9, 4, 1, 0


class SandboxSockets:
    """Opens sockets inside other network namespaces. A socket stays in the namespace it was
    made in, so only the making needs the thread that enters it."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="netns")

    def close(self) -> None:
        """End the thread."""
        self._threads.shutdown(wait=False)

    def _make(self, netns: str, family: int) -> socket.socket:
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            other = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
            try:
                enter_network_namespace(other)
                try:
                    return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
                finally:
                    enter_network_namespace(own)
            finally:
                os.close(other)
        finally:
            os.close(own)

    async def connect(self, netns: str, address: str, port: int) -> socket.socket:
        """A connected socket; raises OSError. An empty ``netns`` is the machine's own."""
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        if netns:
            made = await loop.run_in_executor(self._threads, self._make, netns, family)
        else:
            made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            await loop.sock_connect(made, (address, port))
        except BaseException:
            made.close()
            raise
        return made


class HostProber:
    """The Prober port of real agents."""

    def __init__(self, runtime: Runtime, sockets: SandboxSockets, clock: Clock) -> None:
        self._runtime, self._clock = runtime, clock
        self._sockets = sockets
        self._commands = asyncio.Semaphore(_CONCURRENT_COMMANDS)

    async def check(self, probe: Probe, target: Target) -> str:
        if probe.sleep_s is not None:
            await self._clock.sleep(probe.sleep_s)
            return ""
        if probe.command:
            return await self._command(probe, target)
        try:
            async with asyncio.timeout(probe.timeout_s):
                if probe.http is not None:
                    return await self._http(probe.http, target)
                if probe.grpc_port:
                    return await self._grpc(probe, target)
                return await self._tcp(probe.tcp_port, target)
        except TimeoutError:
            return _timed_out(probe, target)

    async def _command(self, probe: Probe, target: Target) -> str:
        if probe.timeout_s > _SHORT_S:  # a hook: it may not keep probes waiting
            return await self._exec(probe, target)
        async with self._commands:
            return await self._exec(probe, target)

    async def _exec(self, probe: Probe, target: Target) -> str:
        try:
            done = await self._runtime.exec_sync(
                target.container_id, probe.command, probe.timeout_s
            )
        except TimedOut as error:
            return str(error)
        if done.exit_code == 0:
            return ""
        text = (done.stdout + done.stderr)[:_OUTPUT].decode(errors="replace")
        return text or f"command exited with status {done.exit_code}"

    async def _tcp(self, port: int, target: Target) -> str:
        address = target.address or "127.0.0.1"
        try:
            connected = await self._sockets.connect(target.netns, address, port)
        except OSError as error:
            return f"dial tcp {address}:{port}: connect: {_words(error)}"
        connected.close()
        return ""

    async def _http(self, probe: HttpProbe, target: Target) -> str:
        path, scheme, port = probe.path or "/", probe.scheme.lower(), probe.port
        address = probe.host or target.address or "127.0.0.1"
        for _ in range(_REDIRECTS):
            url = f"{scheme}://{address}:{port}{path}"
            try:
                status, location = await self._get(probe, target, address, port, path, scheme)
            except (OSError, ValueError, EOFError, ssl.SSLError) as error:
                verb = f"dial tcp {address}:{port}: connect: " if _refused(error) else ""
                return f'Get "{url}": {verb}{_words(error)}'
            if not 300 <= status < 400 or not location:
                break
            parts = urlsplit(location)
            if parts.hostname and parts.hostname != address:
                break  # a redirect to elsewhere is success (kubelet)
            path = parts.path or "/"
            port = parts.port or port
            scheme = parts.scheme or scheme
        if 200 <= status < 400:
            return ""
        return f"HTTP probe failed with statuscode: {status}"

    async def _get(
        self, probe: HttpProbe, target: Target, address: str, port: int, path: str, scheme: str
    ) -> tuple[int, str]:
        """(status, location) of one GET; the body is not read."""
        connected = await self._sockets.connect(target.netns, address, port)
        context = _unverified() if scheme == "https" else None
        reader, writer = await asyncio.open_connection(
            sock=connected, ssl=context, server_hostname=address if context else None
        )
        try:
            headers = {"Host": f"{address}:{port}", "User-Agent": "kube-probe/1.36"}
            headers |= {"Accept": "*/*", "Connection": "close"}
            headers |= dict(probe.headers)
            lines = [f"GET {path} HTTP/1.1", *(f"{key}: {value}" for key, value in headers.items())]
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
            await writer.drain()
            first = (await reader.readline()).decode(errors="replace").split(" ", 2)
            if len(first) < 2 or not first[0].startswith("HTTP/"):
                raise ValueError("malformed HTTP response")
            location = ""
            while line := (await reader.readline()).decode(errors="replace").strip():
                name, _, value = line.partition(":")
                if name.lower() == "location":
                    location = value.strip()
            return int(first[1]), location
        finally:
            writer.close()
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()

    async def _grpc(self, probe: Probe, target: Target) -> str:
        """grpc.health.v1 over HTTP/2, spoken by hand: one request, one answer (RFC 9113)."""
        address, port = target.address or "127.0.0.1", probe.grpc_port
        try:
            connected = await self._sockets.connect(target.netns, address, port)
        except OSError as error:
            return f"service unhealthy: dial tcp {address}:{port}: connect: {_words(error)}"
        reader, writer = await asyncio.open_connection(sock=connected)
        try:
            writer.write(_grpc_request(f"{address}:{port}", probe.grpc_service))
            await writer.drain()
            status = await _grpc_status(reader, writer)
        except (OSError, asyncio.IncompleteReadError) as error:
            return f"service unhealthy: {error}"
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        return "" if status == 1 else f"service unhealthy (responded with {_HEALTH[status]!r})"


_HEALTH = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN", -1: "an error"}


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags])
    return head + stream.to_bytes(4, "big") + payload


def _literal(name: str, value: str) -> bytes:
    """A header field without indexing, HPACK strings without Huffman (RFC 7541, 6.2.2)."""
    assert len(name) < 127 and len(value) < 127, "short headers only"
    return bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def _grpc_request(authority: str, service: str) -> bytes:
    headers = b"".join(
        _literal(name, value)
        for name, value in (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", _HEALTH_PATH),
            (":authority", authority),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        )
    )
    name = service.encode()[:100]
    message = bytes([10, len(name)]) + name if name else b""
    body = bytes([0]) + len(message).to_bytes(4, "big") + message
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, 4, 1, headers)
        + _frame(_DATA, 1, 1, body)
    )


async def _grpc_status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    """The health status of the answer; -1 where there is none."""
    while True:
        head = await reader.readexactly(_FRAME)
        size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        payload = await reader.readexactly(size)
        if kind == _SETTINGS and not flags & 1:
            writer.write(_frame(_SETTINGS, 1, 0, b""))
            await writer.drain()
        elif kind == _DATA and len(payload) >= 5:
            message = payload[5:]
            return message[1] if len(message) >= 2 and message[0] == 8 else 0
        elif kind in (3, 7) or (kind == _HEADERS and flags & 1):  # reset, goaway, trailers only
            return -1


def _unverified() -> ssl.SSLContext:
    """Probes do not verify certificates (kubelet)."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _refused(error: Exception) -> bool:
    return isinstance(error, ConnectionRefusedError)


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__


def _timed_out(probe: Probe, target: Target) -> str:
    address = target.address or "127.0.0.1"
    if probe.http is not None:
        host, path = probe.http.host or address, probe.http.path
        url = f"{probe.http.scheme.lower()}://{host}:{probe.http.port}{path}"
        return (
            f'Get "{url}": context deadline exceeded '
            "(Client.Timeout exceeded while awaiting headers)"
        )
    port = probe.grpc_port or probe.tcp_port
    return f"dial tcp {address}:{port}: i/o timeout"
