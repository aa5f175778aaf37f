"""Which services survive: what was acknowledged is there after the worker was killed.

The services of tests/protocols/aws_longtail.json are the ones that docs/reference/longtail.md
names; each is told something, the worker gets SIGKILL, and each must still know it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.aws.longtail.tail_world import TailWorld

TOP = Path(__file__).parents[4]
CASES: list[dict[str, Any]] = json.loads((TOP / "tests/protocols/aws_longtail.json").read_text())
_REFERENCE = re.compile(r"\{(\d+)((?:\.\w+)+)\}")


def filled(value: Any, answers: list[Any]) -> Any:
    """A value with ``{0.Member}`` replaced by what an earlier call answered."""
    if isinstance(value, dict):
        return {name: filled(item, answers) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item, answers) for item in value]
    found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return value
    answer = answers[int(found[1])]
    for part in found[2].strip(".").split("."):
        answer = answer[part]
    return answer


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TailWorld, dict[str, Any]]]:
    """Every case's calls were made, and the worker killed, before the first test."""
    world = TailWorld(tmp_path_factory.mktemp("tail"))
    answers: dict[str, Any] = {}
    for case in CASES:
        client, given = world.client(case["service"]), []
        for operation, members in case["make"]:
            given.append(getattr(client, operation)(**filled(members, given)))
        answers[case["service"]] = given
    world.kill()
    yield world, answers
    world.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["service"])
def test_service_knows_what_it_acknowledged(
    killed: tuple[TailWorld, dict[str, Any]], case: dict[str, Any]
) -> None:
    world, answers = killed
    given = answers[case["service"]]
    operation, members = case["read"]
    answer = getattr(world.client(case["service"]), operation)(**filled(members, given))
    answer.pop("ResponseMetadata")
    assert filled(case["shows"], given) in str(answer)


def test_page_names_exactly_these_services() -> None:
    page = (TOP / "docs/reference/longtail.md").read_text()
    listed = page.partition("## Services that survive")[2].partition("\n## ")[0]
    assert re.findall(r"`([\w-]+)`", listed) == sorted(case["service"] for case in CASES)
