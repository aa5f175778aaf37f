"""What commands of simulated containers do: known programs are played, nothing is guessed."""

from __future__ import annotations

import math

import pytest

from proa.model.sandbox import Container, Network, Sandbox
from proa.sim.crowd_behaviour import Manner
from proa.sim.local_manners import ENDS_AFTER_S, LocalManners
from proa.sim.programs import outcome_of

VARIABLES = {"NAME": "bob", "NAMES": "all", "HOSTNAME": "web-1"}


def lines(command: tuple[str, ...]) -> list[str]:
    outcome = outcome_of(command, VARIABLES)
    assert outcome is not None
    return [line for _, line in outcome.lines]


@pytest.mark.parametrize(
    ("command", "runs_s", "exit_code"),
    [
        (("sleep", "5"), 5.0, 0),
        (("/bin/sleep", "1.5m"), 90.0, 0),
        (("sleep", "infinity"), math.inf, 0),
        (("false",), 0.0, 1),
        (("true",), 0.0, 0),
        (("sh", "-c", "exit 300"), 0.0, 44),
        (("sh", "-c", "sleep 2 && exit 3; sleep 9"), 2.0, 3),
        (("sh", "-ec", "false || sleep 4"), 4.0, 0),
        (("sh", "-c", "false && sleep 4"), 0.0, 1),
        (("bash", "-c", "echo a\nsleep 3"), 3.0, 0),
        (("sh", "-c", "while true; do date; sleep 1; done"), math.inf, 0),
        (("tail", "-f", "/dev/null"), math.inf, 0),
    ],
)
def test_known_program_ends_when_and_as_it_would(
    command: tuple[str, ...], runs_s: float, exit_code: int
) -> None:
    outcome = outcome_of(command, VARIABLES)
    assert outcome is not None
    assert (outcome.runs_s, outcome.exit_code) == (runs_s, exit_code)


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("nginx", "-g", "daemon off;"),
        ("sh", "-c", "for i in 1 2; do echo $i; done"),
        ("sh", "-c", "echo a | grep b"),
        ("sh", "-c", "echo $(date) > /tmp/x"),
        ("sh", "-c", "echo 'unbalanced"),
        ("sleep", "long"),
        ("sleep",),
        ("sh", "-c", "echo a; " * 1000),
    ],
)
def test_what_is_not_known_is_not_guessed(command: tuple[str, ...]) -> None:
    assert outcome_of(command, VARIABLES) is None


def test_output_has_its_variables_and_its_time() -> None:
    assert lines(("sh", "-c", "echo hello $NAME ${NAMES}")) == ["hello bob all"]
    assert lines(("printenv", "NAME")) == ["bob"]
    assert lines(("hostname",)) == ["web-1"]
    outcome = outcome_of(("sh", "-c", "echo a; sleep 2; echo b"), {})
    assert outcome is not None and outcome.lines == ((0.0, "a"), (2.0, "b"))


def container(*command: str, restart: str = "Always", init: bool = False) -> Container:
    return Container("c", "busybox", arguments=command, restart=restart, init=init)


def sandbox(skin: str = "kube", **labels: str) -> Sandbox:
    named = tuple((f"sim.proa/{key.replace('_', '-')}", value) for key, value in labels.items())
    return Sandbox("u", "p", "default", "/k", "i", (), skin=skin, network=Network(), labels=named)


@pytest.mark.parametrize(
    ("given", "runs_s"),
    [
        (container("nginx"), None),
        (container("nginx", restart="Never"), ENDS_AFTER_S),
        (container("nginx", restart="OnFailure"), ENDS_AFTER_S),
        (container("nginx", init=True, restart="Never"), ENDS_AFTER_S),
        (container("nginx", init=True, restart="Always"), None),
        (container("sleep", "7", restart="Never"), 7.0),
        (container("sleep", "infinity", restart="Never"), None),
    ],
)
def test_container_ends_where_an_end_is_waited_for(given: Container, runs_s: float | None) -> None:
    assert LocalManners({}).of(sandbox(), given).runs_s == runs_s


def test_task_runs_on_unless_its_command_ends() -> None:
    manners = LocalManners({})
    assert manners.of(sandbox("ecs"), container("nginx", restart="Never")).runs_s is None
    assert manners.of(sandbox("ecs"), container("false", restart="Never")).exit_code == 1


def test_what_a_pod_or_the_file_says_comes_before_the_command() -> None:
    manners = LocalManners({"busybox": Manner(runs_s=3.0)})
    assert manners.of(sandbox(), container("sleep", "9")).runs_s == 3.0
    said = LocalManners({}).of(sandbox(runs_s="4", exit_code="2"), container("sleep", "9"))
    assert (said.runs_s, said.exit_code) == (4.0, 2)
    failing = LocalManners({}).of(sandbox(exit_code="2"), container("sleep", "9"))
    assert (failing.runs_s, failing.exit_code) == (9.0, 2)
