"""Namespaces that stand for Sandboxes on this machine, with servers and clients inside."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from proa.base.config import Config
from proa.node.linux.channel import drop_namespace, entered, make_namespace
from proa.node.linux.layout import Layout

T = TypeVar("T")
NETWORK = "10.213.0.0/16"
SERVICES = "10.214.0.0/16"


def config_in(directory: Path) -> Config:
    """Ranges that no Proa on this machine uses."""
    return Config(data_dir=directory, vpc_cidr=NETWORK, service_cidr=SERVICES)


def picture(config: Config) -> dict[str, list[str]]:
    """All of the machine's network that Proa could touch, without what belongs to Proas of other
    data directories."""
    commands = {
        "links": "ip -o link | sed 's/^[0-9]*: \\([^:@]*\\).*/\\1/' | sort",
        "addresses": "ip -o -4 addr | sed 's/^[0-9]*: //' | sort",
        "routes": "ip route",
        "nft": "nft list tables",
        "mounts": f"grep {config.data_dir} /proc/mounts",
    }
    tag = Layout(config.data_dir).tag
    others = re.compile(rf"\bpv(?!{tag})[0-9a-f]{{6}}-|\bproa_(?!{tag})")
    return {
        name: [
            line
            for line in subprocess.run(
                command, shell=True, capture_output=True, text=True
            ).stdout.splitlines()
            if not others.search(line)
        ]
        for name, command in commands.items()
    }


def in_thread(work: Callable[[], T]) -> T:
    """Run in a thread of its own, so that entering a namespace cannot touch this one."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    if errors:
        raise errors[0]
    return results[0]


class Place:
    """A network namespace, or the machine's own where ``path`` is empty."""

    def __init__(self, path: str = "") -> None:
        self.path = path
        self._sockets: list[socket.socket] = []

    def make(self) -> None:
        in_thread(lambda: make_namespace(Path(self.path)))

    def remove(self) -> None:
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        if self.path:
            in_thread(lambda: drop_namespace(Path(self.path)))

    def run(self, work: Callable[[], T]) -> T:
        def inside() -> T:
            if not self.path:
                return work()
            namespace = os.open(self.path, os.O_RDONLY)
            try:
                with entered(namespace):
                    return work()
            finally:
                os.close(namespace)

        return in_thread(inside)

    def open_socket(self, kind: int) -> socket.socket:
        one = self.run(lambda: socket.socket(socket.AF_INET, kind))
        one.settimeout(5)
        self._sockets.append(one)
        return one

    def serve(self, name: str, port: int, kind: int = socket.SOCK_STREAM) -> None:
        """Answer every connection or datagram with ``name`` and the caller's address."""
        server = self.open_socket(kind)
        server.settimeout(None)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("0.0.0.0", port))
        if kind == socket.SOCK_STREAM:
            server.listen(64)
        loop = _answer_streams if kind == socket.SOCK_STREAM else _answer_datagrams
        threading.Thread(target=loop, args=(server, name), daemon=True).start()

    def call(
        self, address: str, port: int, kind: int = socket.SOCK_STREAM, source: str = ""
    ) -> str:
        """What the server at an address says; raises OSError."""
        with self.open_socket(kind) as one:
            one.bind((source, 0))
            one.connect((address, port))
            one.send(b"?")
            return one.recv(200).decode()

    def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        return self.run(
            lambda: subprocess.run(command, shell=True, capture_output=True, text=True, timeout=20)
        )


def _answer_streams(server: socket.socket, name: str) -> None:
    with contextlib.suppress(OSError):
        while True:
            one, peer = server.accept()
            with one, contextlib.suppress(OSError):
                one.recv(1)
                one.send(f"{name} {peer[0]}".encode())


def _answer_datagrams(server: socket.socket, name: str) -> None:
    with contextlib.suppress(OSError):
        while True:
            _, peer = server.recvfrom(10)
            if peer is None:  # shut down
                return
            server.sendto(f"{name} {peer[0]}".encode(), peer)


@contextlib.contextmanager
def places(directory: Path, count: int) -> Iterator[list[Place]]:
    """Namespaces that are gone afterwards."""
    made = [Place(str(directory / "sandboxes" / str(number))) for number in range(count)]
    try:
        for place in made:
            place.make()
        yield made
    finally:
        for place in made:
            place.remove()
