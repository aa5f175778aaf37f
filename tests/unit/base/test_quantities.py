"""Quantities are exact in both APIs' units."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.base import quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", Decimal(1)),
        ("250m", Decimal("0.25")),
        ("1.5Gi", Decimal(1610612736)),
        ("1e3", Decimal(1000)),
        ("12E6", Decimal(12_000_000)),
        (".5", Decimal("0.5")),
        ("100k", Decimal(100_000)),
    ],
)
def test_parse_quantity_reads_every_form(text: str, value: Decimal) -> None:
    assert quantity.parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "1 Gi", "Gi", "1ki", "0x10", "1e", "--1"])
def test_parse_quantity_refuses_other_text(text: str) -> None:
    with pytest.raises(ValueError, match="regular expression"):
        quantity.parse_quantity(text)


def test_ecs_units_and_millicores_share_one_exact_scale() -> None:
    assert quantity.cpu_of("250m") == 256 * quantity.CPU_PER_ECS_UNIT
    assert quantity.cpu_of("1") == 1024 * quantity.CPU_PER_ECS_UNIT == quantity.CPU_PER_VCPU
    assert quantity.cpu_of("0.1m") == quantity.CPU_PER_MILLICORE


@given(st.integers(min_value=0, max_value=10**7))
def test_millicores_text_reads_back(millicores: int) -> None:
    cpu = millicores * quantity.CPU_PER_MILLICORE
    assert quantity.cpu_of(quantity.millicores_text(cpu)) == cpu


@given(st.integers(min_value=0, max_value=2**50))
def test_bytes_text_reads_back(size: int) -> None:
    assert quantity.bytes_of(quantity.bytes_text(size)) == size
