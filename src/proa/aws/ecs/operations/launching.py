"""What RunTask, StartTask, CreateService and UpdateService ask alike, and its rules.

Each function takes the request apart that concerns launch type, capacity, placement or network,
and raises the API's error for what ECS would refuse, or ``UnsupportedFeatureException`` for what
this hull cannot carry out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from proa.aws.ecs import fargate, query, runnable
from proa.aws.ecs.capacity import checked_strategy
from proa.aws.ecs.names import client_fault, invalid, task_definition_name
from proa.aws.ecs.operations.base import Ecs
from proa.aws.ecs.ports import Subnet
from proa.aws.ecs.records import Cluster, TaskDefinition
from proa.aws.gateway.service import AwsError, Context, Input

Document = dict[str, Any]
MAX_SUBNETS, MAX_GROUPS = 16, 5
MAX_STRATEGIES, MAX_CONSTRAINTS = 5, 10
_SPREAD_FIELDS = ("instanceId", "host")


class Launch(msgspec.Struct, frozen=True):
    """Where and how tasks are to be launched."""

    launch_type: str
    strategy: tuple[Document, ...] = ()
    platform_version: str = ""
    network: Document | None = None
    placement_strategy: tuple[Document, ...] = ()
    placement_constraints: tuple[Document, ...] = ()


def unsupported(what: str) -> AwsError:
    """UnsupportedFeatureException, naming what Proa cannot do yet."""
    return AwsError("UnsupportedFeatureException", f"Proa does not support {what} yet.")


def active_definition(ecs: Ecs, context: Context, text: str) -> TaskDefinition:
    """The ACTIVE revision a request names, of which every part can be run here."""
    family, revision = task_definition_name(context, text)
    entry = ecs.definition(context, family, revision)
    if entry is None:
        raise client_fault("TaskDefinition not found.")
    if entry.value.status != "ACTIVE":
        raise client_fault("TaskDefinition is inactive")
    missing = runnable.unsupported(entry.value)
    if missing:
        raise unsupported(", ".join(missing))
    return entry.value


def launch_of(
    ecs: Ecs,
    cluster: Cluster,
    definition: TaskDefinition,
    request: Input,
    current: Launch | None = None,
) -> Launch:
    """The launch part of a request; ``current`` fills what an update leaves out."""
    launch_type, strategy = _capacity(cluster, request, current)
    document = definition.document
    if launch_type not in document["compatibilities"]:
        raise invalid(f"Task definition does not support launch_type {launch_type}.")
    network = request.get("networkConfiguration")
    chosen = network_of(ecs, cluster, definition, launch_type, network, current)
    return Launch(
        launch_type=launch_type,
        strategy=strategy,
        platform_version=_platform_version(launch_type, request, current),
        network=chosen,
        placement_strategy=_placement_strategy(launch_type, request, current),
        placement_constraints=_placement_constraints(launch_type, request, current),
    )


def _capacity(
    cluster: Cluster, request: Input, current: Launch | None
) -> tuple[str, tuple[Document, ...]]:
    launch_type, given = request.get("launchType"), request.get("capacityProviderStrategy")
    if launch_type and given:
        raise invalid(
            "Specifying both a launch type and capacity provider strategy is not supported. "
            "Remove one and try again."
        )
    if launch_type in ("EXTERNAL", "MANAGED_INSTANCES"):
        raise unsupported(f"launch type {launch_type}")
    if launch_type:
        return launch_type, ()
    if given is None and current is not None:
        return current.launch_type, current.strategy
    strategy = checked_strategy(given or cluster.default_strategy, fargate.CAPACITY_PROVIDERS)
    return ("FARGATE", strategy) if strategy else ("EC2", ())


def _platform_version(launch_type: str, request: Input, current: Launch | None) -> str:
    given = request.get("platformVersion")
    if launch_type != "FARGATE":
        if given:
            raise invalid("The platform version must be null when specifying an EC2 launch type.")
        return ""
    if given is None:
        return current.platform_version if current else fargate.PLATFORM_VERSION
    if given not in fargate.PLATFORM_VERSIONS:
        raise AwsError("PlatformUnknownException", "The specified platform does not exist.")
    return fargate.PLATFORM_VERSION if given == "LATEST" else str(given)


def network_of(
    ecs: Ecs,
    cluster: Cluster,
    definition: TaskDefinition,
    launch_type: str,
    given: Document | None,
    current: Launch | None = None,
) -> Document | None:
    """The awsvpc configuration with its subnets and groups known to exist; None in other modes."""
    wanted = (given or {}).get("awsvpcConfiguration")
    if definition.network_mode != "awsvpc":
        if wanted:
            raise invalid(
                "Network Configuration is not valid for the given networkMode of this task "
                "definition."
            )
        return None
    if not wanted and current is not None and current.network is not None:
        return current.network
    if not wanted:
        raise invalid(
            "Network Configuration must be provided when networkMode 'awsvpc' is specified."
        )
    public = wanted.get("assignPublicIp") or "DISABLED"
    if public == "ENABLED" and launch_type == "EC2":
        raise invalid("Assign public IP is not supported for this launch type.")
    subnets = list(wanted.get("subnets") or ())
    groups = list(wanted.get("securityGroups") or ())
    found = subnets_of(ecs, cluster, subnets)
    if len(groups) > MAX_GROUPS:
        raise invalid(f"securityGroups can have at most {MAX_GROUPS} items.")
    for id in groups:
        _check_group(ecs, cluster, id, found[0].vpc)
    return {"subnets": subnets, "securityGroups": groups, "assignPublicIp": public}


def subnets_of(ecs: Ecs, cluster: Cluster, ids: Sequence[str]) -> list[Subnet]:
    """The subnets of a network configuration. Raises InvalidParameterException."""
    if not ids:
        raise invalid("subnets can not be empty.")
    if len(ids) > MAX_SUBNETS:
        raise invalid(f"subnets can have at most {MAX_SUBNETS} items.")
    found: list[Subnet] = []
    for id in ids:
        subnet = ecs.vpc.subnet(cluster.account, cluster.region, id)
        if subnet is None:
            raise invalid(
                f"Error retrieving subnet information for [{id}]: The subnet ID '{id}' does not "
                "exist (ErrorCode: InvalidSubnetID.NotFound)"
            )
        if found and subnet.vpc != found[0].vpc:
            raise invalid("subnets must belong to the same VPC.")
        found.append(subnet)
    return found


def _check_group(ecs: Ecs, cluster: Cluster, id: str, vpc: str) -> None:
    group = ecs.vpc.security_group(cluster.account, cluster.region, id)
    if group is None:
        raise invalid(
            f"Error retrieving security group information for [{id}]: The security group '{id}' "
            "does not exist (ErrorCode: InvalidGroup.NotFound)"
        )
    if group.vpc != vpc:
        raise invalid("securityGroups and subnets must belong to the same VPC.")


def _placement_strategy(
    launch_type: str, request: Input, current: Launch | None
) -> tuple[Document, ...]:
    given = request.get("placementStrategy")
    if given is None:
        return current.placement_strategy if current else ()
    if given and launch_type == "FARGATE":
        raise invalid("Placement strategies are not supported with FARGATE launch type.")
    if len(given) > MAX_STRATEGIES:
        raise invalid(f"placementStrategy can have at most {MAX_STRATEGIES} items.")
    for item in given:
        kind, field = item.get("type"), item.get("field") or ""
        spread = field in _SPREAD_FIELDS or field.startswith("attribute:")
        known = {
            "random": not field,
            "binpack": field.lower() in ("cpu", "memory"),
            "spread": spread,
        }
        if not known.get(kind, False):
            raise invalid(f"Invalid placement strategy: {kind} {field}".strip())
    return tuple(given)


def _placement_constraints(
    launch_type: str, request: Input, current: Launch | None
) -> tuple[Document, ...]:
    given = request.get("placementConstraints")
    if given is None:
        return current.placement_constraints if current else ()
    if given and launch_type == "FARGATE":
        raise invalid("Placement constraints are not supported with FARGATE launch type.")
    if len(given) > MAX_CONSTRAINTS:
        raise invalid(f"placementConstraints can have at most {MAX_CONSTRAINTS} items.")
    for item in given:
        if item.get("type") == "memberOf":
            query.parse(item.get("expression") or "")
        elif item.get("type") != "distinctInstance" or item.get("expression"):
            raise invalid("Invalid placement constraint.")
    return tuple(given)


def pairs(items: Sequence[Document], first: str, second: str) -> tuple[tuple[str, str], ...]:
    """Placement strategies or constraints as a task keeps them."""
    return tuple((str(item[first]), str(item.get(second) or "")) for item in items)
