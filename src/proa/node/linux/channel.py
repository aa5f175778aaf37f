"""Netlink sockets and network namespaces: the system calls below ``LinuxNetwork``.

Everything here blocks and belongs to the one thread that ``LinuxNetwork`` keeps for it: entering
a namespace changes the calling thread only, and ``entered`` always comes back. A socket stays
in the namespace in which it was made, so routers are spoken to without entering them again.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from proa.base.errors import TryAgain
from proa.node.linux import netlink
from proa.node.linux.netlink import Answer, Link, Message, Routed

_CLONE_NEWNET = 0x40000000
_LOOPBACK = 1
_MS_BIND = 4096
_MNT_DETACH = 2
_RECEIVE_BYTES = 1 << 17
_libc = ctypes.CDLL(None, use_errno=True)


class NetlinkError(TryAgain):
    """The kernel refused a message; ``number`` is its errno."""

    def __init__(self, number: int, what: str) -> None:
        super().__init__(f"{what}: {os.strerror(number)}")
        self.number = number


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


@contextlib.contextmanager
def entered(namespace: int) -> Iterator[None]:
    """Run a few calls of this thread in the namespace of an open file."""
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("setns", namespace, _CLONE_NEWNET)
        try:
            yield
        finally:
            _call("setns", back, _CLONE_NEWNET)
    finally:
        os.close(back)


def make_namespace(path: Path) -> None:
    """A new network namespace that lives as long as the mount at ``path``; nothing to do where
    it exists."""
    if is_namespace(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("unshare", _CLONE_NEWNET)
        try:
            source = b"/proc/thread-self/ns/net"
            _call("mount", source, str(path).encode(), b"none", _MS_BIND, None)
        finally:
            _call("setns", back, _CLONE_NEWNET)
    finally:
        os.close(back)


def raise_loopback(path: Path) -> None:
    """Set the loopback device of the namespace at ``path`` up."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with channel_in(descriptor) as inside:
            inside.do(netlink.set_link(_LOOPBACK))
    finally:
        os.close(descriptor)


def is_namespace(path: Path) -> bool:
    """Whether a namespace is mounted there (a file left by a reboot is not one)."""
    return path.exists() and path.stat().st_dev != path.parent.stat().st_dev


def drop_namespace(path: Path) -> None:
    """Unmount and unlink; the kernel ends the namespace once nobody uses it."""
    if is_namespace(path):
        _call("umount2", str(path).encode(), _MNT_DETACH)
    path.unlink(missing_ok=True)


def write_sysctl(name: str, value: str) -> None:
    """Set a network sysctl of the present namespace; unknown ones are passed over."""
    with contextlib.suppress(FileNotFoundError):
        Path("/proc/sys", name.replace(".", "/")).write_text(value)


def read_sysctl(name: str) -> str:
    """A sysctl of the present namespace."""
    return Path("/proc/sys", name.replace(".", "/")).read_text().strip()


class Channel:
    """One rtnetlink socket in the namespace that the thread is in when it is made."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, messages: Sequence[Message]) -> list[int]:
        """Carry out in order; returns an errno for each, 0 for success."""
        if not messages:
            return []
        first = self._sequence + 1
        self._sequence += len(messages)
        self._socket.send(b"".join(m.encode(first + i) for i, m in enumerate(messages)))
        results = [-1] * len(messages)
        while -1 in results:
            for answer in netlink.answers(self._socket.recv(_RECEIVE_BYTES)):
                if answer.type == netlink.ERROR and answer.sequence >= first:
                    results[answer.sequence - first] = answer.error
        return results

    def do(self, *messages: Message, ignore: Sequence[int] = ()) -> None:
        """Carry out in order; raises NetlinkError for the first that failed otherwise than by
        an errno of ``ignore``."""
        for message, number in zip(messages, self.send(messages), strict=True):
            if number and number not in ignore:
                raise NetlinkError(number, f"netlink message {message.type}")

    def _ask(self, message: Message) -> Iterator[Answer]:
        self._sequence += 1
        self._socket.send(message.encode(self._sequence))
        whole = bool(message.flags & netlink.DUMP)
        while True:
            for answer in netlink.answers(self._socket.recv(_RECEIVE_BYTES)):
                if answer.sequence != self._sequence:
                    continue
                if answer.type == netlink.ERROR:
                    raise NetlinkError(answer.error, "netlink question")
                if answer.type == netlink.DONE:
                    return
                yield answer
                if not whole:
                    return

    def link(self, name: str) -> Link | None:
        """The device of this name."""
        try:
            return netlink.read_link(next(self._ask(netlink.get_link(name))).body)
        except NetlinkError as error:
            if error.number == errno.ENODEV:
                return None
            raise

    def links(self) -> list[Link]:
        """Every device."""
        return [netlink.read_link(answer.body) for answer in self._ask(netlink.get_links())]

    def addresses(self) -> list[tuple[int, str]]:
        """(device index, address) of every IPv4 address."""
        asked = self._ask(netlink.get_addresses())
        return [netlink.read_address(answer.body) for answer in asked]

    def routes(self) -> list[Routed]:
        """The IPv4 routes of the main table."""
        asked = self._ask(netlink.get_routes())
        found = [netlink.read_route(answer.body) for answer in asked]
        return [route for route in found if route is not None]


def channel_in(namespace: int) -> Channel:
    """A channel in the namespace of an open file."""
    with entered(namespace):
        return Channel()
