"""The network of a Linux Host: router namespaces, routed veths, nftables (DESIGN D6)."""

from proa.node.linux.network import LinuxNetwork, NameServer

__all__ = ["LinuxNetwork", "NameServer"]
