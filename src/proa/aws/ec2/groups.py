"""Security groups and their rules.

Rules are kept one peer each, as EC2 numbers them (sgr-…); requests and answers that speak of
IpPermissions are taken apart and put together here and in ``shown``.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import msgspec

from proa.aws.ec2 import shown
from proa.aws.ec2.base import (
    Decision,
    Ec2,
    change,
    creation,
    missing,
    removal,
    specified_tags,
)
from proa.aws.ec2.kinds import GROUP, INTERFACE, VPC
from proa.aws.ec2.select import Fields, described
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.cloud.network import SecurityGroup, SecurityGroupRule
from proa.cloud.network.records import ANYWHERE
from proa.reconcile.view import Entry

MAX_RULES = 60  # rules of one direction of one group (VPC quotas)
_PORTS = ("tcp", "udp")
_PROTOCOLS = {"6": "tcp", "17": "udp", "1": "icmp", "58": "icmpv6", "all": "-1"}
_NAMED = ("tcp", "udp", "icmp", "icmpv6", "-1")
Rules = tuple[SecurityGroupRule, ...]


def _rule_fields(side: str, prefix: str) -> Fields[SecurityGroup]:
    """Filters over the rules of one direction."""

    def rules(one: SecurityGroup) -> Rules:
        found: Rules = getattr(one, side)
        return found

    return {
        f"{prefix}.cidr": lambda one: tuple(rule.cidr for rule in rules(one)),
        f"{prefix}.group-id": lambda one: tuple(rule.group for rule in rules(one)),
        f"{prefix}.protocol": lambda one: tuple(rule.protocol for rule in rules(one)),
        f"{prefix}.from-port": lambda one: tuple(str(rule.from_port) for rule in rules(one)),
        f"{prefix}.to-port": lambda one: tuple(str(rule.to_port) for rule in rules(one)),
    }


_FIELDS: Fields[SecurityGroup] = {
    "group-id": lambda one: (one.id,),
    "group-name": lambda one: (one.name,),
    "description": lambda one: (one.description,),
    "vpc-id": lambda one: (one.vpc,),
    **_rule_fields("ingress", "ip-permission"),
    **_rule_fields("egress", "egress.ip-permission"),
}


def _by_name(ec2: Ec2, context: Context, name: str) -> Entry[SecurityGroup]:
    """A group of the default VPC by its name; only there are names enough."""
    vpc = ec2.planner.default_vpc(context.account, context.region)
    if vpc is None:
        raise AwsError("VPCIdNotSpecified", "No default VPC for this user")
    for entry in ec2.entries(context, GROUP):
        if entry.value.vpc == vpc.id and entry.value.name == name:
            return entry
    message = f"The security group '{name}' does not exist in default VPC '{vpc.id}'"
    raise AwsError("InvalidGroup.NotFound", message)


def named_group(ec2: Ec2, context: Context, given: Input) -> Entry[SecurityGroup]:
    """The group of a request that takes GroupId or GroupName."""
    if given.get("GroupId"):
        return ec2.entry(context, GROUP, given["GroupId"])
    if given.get("GroupName"):
        return _by_name(ec2, context, given["GroupName"])
    raise AwsError(
        "MissingParameter", "The request must contain the parameter groupName or groupId"
    )


async def describe_security_groups(ec2: Ec2, context: Context, given: Input) -> Output:
    ids = list(given.get("GroupIds") or ())
    ids += [_by_name(ec2, context, name).value.id for name in given.get("GroupNames") or ()]
    found, more = described(ec2, context, GROUP, given, ids, _FIELDS)
    return {"SecurityGroups": [shown.security_group(one) for one in found], **more}


async def create_security_group(ec2: Ec2, context: Context, given: Input) -> Output:
    """With one rule: out to anywhere."""
    name = given["GroupName"]
    if name.lower() == "default":
        raise AwsError("InvalidGroup.Reserved", f"The security group '{name}' is reserved")
    if name.startswith("sg-"):
        message = (
            f"Value ({name}) for parameter GroupName is invalid. "
            "Group names may not be in the format sg-*."
        )
        raise AwsError("InvalidParameterValue", message)
    default = ec2.planner.default_vpc(context.account, context.region)
    vpc_id = given.get("VpcId") or (default.id if default else "")
    if not vpc_id:
        raise AwsError("VPCIdNotSpecified", "No default VPC for this user")
    group = SecurityGroup(
        id=ec2.new_id("sg"),
        account=context.account,
        region=context.region,
        vpc=vpc_id,
        name=name,
        description=given["Description"],
        egress=(SecurityGroupRule(id=ec2.new_id("sgr"), cidr=ANYWHERE),),
        tags=specified_tags(given, "security-group"),
    )

    def decide() -> Decision[None]:
        touched = ec2.touch_vpc(context, vpc_id, VPC)
        if any(one.vpc == vpc_id and one.name == name for one in ec2.all(context, GROUP)):
            message = f"The security group '{name}' already exists for VPC '{vpc_id}'"
            raise AwsError("InvalidGroup.Duplicate", message)
        put, guard = creation(group, GROUP.name)
        return Decision(None, (*touched.writes, put), (*touched.guards, guard))

    await ec2.write(decide)
    return {
        "GroupId": group.id,
        "SecurityGroupArn": shown.arn(
            context.region, context.account, f"security-group/{group.id}"
        ),
        "Tags": shown.tags(group.tags),
    }


async def delete_security_group(ec2: Ec2, context: Context, given: Input) -> Output:
    """Refused for the default group, and while an interface or another group's rule needs it."""
    deleted = named_group(ec2, context, given).value.id

    def decide() -> Decision[None]:
        entry = ec2.entry(context, GROUP, deleted)
        group = entry.value
        if group.name == "default":
            message = (
                f'the specified group: "{group.id}" name: "default" cannot be deleted by a user'
            )
            raise AwsError("CannotDelete", message)
        used = bool(ec2.view.rows(INTERFACE.table).by("group", group.id)) or any(
            rule.group == group.id
            for other in ec2.all(context, GROUP)
            if other.id != group.id
            for rule in (*other.ingress, *other.egress)
        )
        if used:
            raise AwsError("DependencyViolation", f"resource {group.id} has a dependent object")
        return removal([entry])

    await ec2.write(decide)
    return {"Return": True, "GroupId": deleted}


def asked_permissions(given: Input) -> list[dict[str, Any]]:
    """IpPermissions, or what the older single parameters amount to."""
    if given.get("IpPermissions"):
        return list(given["IpPermissions"])
    permission: dict[str, Any] = {
        name: given[name] for name in ("IpProtocol", "FromPort", "ToPort") if name in given
    }
    if given.get("CidrIp"):
        permission["IpRanges"] = [{"CidrIp": given["CidrIp"]}]
    if given.get("SourceSecurityGroupName"):
        pair = {"GroupName": given["SourceSecurityGroupName"]}
        permission["UserIdGroupPairs"] = [pair]
        permission.setdefault("IpProtocol", "-1")
    if not permission:
        raise missing("ipPermissions")
    return [permission]


def _protocol(permission: dict[str, Any]) -> str:
    given = str(permission.get("IpProtocol", "")).lower()
    protocol = _PROTOCOLS.get(given, given)
    if protocol in _NAMED or (protocol.isdigit() and int(protocol) < 256):
        return protocol
    message = f"Invalid value '{given}' for IP protocol. Unknown protocol."
    raise AwsError("InvalidParameterValue", message)


def _ports(permission: dict[str, Any], protocol: str) -> tuple[int, int]:
    if protocol not in (*_PORTS, "icmp", "icmpv6"):
        return -1, -1
    if "FromPort" not in permission or "ToPort" not in permission:
        if protocol in _PORTS:
            message = (
                "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange."
            )
            raise AwsError("InvalidParameterValue", message)
        return -1, -1
    first, last = int(permission["FromPort"]), int(permission["ToPort"])
    if protocol in _PORTS and not (0 <= first <= last <= 65535 or first == last == -1):
        raise AwsError("InvalidParameterValue", f"Invalid TCP/UDP port range ({first}:{last})")
    return (0, 65535) if protocol in _PORTS and first == -1 else (first, last)


def _cidr(text: str, kind: type[IPv4Network] | type[IPv6Network]) -> str:
    try:
        return str(kind(text, strict=False))
    except ValueError as error:
        raise AwsError("InvalidParameterValue", f"CIDR block {text} is malformed") from error


def rules_of(ec2: Ec2, context: Context, permissions: list[dict[str, Any]]) -> Iterator[Any]:
    """The rules that permissions ask for, without ids."""
    for permission in permissions:
        protocol = _protocol(permission)
        first, last = _ports(permission, protocol)
        base = SecurityGroupRule("", protocol, first, last)
        peers: list[dict[str, Any]] = []
        for one in permission.get("IpRanges") or ():
            peers.append({"cidr": _cidr(one.get("CidrIp", ""), IPv4Network), "from": one})
        for one in permission.get("Ipv6Ranges") or ():
            peers.append({"cidr_v6": _cidr(one.get("CidrIpv6", ""), IPv6Network), "from": one})
        for one in permission.get("PrefixListIds") or ():
            peers.append({"prefix_list": one.get("PrefixListId", ""), "from": one})
        for one in permission.get("UserIdGroupPairs") or ():
            peer = named_group(ec2, context, one).value
            peers.append({"group": peer.id, "group_account": peer.account, "from": one})
        if not peers:
            message = "Invalid value 'null' for cidrIp, ipRanges or groups. A peer is required."
            raise AwsError("InvalidParameterValue", message)
        for peer_fields in peers:
            described_as = peer_fields.pop("from").get("Description") or ""
            yield msgspec.structs.replace(base, description=described_as, **peer_fields)


def _told(rule: SecurityGroupRule) -> str:
    """A rule as EC2's errors speak of it."""
    peer = rule.cidr or rule.cidr_v6 or rule.group or rule.prefix_list
    if rule.protocol == "-1":
        return f'"peer: {peer}, ALL, ALLOW"'
    ports = f"from port: {rule.from_port}, to port: {rule.to_port}"
    return f'"peer: {peer}, {rule.protocol.upper()}, {ports}, ALLOW"'


async def _authorize(ec2: Ec2, context: Context, given: Input, side: str) -> Output:
    permissions = asked_permissions(given)
    tags = specified_tags(given, "security-group-rule")
    id = named_group(ec2, context, given).value.id

    def decide() -> Decision[tuple[SecurityGroup, Rules]]:
        entry = ec2.entry(context, GROUP, id)
        group, old = entry.value, getattr(entry.value, side)
        new: list[SecurityGroupRule] = []
        for rule in rules_of(ec2, context, permissions):
            if any(rule.same_as(other) for other in (*old, *new)):
                message = f"the specified rule {_told(rule)} already exists"
                raise AwsError("InvalidPermission.Duplicate", message)
            new.append(msgspec.structs.replace(rule, id=ec2.new_id("sgr"), tags=tags))
        if len(old) + len(new) > MAX_RULES:
            message = "The maximum number of rules per security group has been reached."
            raise AwsError("RulesPerSecurityGroupLimitExceeded", message)
        changed = msgspec.structs.replace(group, **{side: (*old, *new)})
        put, guard = change(entry, changed)
        return Decision((changed, tuple(new)), (put,), (guard,))

    group, rules = await ec2.write(decide)
    egress = side == "egress"
    return {
        "Return": True,
        "SecurityGroupRules": [shown.group_rule(group, rule, egress) for rule in rules],
    }


async def _revoke(ec2: Ec2, context: Context, given: Input, side: str) -> Output:
    ids = list(given.get("SecurityGroupRuleIds") or ())
    permissions = [] if ids else asked_permissions(given)
    id = named_group(ec2, context, given).value.id

    def decide() -> Decision[tuple[SecurityGroup, Rules]]:
        entry = ec2.entry(context, GROUP, id)
        old: Rules = getattr(entry.value, side)
        absent = [one for one in ids if one not in {rule.id for rule in old}]
        if absent:
            message = f"The security group rule ID '{absent[0]}' does not exist"
            raise AwsError("InvalidSecurityGroupRuleId.NotFound", message)
        wanted = list(rules_of(ec2, context, permissions))
        for rule in wanted:
            if not any(rule.same_as(other) for other in old):
                message = "The specified rule does not exist in this security group."
                raise AwsError("InvalidPermission.NotFound", message)
        gone = tuple(
            rule for rule in old if rule.id in ids or any(rule.same_as(one) for one in wanted)
        )
        changed = msgspec.structs.replace(
            entry.value, **{side: tuple(rule for rule in old if rule not in gone)}
        )
        put, guard = change(entry, changed)
        return Decision((changed, gone), (put,), (guard,))

    group, rules = await ec2.write(decide)
    egress = side == "egress"
    return {
        "Return": True,
        "RevokedSecurityGroupRules": [shown.revoked_rule(group, rule, egress) for rule in rules],
    }


async def authorize_ingress(ec2: Ec2, context: Context, given: Input) -> Output:
    return await _authorize(ec2, context, given, "ingress")


async def authorize_egress(ec2: Ec2, context: Context, given: Input) -> Output:
    return await _authorize(ec2, context, given, "egress")


async def revoke_ingress(ec2: Ec2, context: Context, given: Input) -> Output:
    return await _revoke(ec2, context, given, "ingress")


async def revoke_egress(ec2: Ec2, context: Context, given: Input) -> Output:
    return await _revoke(ec2, context, given, "egress")


OPERATIONS = {
    "DescribeSecurityGroups": describe_security_groups,
    "CreateSecurityGroup": create_security_group,
    "DeleteSecurityGroup": delete_security_group,
    "AuthorizeSecurityGroupIngress": authorize_ingress,
    "AuthorizeSecurityGroupEgress": authorize_egress,
    "RevokeSecurityGroupIngress": revoke_ingress,
    "RevokeSecurityGroupEgress": revoke_egress,
}
