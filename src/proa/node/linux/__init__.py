"""The network of a Linux Host: router namespaces, routed veths, nftables (DESIGN D6)."""
