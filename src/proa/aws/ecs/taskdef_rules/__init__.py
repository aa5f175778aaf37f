"""RegisterTaskDefinition's rules: every reason for which ECS refuses a task definition.

Each rule is a function from the request to complaints; the first complaint is what the caller
reads, as a ClientException. Texts are AWS's own where they are known. Sources: the service model's
documentation of RegisterTaskDefinition and the structures below it, and the developer guide's
task definition parameters. The gateway has checked shapes and enumerations before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from proa.aws.ecs.names import client_fault
from proa.aws.ecs.taskdef_rules import containers, fargate, linux, network, sizes, storage, task
from proa.aws.ecs.taskdef_rules.common import Document, is_fargate

__all__ = ["check", "is_fargate"]

Rule = Callable[[Document], Iterator[str]]
# The order decides which of several complaints is read: what everything else builds on first.
RULES: tuple[Rule, ...] = (
    task.names,
    sizes.rules,
    fargate.rules,
    task.rules,
    network.rules,
    containers.rules,
    linux.rules,
    storage.rules,
)


def check(request: Document) -> None:
    """Raise ClientException for the first rule that the request breaks."""
    for rule in RULES:
        for complaint in rule(request):
            raise client_fault(complaint)
