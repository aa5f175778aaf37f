"""The peer of container starts: a containerd of its own, driven by bare CRI calls.

Its configuration is the one Proa writes for its own containerd, but for the network: the usual
CNI plugins ``bridge`` and ``host-local`` (and ``loopback``, which CRI always calls). Everything
lies below one folder and is removed by ``close``: sandboxes, shims, mounts, namespaces, bridge.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from proa.bench.live.measure import wait_until
from proa.node.containerd import cgroups
from proa.node.containerd.config import PAUSE_IMAGE, Layout, write
from proa.pb import cri_pb2 as cri
from proa.pb import cri_pb2_grpc as cri_grpc
from proa.serve.images import build

BUSYBOX = "docker.io/library/busybox:latest"
COMMAND = ("sleep", "1000000")
SUBNET = "10.213.0.0/16"
_PLUGINS = Path("/usr/lib/cni")
_CALL_S = 60.0
_REMOVED_AT_ONCE = 8


@contextlib.contextmanager
def bare_cri(folder: Path) -> Iterator[BareCri]:
    """A peer below a new folder, configured and not yet launched; nothing is left of it after."""
    peer = BareCri(folder)
    peer.layout.data_dir.mkdir()
    try:
        peer.configure()
        yield peer
    finally:
        peer.close()


class BareCri:
    """One containerd; ``start_containers`` is what is timed."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(folder, folder / "c.sock", "http://127.0.0.1:1")
        self.bridge = f"bench{os.getpid()}"
        self._cgroup = f"/proa-bench-{os.getpid()}"
        self._process: subprocess.Popen[bytes] | None = None
        self._sandboxes: list[str] = []
        self._count = 0

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        assert self._process is not None
        return self._process.pid

    def configure(self) -> None:
        """Write the configuration and the bridge network."""
        write(self.layout)
        for name in ("bridge", "host-local", "loopback"):
            link = self.layout.cni_bin / name
            if not link.is_symlink():
                link.symlink_to(_PLUGINS / name)
        address_book = self.layout.data_dir / "cni" / "addresses"
        plugin = {
            "type": "bridge",
            "bridge": self.bridge,
            "isGateway": True,
            "ipam": {
                "type": "host-local",
                "dataDir": str(address_book),
                "ranges": [[{"subnet": SUBNET}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        network = {"cniVersion": "0.4.0", "name": self.bridge, "plugins": [plugin]}
        (self.layout.cni_conf / "10-proa.conflist").write_text(json.dumps(network))

    def launch(self) -> None:
        """Start the daemon and wait until it answers."""
        with (self.layout.data_dir / "containerd.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.layout.command(), stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self._answers, 30, "containerd of the peer answers")

    def _answers(self) -> bool:
        channel = grpc.insecure_channel(f"unix:{self.layout.socket}")
        try:
            stub = cri_grpc.RuntimeServiceStub(channel)
            return bool(stub.Version(cri.VersionRequest(), timeout=1).runtime_name)
        except grpc.RpcError:
            return False
        finally:
            channel.close()

    def load_images(self) -> None:
        """Import Proa's own demo images: busybox and pause."""
        for references, layout in build(self.layout.data_dir / "images"):
            wanted = [name for name in references if name in (BUSYBOX, PAUSE_IMAGE)]
            if not wanted:
                continue
            index_file = layout / "index.json"
            index = json.loads(index_file.read_text())
            index["manifests"][0]["annotations"] = {"io.containerd.image.name": wanted[0]}
            index_file.write_text(json.dumps(index))
            archive = self.layout.data_dir / "image.tar"
            with tarfile.open(archive, "w") as tar:
                for entry in sorted(layout.iterdir()):
                    tar.add(entry, entry.name)
            command = ["ctr", "-a", str(self.layout.socket), "-n", "k8s.io", "images", "import"]
            subprocess.run([*command, str(archive)], check=True, capture_output=True, timeout=120)
            archive.unlink()

    async def connect(self) -> None:
        """Open the channel; one asyncio loop uses it until ``disconnect``."""
        self._channel = grpc.aio.insecure_channel(f"unix:{self.layout.socket}")
        self._runtime = cri_grpc.RuntimeServiceStub(self._channel)

    async def disconnect(self) -> None:
        await self._channel.close()

    async def start_containers(self, count: int) -> None:
        """Run ``count`` sandboxes of one busybox each at once; returns when the last runs."""
        numbers = range(self._count, self._count + count)
        self._count += count
        await asyncio.gather(*[self._start_one(number) for number in numbers])

    async def _start_one(self, number: int) -> None:
        name = f"bench-{number}"
        config = cri.PodSandboxConfig(
            metadata=cri.PodSandboxMetadata(name=name, uid=name, namespace="bench", attempt=0),
            hostname=name,
            log_directory=str(self.layout.data_dir / "container-logs" / name),
            linux=cri.LinuxPodSandboxConfig(cgroup_parent=f"{self._cgroup}/{name}"),
        )
        request: Any = cri.RunPodSandboxRequest(config=config)
        answer = await self._runtime.RunPodSandbox(request, timeout=_CALL_S)
        sandbox = answer.pod_sandbox_id
        self._sandboxes.append(sandbox)
        container = cri.ContainerConfig(
            metadata=cri.ContainerMetadata(name="main", attempt=0),
            image=cri.ImageSpec(image=BUSYBOX),
            command=COMMAND,
            log_path="main.log",
            linux=cri.LinuxContainerConfig(),
        )
        request = cri.CreateContainerRequest(
            pod_sandbox_id=sandbox, config=container, sandbox_config=config
        )
        answer = await self._runtime.CreateContainer(request, timeout=_CALL_S)
        request = cri.StartContainerRequest(container_id=answer.container_id)
        await self._runtime.StartContainer(request, timeout=_CALL_S)

    async def clear(self) -> None:
        """Stop and remove every sandbox, some at a time."""
        ids, self._sandboxes = self._sandboxes, []
        while ids:
            now, ids = ids[:_REMOVED_AT_ONCE], ids[_REMOVED_AT_ONCE:]
            await asyncio.gather(*[self._remove(id) for id in now])

    async def _remove(self, id: str) -> None:
        request: Any = cri.StopPodSandboxRequest(pod_sandbox_id=id)
        await self._runtime.StopPodSandbox(request, timeout=_CALL_S)
        request = cri.RemovePodSandboxRequest(pod_sandbox_id=id)
        await self._runtime.RemovePodSandbox(request, timeout=_CALL_S)

    def halt(self) -> None:
        """Stop the daemon alone."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Remove everything this peer made in the kernel, also after a failure."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(grpc.RpcError):
                asyncio.run(self._clear_all())
        self.halt()
        for pid in shims(self.layout.socket):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            target = line.split()[4]
            if target.startswith(f"{self.layout.data_dir}/"):
                subprocess.run(["umount", "-l", target], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True, check=False)
        cgroups.sweep(self._cgroup)

    async def _clear_all(self) -> None:
        await self.connect()
        try:
            listed = await self._runtime.ListPodSandbox(cri.ListPodSandboxRequest(), timeout=10)
            self._sandboxes = [item.id for item in listed.items]
            await self.clear()
        finally:
            await self.disconnect()


def shims(socket: Path) -> list[int]:
    """Process ids of the shims of the daemon behind a socket: one for each sandbox."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            if b"containerd-shim" in command and os.fsencode(socket) in command:
                found.append(int(entry.name))
    return found
