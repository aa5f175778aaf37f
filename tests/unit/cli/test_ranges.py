"""Which address ranges ``proa up`` takes, and what it says of the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from proa.base.config import Config
from proa.base.errors import CallerFault
from proa.cli.ranges import Taken, chosen, taken
from proa.node.linux.layout import Layout

ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0020101F\t00000000\t0001\t0\t0\t0\t00F0FFFF\t0\t0\t0
{device}\t00001FAC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
tun0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0
"""


def refusal(config: Config, vpc: str | None, service: str | None) -> str:
    with pytest.raises(CallerFault) as caught:
        chosen(config, vpc, service)
    return str(caught.value)


def test_ranges_are_taken_as_given_or_by_default(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path)
    assert chosen(config, None, None) == config
    given = chosen(config, "10.7.0.0/20", "192.168.4.0/24")
    assert (given.vpc_cidr, given.service_cidr) == ("10.7.0.0/20", "192.168.4.0/24")


@pytest.mark.parametrize(
    ("vpc", "service", "words"),
    [
        ("10.7.0.0", None, "--vpc-cidr 10.7.0.0: this is no range"),
        ("10.7.0.1/16", None, "this is no range"),
        ("ten", None, "this is no range"),
        (None, "8.8.0.0/16", "--service-cidr 8.8.0.0/16: give a private range"),
        ("10.0.0.0/8", None, "/16 to /24"),
        ("10.7.0.0/25", None, "/16 to /24"),
        ("10.100.4.0/24", None, "--service-cidr 10.100.0.0/16 overlap"),
        ("fd00::/64", None, "this is no range"),
    ],
)
def test_ranges_that_cannot_be_used_are_refused_in_a_line(
    tmp_path: Path, vpc: str | None, service: str | None, words: str
) -> None:
    said = refusal(Config(data_dir=tmp_path), vpc, service)
    assert words in said and "\n" not in said


def test_a_data_directory_keeps_its_ranges(tmp_path: Path) -> None:
    made = chosen(Config(data_dir=tmp_path), "10.7.0.0/16", None)
    made.save()
    assert chosen(Config(data_dir=tmp_path), None, None) == made
    assert chosen(Config(data_dir=tmp_path), "10.7.0.0/16", None) == made
    said = refusal(Config(data_dir=tmp_path), "10.8.0.0/16", None)
    assert "is 10.7.0.0/16 and cannot change" in said


def test_what_the_machine_routes_elsewhere_is_found(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path)
    other = ROUTES.format(device="docker0")
    assert list(taken(config, other)) == [
        Taken("--vpc-cidr", "172.31.0.0/16", "docker0", True),
        Taken("--service-cidr", "10.0.0.0/8", "tun0", False),
    ]
    own = ROUTES.format(device=Layout(tmp_path).host_link_prefix + "0123")
    assert [one.device for one in taken(config, own)] == ["tun0"]
    elsewhere = replace(config, vpc_cidr="172.30.0.0/16", service_cidr="192.168.0.0/16")
    assert list(taken(elsewhere, other)) == []
