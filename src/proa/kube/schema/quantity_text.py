"""Quantities in the one form in which Kubernetes writes them back.

``1000m`` is ``1``, ``0.5`` is ``500m``, ``1024Mi`` is ``1Gi``: resource.Quantity keeps the family
of suffixes it was written in (binary, decimal, exponent) and takes the largest unit that leaves a
whole number (k8s.io/apimachinery ``CanonicalizeBytes``). Called by ``kube.schema.decode``.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

from proa.base.quantity import parse_quantity

FAULT = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = ("n", "u", "m", "", "k", "M", "G", "T", "P", "E")
_EXPONENT = re.compile(r"[eE][+-]?\d+$")
_NANO = Decimal("1e-9")


def canonical_quantity(value: str | int | float) -> str:
    """The canonical text of a quantity; raises ValueError with Kubernetes' words."""
    text = str(value)
    try:
        amount = parse_quantity(text)
    except ValueError:
        raise ValueError(FAULT) from None
    nanos = int((amount / _NANO).to_integral_value(ROUND_CEILING))
    if nanos == 0:
        return "0"
    if text[-1] == "i" and nanos % 10**9 == 0 and abs(nanos) >= 1024 * 10**9:
        return _scaled(nanos // 10**9, 1024, _BINARY, 0)
    if _EXPONENT.search(text):
        number, power = _stripped(nanos)
        return f"{number}e{power - 9}" if power != 9 else str(number)
    return _scaled(nanos, 1000, _DECIMAL, 0)


def _scaled(number: int, base: int, suffixes: tuple[str, ...], step: int) -> str:
    while number % base == 0 and step + 1 < len(suffixes):
        number //= base
        step += 1
    return f"{number}{suffixes[step]}"


def _stripped(nanos: int) -> tuple[int, int]:
    """A number without its trailing zeros in threes, and the power of ten they stood for."""
    power = 0
    while nanos % 1000 == 0:
        nanos //= 1000
        power += 3
    return nanos, power
