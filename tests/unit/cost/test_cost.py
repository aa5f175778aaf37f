"""Prices and the meter: rates of the shipped file, minimums, discounts, money over time."""

from __future__ import annotations

from pathlib import Path

import pytest

from proa.base.errors import CallerFault
from proa.cloud.instance_types import instance_types
from proa.cost.meter import Meter, Rent
from proa.cost.prices import load

HOUR_S = 3600.0


def test_a_fargate_task_costs_by_its_size_and_architecture() -> None:
    prices = load()
    month = prices.fargate_hour(0.5, 1) * 720  # the third article's sum
    assert month == pytest.approx(0.04048 * 0.5 * 720 + 0.004445 * 1 * 720)
    assert prices.fargate_hour(1, 2, arm=True) < prices.fargate_hour(1, 2)
    assert prices.fargate_hour(1, 2, storage_gib=20) == prices.fargate_hour(1, 2)
    assert prices.fargate_hour(1, 2, storage_gib=120) > prices.fargate_hour(1, 2)


def test_every_known_instance_type_has_a_price_and_bigger_ones_cost_more() -> None:
    prices = load()
    assert set(instance_types()) == set(prices.ec2.on_demand_hour)
    assert prices.ec2_hour("m5.xlarge") == pytest.approx(2 * prices.ec2_hour("m5.large"))
    with pytest.raises(CallerFault, match=r"m5\.huge"):
        prices.ec2_hour("m5.huge")


def test_ways_of_purchase_take_their_discounts_off() -> None:
    prices = load()
    assert prices.factor("fargate", "on-demand") == 1
    assert prices.factor("fargate", "spot") < prices.factor("fargate", "savings-3y") < 1
    with pytest.raises(CallerFault, match="known are"):
        prices.factor("fargate", "reserved-1y")


def test_a_users_file_takes_the_place_of_the_shipped_one(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text("{}")
    with pytest.raises(CallerFault, match="cannot be read"):
        load(path)
    with pytest.raises(CallerFault, match="cannot be read"):
        load(tmp_path / "missing.json")


def test_rents_are_billed_by_the_second_with_a_minimum() -> None:
    meter = Meter()
    meter.start("a", Rent("task", 3.6, 60), 0)
    meter.stop("a", 10)  # for 60 s
    meter.start("b", Rent("task", 3.6, 60), 100)
    meter.stop("b", 200)
    meter.stop("b", 300)  # given back already
    (line,) = meter.bill(0, HOUR_S).lines
    assert (line.count, line.cost) == (2, pytest.approx(0.16))
    assert line.hours * HOUR_S == pytest.approx(160)


def test_what_still_runs_is_billed_to_the_end_and_hours_add_up() -> None:
    meter = Meter()
    meter.start("plane", Rent("plane", 0.1), 0)
    meter.start("node", Rent("node", 1.0, 60), 1800)
    meter.start("node", Rent("node", 9.0, 60), 1900)  # is rented already
    bill = meter.bill(0, 2.5 * HOUR_S)
    assert bill.by_hour == {
        "node": pytest.approx((0.5, 1.0, 0.5)),
        "plane": pytest.approx((0.1, 0.1, 0.05)),
    }
    assert bill.total == pytest.approx(2.25)
    assert sum(map(sum, bill.by_hour.values())) == pytest.approx(bill.total)


def test_nothing_is_given_back_before_it_was_rented() -> None:
    meter = Meter()
    meter.start("a", Rent("task", 1.0), 10)
    with pytest.raises(CallerFault, match="before"):
        meter.stop("a", 9)
