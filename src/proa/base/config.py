"""The configuration of one Proa: ports, paths and policies, read once by ``main``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(slots=True, frozen=True)
class Config:
    """Where Proa lives and listens. Paths below ``data_dir`` are Proa's own."""

    data_dir: Path = Path("/var/lib/proa")
    listen: str = "127.0.0.1"
    aws_port: int = 4566
    kube_port: int = 6443
    registry_port: int = 4510
    region: str = "us-east-1"
    account: str = "000000000000"
    strict: bool = False
    runtime: str = "containerd"  # or "sim"
    store: str = "sqlite"  # or an etcd endpoint, "etcd://127.0.0.1:2379"
    vpc_cidr: str = "172.31.0.0/16"
    service_cidr: str = "10.100.0.0/16"
    kube_version: str = "1.36.2"
    hosts: int = 1  # of the simulated runtime
    behaviour: str = ""  # its behaviour file

    @property
    def run_dir(self) -> Path:
        """Sockets and process ids; gone after ``down``."""
        return self.data_dir / "run"

    @property
    def hull_socket(self) -> Path:
        """The control plane's socket for agents and the CLI."""
        return self.run_dir / "hull.sock"

    @property
    def agent_socket(self) -> Path:
        """The agent's socket: exec, logs, attach from the control plane; CNI from containerd."""
        return self.run_dir / "agent.sock"

    @property
    def containerd_socket(self) -> Path:
        """The socket of Proa's own containerd."""
        return self.run_dir / "containerd.sock"

    @property
    def overcommit(self) -> tuple[int, int]:
        """How often a Pool's (CPU, memory) may be reserved: 8 and 4, so that a laptop holds the
        examples; 1 and 1 under ``strict`` (DESIGN section 2)."""
        return (1, 1) if self.strict else (8, 4)

    def save(self) -> None:
        """Remember, in the data directory, what this Proa runs with."""
        text = json.dumps({**asdict(self), "data_dir": str(self.data_dir)}, indent=1)
        partial = self.data_dir / "config.json.partial"
        partial.write_text(text)
        partial.rename(self.data_dir / "config.json")


def load_config(data_dir: Path) -> Config | None:
    """What the last ``up`` of a data directory ran with; None where Proa never ran."""
    try:
        fields = json.loads((data_dir / "config.json").read_text())
    except FileNotFoundError:
        return None
    return Config(**{**fields, "data_dir": Path(fields["data_dir"])})
