"""Configuration of Proa's own containerd: its files below the data directory.

``cli.main`` calls ``write`` before it starts the daemon with ``command``; tests start one of
their own the same way. The system's containerd is never touched: root, state, socket and
plugins are ours. It runs on cgroup v1, v2 and the hybrid layout by the cgroupfs driver.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from proa.base.config import Config
from proa.base.errors import CallerFault
from proa.node.rights import holds_sys_resource

PAUSE_IMAGE = "registry.k8s.io/pause:3.9"
_UPSTREAMS = {
    "docker.io": "https://registry-1.docker.io",
    "public.ecr.aws": "https://public.ecr.aws",
    "registry.k8s.io": "https://registry.k8s.io",
    "quay.io": "https://quay.io",
    "ghcr.io": "https://ghcr.io",
}


@dataclass(slots=True, frozen=True)
class Layout:
    """Where everything of our containerd lies. ``socket`` may be at most 107 bytes long."""

    data_dir: Path
    socket: Path
    mirror: str  # "http://127.0.0.1:4510": asked first for every image

    @property
    def cgroup(self) -> str:
        """The cgroup above everything of this data directory's Proa."""
        tag = hashlib.sha256(str(self.data_dir.resolve()).encode()).hexdigest()[:6]
        return f"/proa-{tag}"

    @property
    def root(self) -> Path:
        """Images, snapshots and container records; survives ``down``."""
        return self.data_dir / "containerd" / "root"

    @property
    def state(self) -> Path:
        """Mounts, sockets and network namespaces of what runs."""
        return self.data_dir / "containerd" / "state"

    @property
    def task_dir(self) -> Path:
        """A folder for each sandbox and container that its shim keeps while it lives."""
        return self.state / "io.containerd.runtime.v2.task" / "k8s.io"

    @property
    def config_file(self) -> Path:
        return self.data_dir / "containerd" / "config.toml"

    @property
    def registry_dir(self) -> Path:
        return self.data_dir / "containerd" / "registries"

    @property
    def cni_bin(self) -> Path:
        return self.data_dir / "cni" / "bin"

    @property
    def cni_conf(self) -> Path:
        return self.data_dir / "cni" / "conf"

    @property
    def cni_socket(self) -> Path:
        """Where the forwarder finds the agent."""
        return self.data_dir / "cni" / "agent.sock"

    @property
    def init_dir(self) -> Path:
        """Where the init of containers that ask for one is built."""
        return self.data_dir / "init"

    @property
    def seccomp_dir(self) -> Path:
        """Where profiles of type Localhost are looked for."""
        return self.data_dir / "seccomp"

    @property
    def fifo_dir(self) -> Path:
        """Streams of exec sessions."""
        return self.data_dir / "containerd" / "exec"

    def command(self, binary: str = "/usr/bin/containerd") -> list[str]:
        """The daemon's command line."""
        return [binary, "--config", str(self.config_file)]


def layout_of(config: Config) -> Layout:
    """Where the containerd of a Proa lives, for ``write`` and for the plugins' ``build``."""
    mirror = f"http://127.0.0.1:{config.registry_port}"
    return Layout(config.data_dir, config.containerd_socket, mirror)


def _quoted(text: object) -> str:
    return json.dumps(str(text))


def render(layout: Layout, restrict_oom_score: bool) -> str:
    """The text of config.toml (version 2), for containerd 1.6 and later."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = {_quoted(layout.root)}
state = {_quoted(layout.state)}
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.opt",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing",
]

[grpc]
  address = {_quoted(layout.socket)}

[{cri}]
  sandbox_image = {_quoted(PAUSE_IMAGE)}
  restrict_oom_score_adj = {str(restrict_oom_score).lower()}
  netns_mounts_under_state_dir = true
  max_container_log_line_size = 262144
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  enable_selinux = false

  [{cri}.containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"

    [{cri}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [{cri}.containerd.runtimes.runc.options]
        SystemdCgroup = false

  [{cri}.cni]
    bin_dir = {_quoted(layout.cni_bin)}
    conf_dir = {_quoted(layout.cni_conf)}

  [{cri}.registry]
    config_path = {_quoted(layout.registry_dir)}
"""


def hosts_toml(mirror: str, upstream: str = "") -> str:
    """Registry hosts file: our own registry first, then the image's own."""
    head = f"server = {_quoted(upstream)}\n\n" if upstream else ""
    scheme = urlsplit(mirror).scheme
    verify = "  skip_verify = true\n" if scheme == "http" else ""
    return f'{head}[host.{_quoted(mirror)}]\n  capabilities = ["pull", "resolve"]\n{verify}'


def cni_conflist() -> str:
    """One plugin: the forwarder to the agent."""
    return json.dumps(
        {"cniVersion": "0.4.0", "name": "proa", "plugins": [{"type": "proa"}]}, indent=1
    )


def write(layout: Layout) -> None:
    """Write every file; repeating it changes nothing. Raises CallerFault for a socket's path that
    is too long."""
    if len(os.fsencode(layout.socket)) > 107:
        raise CallerFault(f"{layout.socket}: a socket's path may be at most 107 bytes long")
    folders = (layout.root, layout.state, layout.registry_dir, layout.cni_bin, layout.cni_conf)
    for folder in (*folders, layout.socket.parent):
        folder.mkdir(parents=True, exist_ok=True)
    layout.config_file.write_text(render(layout, not holds_sys_resource()))
    for name, upstream in {"_default": "", **_UPSTREAMS}.items():
        folder = layout.registry_dir / name
        folder.mkdir(exist_ok=True)
        (folder / "hosts.toml").write_text(hosts_toml(layout.mirror, upstream))
    (layout.cni_conf / "10-proa.conflist").write_text(cni_conflist())
