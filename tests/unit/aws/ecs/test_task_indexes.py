"""That tasks are filed as if each change were looked at whole: all that the indexes look at changes
only together with what they say that they look at."""

from __future__ import annotations

from itertools import combinations

import pytest
from msgspec.json import encode
from msgspec.structs import replace

from proa.aws.ecs import status
from proa.aws.ecs.records import Task, TaskContainer
from proa.aws.ecs.tables import TASKS
from proa.reconcile.view import Rows
from proa.store.api import Record

CONTAINER = TaskContainer(id="c", name="web", image="nginx")
TASK = Task(
    account="1", region="us-east-1", cluster="c", id="t", family="f", revision=1,
    launch_type="EC2", service="web", containers=(CONTAINER,),
)  # fmt: skip
BOUND = (replace(CONTAINER, bindings=({"hostPort": 80, "containerPort": 80},)),)


def life(stop_code: str) -> list[Task]:
    """All that becomes of a task, from its creation until its service has noted its end."""
    prepared = replace(TASK, prepared=True)
    placed = replace(prepared, last_status="PENDING", instance="i-1", containers=BOUND)
    running = replace(placed, last_status="RUNNING")
    stopping = status.asked_to_stop(running, stop_code, "why", 1.0)
    stopped = status.ended(stopping, 2.0)
    never_placed = status.asked_to_stop(prepared, stop_code, "why", 1.0)
    noted = [replace(task, counted=True) for task in (stopping, stopped, never_placed)]
    return [TASK, prepared, placed, running, stopping, stopped, never_placed, *noted]


def found(tasks: list[Task]) -> dict[str, list[str]]:
    """Under what a task is found that was each of these, one after the other."""
    rows = Rows(TASKS)
    for version, task in enumerate(tasks, 1):
        rows._apply(Record(TASK.key, encode(task), version, 1), present=True)
    return {name: rows.values_of(name) for name in TASKS.indexes}


@pytest.mark.parametrize("stop_code", ["UserInitiated", "EssentialContainerExited"])
def test_a_task_that_changes_is_found_as_a_new_one_would_be(stop_code: str) -> None:
    for before, after in combinations(life(stop_code), 2):
        assert found([before, after]) == found([after])
