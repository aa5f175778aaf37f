"""ECS's controllers; ``CONTROLLERS`` is their table of contents.

provision  sees to a new task's log groups and hands a placed one to its agent
service    keeps a service's tasks at their count, rolls deployments, drains
lost       ends tasks whose Instance has gone with its Host
timeouts   gives up a task whose containers wait for each other for too long
sweep      forgets stopped tasks after an hour, inactive services and used client tokens
"""

from __future__ import annotations

from proa.aws.ecs.controllers.lost import LostPlaces
from proa.aws.ecs.controllers.provision import Provision
from proa.aws.ecs.controllers.service import ServiceController
from proa.aws.ecs.controllers.start_timeouts import StartTimeouts
from proa.aws.ecs.controllers.sweep import Sweep
from proa.aws.ecs.ports import LogGroups, Vpc
from proa.aws.ecs.rollout import SETTLE_S
from proa.base.chance import Chance
from proa.reconcile.controller import Controller


def CONTROLLERS(
    vpc: Vpc, logs: LogGroups, chance: Chance, settle_s: float = SETTLE_S
) -> list[Controller]:
    """Every controller of ECS. ``settle_s`` is how long a task without health checks must have
    been RUNNING to count as available in a deployment: 40 s is ECS's own."""
    return [
        Provision(vpc, logs),
        ServiceController(vpc, logs, chance, settle_s),
        LostPlaces(vpc),
        StartTimeouts(vpc),
        Sweep(),
    ]
