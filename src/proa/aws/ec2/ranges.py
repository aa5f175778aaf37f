"""Reading address ranges out of requests, in EC2's words."""

from __future__ import annotations

from ipaddress import IPv4Network

from proa.aws.ec2.base import invalid
from proa.aws.gateway.service import AwsError


def parse_range(
    text: str, least: int, most: int, code: str, parameter: str = "cidrBlock"
) -> IPv4Network:
    """A range with a prefix of ``least`` to ``most`` bits and no host bits set; EC2 cuts host
    bits off. Raises InvalidParameterValue, or ``code`` for a size that is not allowed."""
    try:
        network = IPv4Network(text, strict=False)
        if "/" not in text:
            raise ValueError(text)
    except ValueError as error:
        raise invalid(text, parameter, "This is not a valid CIDR block.") from error
    if not least <= network.prefixlen <= most:
        raise AwsError(code, f"The CIDR '{text}' is invalid.")
    return network
