"""Names and fixed numbers of Proa's links, namespaces and tables on one Host.

All names carry a tag of the data directory, so that several Proas can share a machine and each
finds its own leftovers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

GATEWAY = "169.254.1.1"  # what every end of a link calls its other end
ROUTER_MAC = "02:fe:00:00:00:01"
HOST_MAC = "02:fe:00:00:00:02"
HOST_LINK = "host"  # the router's end of the link to the Host
SANDBOX_LINK = "eth0"
DOOMED = 0xD00  # device group of links that wait to be deleted together


@dataclass(slots=True, frozen=True)
class Layout:
    """Where one data directory's network lives."""

    data_dir: Path

    @property
    def tag(self) -> str:
        """Six hexadecimal digits that stand for the data directory."""
        return hashlib.sha256(str(self.data_dir.resolve()).encode()).hexdigest()[:6]

    @property
    def netns_dir(self) -> Path:
        return self.data_dir / "run" / "netns"

    @property
    def saved_sysctls(self) -> Path:
        """What the Host's sysctls were before."""
        return self.data_dir / "run" / "sysctls.json"

    @property
    def host_table(self) -> str:
        """The nftables table in the Host's own namespace."""
        return f"proa_{self.tag}"

    @property
    def host_link_prefix(self) -> str:
        return f"pv{self.tag}-"

    def host_link(self, vpc: str) -> str:
        """The Host's end of its link to a VPC's router; at most 15 characters."""
        return self.host_link_prefix + hashlib.sha256(vpc.encode()).hexdigest()[:6]

    def link_address(self, vpc: str) -> str:
        """The link-local address behind which the Sandboxes of a VPC appear that the Host cannot
        reach: stable, out of 169.254.64.0/18, and another for each data directory, whose VPCs
        have the same ids."""
        digest = hashlib.sha256(f"{self.tag}/{vpc}".encode()).digest()
        return str(IPv4Network("169.254.64.0/18")[int.from_bytes(digest[:2], "big") % (1 << 14)])

    def namespace(self, name: str) -> Path:
        """The mount of a router's (by VPC) or an Instance's (by id) namespace."""
        return self.netns_dir / name


def sandbox_link(uid: str, netns_path: str) -> str:
    """The router's end of a Sandbox's link: stable for one namespace of one Sandbox."""
    return "pv" + hashlib.sha256(f"{uid}\0{netns_path}".encode()).hexdigest()[:12]


def isolated(uid: str, container: str) -> str:
    """The name of a container's own namespace and the alias of its link; ``owner`` gives the uid
    back. Of a length that names of containers do not change."""
    return f"{uid}#{hashlib.sha256(container.encode()).hexdigest()[:12]}"


def owner(alias: str) -> str:
    """The uid of the Sandbox that a link, or a container's namespace, belongs to."""
    return alias.partition("#")[0]


def nth_address(cidr: str, number: int) -> str:
    """The address ``number`` places after the network's own."""
    return str(IPv4Network(cidr).network_address + number)
