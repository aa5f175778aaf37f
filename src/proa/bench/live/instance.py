"""A Proa of the benchmarks' own, started and stopped by its command line as a user would."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import proa

PROA = Path(sys.prefix) / "bin" / "proa"
COMPONENTS = ("supervisor", "control", "agent", "containerd")
_COMMAND_S = 180
_SOURCES = Path(proa.__file__).parents[1]


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address on which nothing listens now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]


class Instance:
    """One data directory; ``environment`` is what ``proa env`` says once it is up."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.environment: dict[str, str] = {}
        names = ("aws", "kube", "registry")
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))

    def _run(self, command: str, *options: str) -> str:
        outer = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        done = subprocess.run(
            [str(PROA), command, "--data-dir", str(self.data_dir), *options],
            env=outer,
            capture_output=True,
            text=True,
            timeout=_COMMAND_S,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"proa {command}: {done.stdout[-1000:]}{done.stderr[-1000:]}")
        return done.stdout

    def up(self) -> None:
        """Returns once both APIs answer. Raises RuntimeError with what the command said."""
        ports = [
            word for name, port in self._ports.items() for word in (f"--{name}-port", str(port))
        ]
        self._run("up", "--detach", *ports)

    def read_environment(self) -> None:
        self.environment = json.loads(self._run("env", "--json"))

    def down(self, *, purge: bool = False) -> None:
        """Stop everything; with ``purge`` the data goes as well."""
        self._run("down", *(["--purge"] if purge else []))

    def process(self, component: str) -> int:
        """The process id of one of ``COMPONENTS``."""
        return int((self.data_dir / "run" / f"{component}.pid").read_text())


def children(pid: int) -> dict[str, int]:
    """Process ids of what a process has started, by the module or program that each runs."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
            found[what_runs(words)] = int(child)
    return found


def what_runs(words: Sequence[str]) -> str:
    """The module that a command runs, also where it is run as a file of the package; else the
    program."""
    if "-m" in words:
        return words[words.index("-m") + 1]
    file = next((Path(word) for word in words if word.endswith(".py")), None)
    if file is not None and file.is_relative_to(_SOURCES):
        return ".".join(file.relative_to(_SOURCES).with_suffix("").parts)
    return words[0]


@contextlib.contextmanager
def running(data_dir: Path) -> Iterator[Instance]:
    """A Proa for the length of a block, purged afterwards, also when it never came up."""
    instance = Instance(data_dir)
    try:
        instance.up()
        instance.read_environment()
        yield instance
    finally:
        instance.down(purge=True)
