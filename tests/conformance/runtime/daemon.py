"""A containerd of a test's own, with a busybox image made from the machine's binary."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import tarfile
import time
from pathlib import Path

from proa.node.cni.build import build
from proa.node.containerd import cgroups
from proa.node.containerd.config import PAUSE_IMAGE, Layout, write

INSTANCE = "i-suite"
BUSYBOX = "docker.io/library/busybox:latest"
CTR = ("ctr", "--timeout", "60s")


def _tar(entries: dict[str, bytes | str], modes: dict[str, int]) -> bytes:
    """A tar of files (bytes) and symbolic links (str)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in entries.items():
            item = tarfile.TarInfo(name)
            item.mode = modes.get(name, 0o644)
            if isinstance(content, str):
                item.type, item.linkname = tarfile.SYMTYPE, content
                archive.addfile(item)
            else:
                item.size = len(content)
                archive.addfile(item, io.BytesIO(content))
    return out.getvalue()


def image_tar(names: list[str], command: list[str]) -> bytes:
    """A Docker archive with one layer: busybox and its applets."""
    applets = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True)
    entries: dict[str, bytes | str] = {"bin/busybox": Path("/usr/bin/busybox").read_bytes()}
    entries |= {f"bin/{name}": "busybox" for name in applets.stdout.split() if name != "busybox"}
    entries["etc/passwd"] = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
    entries["etc/group"] = b"root:x:0:\nnogroup:x:65534:\n"
    layer = _tar(entries, {"bin/busybox": 0o755})
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": command, "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": names, "Layers": ["layer.tar"]}]
    return _tar(
        {
            "config.json": json.dumps(config).encode(),
            "layer.tar": layer,
            "manifest.json": json.dumps(manifest).encode(),
        },
        {},
    )


class Daemon:
    """One containerd process over its lifetime in a test; everything below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(folder, folder / "c.sock", "http://127.0.0.1:1")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        write(self.layout)
        build(self.layout.cni_bin, self.layout.cni_socket)
        with (self.layout.data_dir / "containerd.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.layout.command(), stdout=log, stderr=log, start_new_session=True
            )
        for _ in range(600):
            if self.ctr("version").returncode == 0:
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"containerd does not start: {self.log()[-2000:]}")

    def log(self) -> str:
        return (self.layout.data_dir / "containerd.log").read_text(errors="replace")

    def ctr(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [*CTR, "-a", str(self.layout.socket), "-n", "k8s.io", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, timeout=90)

    def load_images(self) -> None:
        """Import busybox and the pause image."""
        for name, command in ((BUSYBOX, ["sh"]), (PAUSE_IMAGE, ["sleep", "2147483647"])):
            path = self.layout.data_dir / "image.tar"
            path.write_bytes(image_tar([name], command))
            done = self.ctr("images", "import", str(path))
            assert done.returncode == 0, done.stderr.decode()
            path.unlink()

    def kill(self) -> None:
        """``kill -9`` the daemon; what it runs goes on."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=30)

    def stop(self) -> None:
        """Stop daemon and shims, and leave no mount behind."""
        if self._process is not None and self._process.poll() is None:
            for task in self.ctr("tasks", "ls", "-q").stdout.decode().split():
                self.ctr("tasks", "kill", "-s", "SIGKILL", task)
                self.ctr("tasks", "rm", "-f", task)
            self._process.terminate()
            try:
                self._process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.kill()
        self._kill_shims()
        cgroups.sweep(self.layout.cgroup)
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            target = line.split()[4]
            if target.startswith(f"{self.layout.data_dir}/"):
                subprocess.run(["umount", "-l", target], capture_output=True)

    def _kill_shims(self) -> None:
        for pid in self.shims():
            os.kill(pid, signal.SIGKILL)

    def shims(self) -> list[int]:
        """Process ids of this daemon's shims."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            except OSError:
                continue
            if b"containerd-shim" in command and str(self.layout.socket).encode() in command:
                found.append(int(entry.name))
        return sorted(found)
