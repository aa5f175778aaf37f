"""Names of ECS resources: ARNs, the short forms that callers may give instead, and new ids.

Called by every ECS operation. A short name means "in the caller's account and region"; an ARN of
another account, region or kind is the caller's fault, never a miss that is silently empty.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from proa.aws.gateway.service import AwsError, Context
from proa.base.chance import Chance

NAME = re.compile(r"^[A-Za-z0-9_-]{1,255}$")
DEFAULT_CLUSTER = "default"


@dataclass(slots=True, frozen=True)
class Arn:
    """A parsed ECS ARN; ``path`` is what follows the resource type, split at slashes."""

    account: str
    region: str
    kind: str
    path: tuple[str, ...]


def partition_of(region: str) -> str:
    """The ARN partition a region belongs to."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def arn(account: str, region: str, kind: str, *path: str) -> str:
    """An ECS ARN in the long format, e.g. ``task/<cluster>/<id>``."""
    return f"arn:{partition_of(region)}:ecs:{region}:{account}:{kind}/{'/'.join(path)}"


def parse_arn(text: str) -> Arn | None:
    """The parts of an ECS ARN; None for anything else."""
    pieces = text.split(":", 5)
    if len(pieces) != 6 or pieces[0] != "arn" or pieces[2] != "ecs":
        return None
    kind, slash, rest = pieces[5].partition("/")
    return Arn(pieces[4], pieces[3], kind, tuple(rest.split("/"))) if slash else None


def invalid(message: str) -> AwsError:
    """InvalidParameterException: the parameter is not valid for this request."""
    return AwsError("InvalidParameterException", message)


def client_fault(message: str) -> AwsError:
    """ClientException: the request itself cannot be served."""
    return AwsError("ClientException", message)


def local(context: Context, text: str, kind: str) -> tuple[str, ...]:
    """The path of an identifier of ``kind``: an ARN's, or the text itself split at slashes.

    Raises InvalidParameterException for an ARN of another account, region or kind."""
    if not text.startswith("arn:"):
        return tuple(text.split("/"))
    parsed = parse_arn(text)
    if parsed is None or parsed.kind != kind:
        raise invalid("Invalid identifier: Unexpected resource type or malformed ARN")
    if parsed.region != context.region:
        raise invalid(
            f"Invalid identifier: Identifier is for {parsed.region}. "
            f"You are accessing {context.region}"
        )
    if parsed.account != context.account:
        raise invalid("Invalid identifier: Identifier is for another account")
    return parsed.path


def cluster_name(context: Context, text: str | None) -> str:
    """The name of the cluster a request is about; ``default`` when it names none."""
    if not text:
        return DEFAULT_CLUSTER
    path = local(context, text, "cluster")
    if len(path) != 1 or not NAME.match(path[0]):
        raise invalid("Invalid identifier: Unexpected number of separators")
    return path[0]


def within_cluster(context: Context, text: str, kind: str, cluster: str) -> str:
    """The last part of a task's, service's or container instance's identifier.

    Raises InvalidParameterException when a long ARN names another cluster."""
    path = local(context, text, kind)
    if len(path) > 2 or (len(path) == 2 and not text.startswith("arn:")):
        raise invalid("Invalid identifier: Unexpected number of separators")
    if len(path) == 2 and path[0] != cluster:
        raise invalid(f"Identifier is for cluster {path[0]}. Your cluster is {cluster}")
    return path[-1]


def task_definition_name(context: Context, text: str) -> tuple[str, int]:
    """(family, revision) of ``family``, ``family:revision`` or an ARN; revision 0: the newest."""
    path = local(context, text, "task-definition")
    family, colon, revision = path[0].partition(":")
    if len(path) != 1 or not NAME.match(family):
        raise client_fault("Invalid identifier: Unexpected number of separators")
    if not colon:
        return family, 0
    if not revision.isdecimal() or int(revision) == 0:
        raise client_fault(f"Invalid revision number. Number: {revision}")
    return family, int(revision)


def new_task_id(chance: Chance) -> str:
    """A task's id: 32 hexadecimal digits (the long ARN format)."""
    return chance.hex(32)


def new_deployment_id(chance: Chance) -> str:
    """A deployment's id, ``ecs-svc/`` and 19 digits."""
    return f"ecs-svc/{chance.integer(10**18, 9 * 10**18)}"


def container_instance_id(instance: str) -> str:
    """The container instance id of an Instance: its own digits, filled to 32."""
    return instance.removeprefix("i-").rjust(32, "0")
