"""Service ranges: which addresses a cluster's Services get, apart from everybody else's.

In AWS every cluster has a data plane of its own and ranges may repeat. Here clusters of one VPC
share its router, so their ranges must differ; one that is not asked for is apart from all ranges
that this Proa knows, so that the Host can reach every cluster's Services.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import AddressValueError, IPv4Network, NetmaskValueError

from proa.aws.eks.errors import invalid

PREFIX_LENGTH = 20  # of a range that is not asked for: 4,096 addresses
SMALLEST, LARGEST = 24, 12
_PRIVATE = tuple(IPv4Network(cidr) for cidr in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))


def checked(cidr: str, vpc: str, others: Iterable[str]) -> str:
    """A range that was asked for: private, /24 to /12, outside the VPC's range and ``others``
    (those of its VPC's other clusters). Raises InvalidParameterException."""
    try:
        network = IPv4Network(cidr)
    except (AddressValueError, NetmaskValueError, ValueError) as error:
        raise invalid(f"The specified serviceIpv4Cidr {cidr} is not a valid CIDR block") from error
    if not any(network.subnet_of(private) for private in _PRIVATE):
        raise invalid(
            "The specified serviceIpv4Cidr is not within one of the private IP ranges "
            "10.0.0.0/8, 172.16.0.0/12, or 192.168.0.0/16"
        )
    if not LARGEST <= network.prefixlen <= SMALLEST:
        raise invalid("The specified serviceIpv4Cidr must be between /24 and /12")
    if network.overlaps(IPv4Network(vpc)):
        raise invalid(f"The specified serviceIpv4Cidr {cidr} overlaps with the VPC's CIDR {vpc}")
    for other in others:
        if network.overlaps(IPv4Network(other)):
            raise invalid(
                f"The specified serviceIpv4Cidr {cidr} overlaps with {other} of another cluster "
                "in the same VPC, which share one router in Proa"
            )
    return cidr


def next_free(first: str, used: Iterable[str]) -> str:
    """The first free /20 after the range ``first``, of all private ones. Raises
    InvalidParameterException when there is none left."""
    taken = sorted(IPv4Network(cidr) for cidr in used)
    start = int(IPv4Network(first).broadcast_address) + 1
    size = 1 << (32 - PREFIX_LENGTH)
    for private in sorted(_PRIVATE, key=lambda one: start not in _span(one)):
        base = max(int(private.network_address), start if start in _span(private) else 0)
        base = -(-base // size) * size
        while base <= int(private.broadcast_address):
            candidate = IPv4Network((base, PREFIX_LENGTH))
            clash = next((one for one in taken if one.overlaps(candidate)), None)
            if clash is None:
                return str(candidate)
            base = max(base + size, -(-(int(clash.broadcast_address) + 1) // size) * size)
    raise invalid("There is no free range for the cluster's Services: give a serviceIpv4Cidr")


def _span(network: IPv4Network) -> range:
    return range(int(network.network_address), int(network.broadcast_address) + 1)
