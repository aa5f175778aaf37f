"""Rules of security groups by their ids: shown, changed, described, tagged."""

from __future__ import annotations

from typing import Any

import msgspec

from proa.aws.ec2 import shown
from proa.aws.ec2.base import Decision, Ec2, change, invalid, missing
from proa.aws.ec2.groups import asked_permissions, named_group, rules_of
from proa.aws.ec2.kinds import GROUP
from proa.aws.ec2.select import Fields, flag, matching, page
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.cloud.network import SecurityGroup, SecurityGroupRule
from proa.reconcile.view import Entry

SIDES = ("ingress", "egress")
Listed = tuple[SecurityGroup, SecurityGroupRule, bool]
_FIELDS: Fields[Listed] = {
    "group-id": lambda one: (one[0].id,),
    "security-group-rule-id": lambda one: (one[1].id,),
    "is-egress": lambda one: flag(one[2]),
}


def no_rule(id: str) -> AwsError:
    """InvalidSecurityGroupRuleId.NotFound."""
    message = f"The security group rule ID '{id}' does not exist"
    return AwsError("InvalidSecurityGroupRuleId.NotFound", message)


def listed(ec2: Ec2, context: Context) -> list[Listed]:
    """Every rule with its group, and whether it is for egress, by id."""
    found = [
        (group, rule, egress)
        for group in ec2.all(context, GROUP)
        for egress, rules in ((False, group.ingress), (True, group.egress))
        for rule in rules
    ]
    return sorted(found, key=lambda one: one[1].id)


def group_of_rule(ec2: Ec2, context: Context, id: str) -> Entry[SecurityGroup]:
    """The group that holds a rule."""
    for entry in ec2.entries(context, GROUP):
        if any(rule.id == id for rule in (*entry.value.ingress, *entry.value.egress)):
            return entry
    raise no_rule(id)


def with_rule(group: SecurityGroup, rule: SecurityGroupRule) -> SecurityGroup:
    """A group with a rule in the place of the one with its id."""
    sides = {
        side: tuple(rule if one.id == rule.id else one for one in getattr(group, side))
        for side in SIDES
    }
    return msgspec.structs.replace(group, **sides)


async def describe_security_group_rules(ec2: Ec2, context: Context, given: Input) -> Output:
    every, ids = listed(ec2, context), given.get("SecurityGroupRuleIds")
    if ids:
        have = {one[1].id: one for one in every}
        for id in ids:
            if id not in have:
                raise no_rule(id)
        every = [have[id] for id in sorted(dict.fromkeys(ids))]
    kept = matching(every, given, _FIELDS, lambda one: one[1].tags)
    found, more = page(kept, given, lambda one: one[1].id)
    return {"SecurityGroupRules": [shown.group_rule(*one) for one in found], **more}


def _permission(asked: dict[str, Any]) -> dict[str, Any]:
    """A SecurityGroupRuleRequest as one of IpPermissions."""
    description = asked.get("Description", "")
    ports = ("IpProtocol", "FromPort", "ToPort")
    permission: dict[str, Any] = {name: asked[name] for name in ports if name in asked}
    peers = (
        ("CidrIpv4", "IpRanges", "CidrIp"), ("CidrIpv6", "Ipv6Ranges", "CidrIpv6"),
        ("PrefixListId", "PrefixListIds", "PrefixListId"),
        ("ReferencedGroupId", "UserIdGroupPairs", "GroupId"),
    )  # fmt: skip
    given = [(member, peer, asked[name]) for name, member, peer in peers if asked.get(name)]
    if len(given) != 1:
        message = "A security group rule needs exactly one of the peers CidrIpv4, CidrIpv6, "
        raise AwsError("InvalidParameterCombination", f"{message}PrefixListId, ReferencedGroupId.")
    member, peer, value = given[0]
    return {**permission, member: [{peer: value, "Description": description}]}


async def modify_security_group_rules(ec2: Ec2, context: Context, given: Input) -> Output:
    """Several rules of one group, all or none; ids and tags stay."""

    def decide() -> Decision[None]:
        entry = ec2.entry(context, GROUP, given["GroupId"])
        group = entry.value
        for update in given["SecurityGroupRules"]:
            id, asked = update["SecurityGroupRuleId"], update.get("SecurityGroupRule") or {}
            old = [one for one in (*group.ingress, *group.egress) if one.id == id]
            if not old:
                raise no_rule(id)
            [new] = rules_of(ec2, context, [_permission(asked)])
            side = group.egress if old[0] in group.egress else group.ingress
            if any(one.id != id and one.same_as(new) for one in side):
                message = "the specified rule already exists in this security group"
                raise AwsError("InvalidPermission.Duplicate", message)
            group = with_rule(group, msgspec.structs.replace(new, id=id, tags=old[0].tags))
        put, guard = change(entry, group)
        return Decision(None, (put,), (guard,))

    await ec2.write(decide)
    return {"Return": True}


async def _describe(ec2: Ec2, context: Context, given: Input, side: str) -> Output:
    """Give rules other descriptions, by their ids or by what they allow."""
    by_id = given.get("SecurityGroupRuleDescriptions") or ()
    if not by_id and not given.get("IpPermissions"):
        raise missing("ipPermissions")
    id = named_group(ec2, context, given).value.id

    def decide() -> Decision[None]:
        entry = ec2.entry(context, GROUP, id)
        group = entry.value
        rules = {rule.id: rule for rule in getattr(group, side)}
        words: dict[str, str] = {}
        for one in by_id:
            if one.get("SecurityGroupRuleId") not in rules:
                raise no_rule(str(one.get("SecurityGroupRuleId")))
            words[one["SecurityGroupRuleId"]] = one.get("Description", "")
        for wanted in rules_of(ec2, context, asked_permissions(given)) if not by_id else ():
            same = [rule.id for rule in rules.values() if rule.same_as(wanted)]
            if not same:
                message = "The specified rule does not exist in this security group."
                raise AwsError("InvalidPermission.NotFound", message)
            words[same[0]] = wanted.description
        for rule_id, text in words.items():
            group = with_rule(group, msgspec.structs.replace(rules[rule_id], description=text))
        put, guard = change(entry, group)
        return Decision(None, (put,), (guard,))

    await ec2.write(decide)
    return {"Return": True}


async def describe_ingress(ec2: Ec2, context: Context, given: Input) -> Output:
    return await _describe(ec2, context, given, "ingress")


async def describe_egress(ec2: Ec2, context: Context, given: Input) -> Output:
    return await _describe(ec2, context, given, "egress")


async def describe_references(ec2: Ec2, context: Context, given: Input) -> Output:
    """Only peering makes references, and there is none."""
    for id in given["GroupId"]:
        ec2.entry(context, GROUP, id)
    return {"SecurityGroupReferenceSet": []}


async def describe_stale_groups(ec2: Ec2, context: Context, given: Input) -> Output:
    """Only peering makes groups stale, and there is none."""
    if not given.get("VpcId"):
        raise invalid("", "vpcId")
    return {"StaleSecurityGroupSet": []}


OPERATIONS = {
    "DescribeSecurityGroupRules": describe_security_group_rules,
    "ModifySecurityGroupRules": modify_security_group_rules,
    "UpdateSecurityGroupRuleDescriptionsIngress": describe_ingress,
    "UpdateSecurityGroupRuleDescriptionsEgress": describe_egress,
    "DescribeSecurityGroupReferences": describe_references,
    "DescribeStaleSecurityGroups": describe_stale_groups,
}
