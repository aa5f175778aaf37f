"""One virtual machine under QEMU, reached by ssh: ``with Machine(image, folder) as machine``.

Instructions are translated (``tcg``), since a test machine seldom offers nested virtualisation;
so a guest is ten to twenty times slower than its host. The disk is a layer over the image's and
goes with the folder. Leaving the block ends QEMU.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

BOOT_S = 300.0
LAYER = "snapshot=on,cache=unsafe"


class Bootable(Protocol):
    """What a machine boots from: ``tools/vm/image.py`` makes it."""

    @property
    def disk(self) -> Path: ...
    @property
    def kernel(self) -> Path: ...
    @property
    def initrd(self) -> Path: ...
    @property
    def key(self) -> Path: ...


class Failed(Exception):
    """A command in the guest failed; the text says which and what it printed."""


class Machine:
    """A guest with two processors, up once the block is entered. ``disks`` are the further ones
    (vdb, vdc, …), which it reads."""

    def __init__(
        self, image: Bootable, folder: Path, disks: tuple[Path, ...] = (), memory_mib: int = 4096
    ) -> None:
        self._image, self._folder, self._memory_mib = image, folder, memory_mib
        self._disks = disks
        self._process: subprocess.Popen[bytes] | None = None
        self._port = _free_port()
        self.console = folder / "console.log"

    def __enter__(self) -> Self:
        with (self._folder / "qemu.log").open("wb") as said:
            self._process = subprocess.Popen(
                self._qemu(),
                env={**os.environ, "TMPDIR": str(self._folder)},  # where QEMU puts the layer
                stdin=subprocess.DEVNULL,
                stderr=said,
            )
        try:
            self._await_login(before="")
        except BaseException:
            self._end()
            raise
        return self

    def _qemu(self) -> list[str]:
        return [
            *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "Nehalem"),
            *("-smp", "2", "-m", str(self._memory_mib)),
            *("-kernel", str(self._image.kernel), "-initrd", str(self._image.initrd)),
            *("-append", "root=/dev/vda rw console=ttyS0 net.ifnames=0"),
            *("-drive", f"file={self._image.disk},format=raw,if=virtio,{LAYER}"),
            *(word for disk in self._disks for word in _drive(disk)),
            *("-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{self._port}-:22"),
            *("-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci"),
            *("-display", "none", "-monitor", "none", "-serial", f"file:{self.console}"),
        ]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._hang_up()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def run(self, command: str, timeout_s: float = 120) -> str:
        """Run shell lines as root, as in a login; what they printed. Raises Failed."""
        done = self._ssh(["bash", "-lc", _quoted(f"set -euo pipefail\n{command}")], timeout_s)
        if done.returncode:
            said = f"{done.stdout[-6000:]}{done.stderr[-3000:]}"
            raise Failed(f"{command}\nended with {done.returncode}:\n{said}")
        return done.stdout

    def send(self, content: bytes, path: str) -> None:
        """Put a file into the guest."""
        done = subprocess.run(
            [*self._command(), f"cat >{path}"],
            input=content,
            capture_output=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            raise Failed(f"{path}: {done.stderr.decode()}")

    def reboot(self) -> None:
        """Restart the guest's system; returns once it is up again."""
        before = self._boot_id()
        self._ssh(["systemctl", "reboot"], 60)
        self._hang_up()
        self._await_login(before)

    def _await_login(self, before: str) -> None:
        deadline = time.monotonic() + BOOT_S
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                said = (self._folder / "qemu.log").read_text()
                raise Failed(f"QEMU ended: {said}")
            if self._boot_id() not in ("", before):
                return
            self._hang_up()
            time.sleep(1)
        console = self.console.read_text(errors="replace")
        raise Failed(f"not up within {BOOT_S:.0f} s:\n{console[-3000:]}")

    def _boot_id(self) -> str:
        try:
            return self._ssh(["cat", "/proc/sys/kernel/random/boot_id"], 30).stdout.strip()
        except subprocess.TimeoutExpired:
            return ""

    def _ssh(self, words: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._command(), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def _command(self) -> list[str]:
        """One connection is kept and shared, as beginning one takes a slow guest seconds."""
        options = {
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
            "ConnectTimeout": "20",
            "ServerAliveInterval": "15",
            "ServerAliveCountMax": "8",
            "ControlMaster": "auto",
            "ControlPersist": "600",
            "ControlPath": str(self._folder / "ssh"),
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        begin = ["ssh", "-F", "none", "-i", str(self._image.key), "-p", str(self._port)]
        return [*begin, *words, "root@127.0.0.1"]

    def _hang_up(self) -> None:
        """End the shared connection, which would wait for a guest that is gone."""
        if (self._folder / "ssh").exists():
            command = [*self._command(), "-O", "exit"]
            subprocess.run(command, capture_output=True, timeout=30, check=False)


def _drive(disk: Path) -> tuple[str, str]:
    return "-drive", f"file={disk},format=raw,if=virtio,readonly=on"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
