"""Network ACLs: stored and shown, not enforced (docs/limits.md).

Every VPC has a default ACL; VPCs that were made before their ACLs were stored get theirs, with an
id that follows from the VPC's, when it is first changed.
"""

from __future__ import annotations

from ipaddress import IPv6Network

import msgspec

from proa.aws.ec2 import shown_edges as shown
from proa.aws.ec2.base import (
    Decision,
    Ec2,
    change,
    creation,
    invalid,
    missing,
    removal,
    specified_tags,
)
from proa.aws.ec2.kinds import ACL, SUBNET, VPC
from proa.aws.ec2.ranges import parse_range
from proa.aws.ec2.select import Fields, flag, matching, page
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.cloud.network import network_key
from proa.cloud.network.bootstrap import stable_id
from proa.cloud.network.edges import LAST_RULE, AclEntry, NetworkAcl, default_acl
from proa.cloud.network.records import encode
from proa.reconcile.view import Entry
from proa.store.api import Guard, Put

MAX_ENTRIES = 40  # of one direction
_PROTOCOLS = {"tcp": "6", "udp": "17", "icmp": "1", "icmpv6": "58", "all": "-1"}
_LAST = tuple(AclEntry(LAST_RULE, egress, False) for egress in (True, False))
Served = list[tuple[str, str]]


def acls(ec2: Ec2, context: Context) -> list[NetworkAcl]:
    """Every ACL, those of VPCs that have no stored one included, by id."""
    stored = ec2.all(context, ACL)
    have = {one.vpc for one in stored if one.is_default}
    added = [
        default_acl(vpc, stable_id("acl", vpc.id))
        for vpc in ec2.all(context, VPC)
        if vpc.id not in have
    ]
    return sorted([*stored, *added], key=lambda one: one.id)


def _entry(ec2: Ec2, context: Context, id: str) -> Entry[NetworkAcl]:
    """An ACL to change. One that is not stored has version 0: writing it creates it."""
    for one in acls(ec2, context):
        if one.id == id:
            key = network_key(context.account, context.region, ACL.name, id)
            stored = ec2.view.rows(ACL.table).get(key)
            return stored or Entry(key, encode(one), 0, 0, one)
    raise ACL.absent(id)


def _served(ec2: Ec2, context: Context, one: NetworkAcl) -> Served:
    """(association id, subnet id) of an ACL; the default one serves all that no other does."""
    if not one.is_default:
        return list(one.associations)
    elsewhere = {
        subnet
        for other in ec2.all(context, ACL)
        if not other.is_default
        for _id, subnet in other.associations
    }
    own = {subnet: id for id, subnet in one.associations}
    return [
        (own.get(subnet.id, stable_id("aclassoc", one.id, subnet.id)), subnet.id)
        for subnet in ec2.all(context, SUBNET)
        if subnet.vpc == one.vpc and subnet.id not in elsewhere
    ]


def _shown(ec2: Ec2, context: Context, one: NetworkAcl) -> Output:
    entries = sorted((*one.entries, *_LAST), key=lambda entry: (not entry.egress, entry.number))
    return shown.network_acl(one, entries, _served(ec2, context, one))


def _fields(ec2: Ec2, context: Context) -> Fields[NetworkAcl]:
    return {
        "network-acl-id": lambda one: (one.id,),
        "owner-id": lambda one: (one.account,),
        "vpc-id": lambda one: (one.vpc,),
        "default": lambda one: flag(one.is_default),
        "association.network-acl-id": lambda one: (one.id,),
        "association.association-id": lambda one: tuple(
            id for id, _subnet in _served(ec2, context, one)
        ),
        "association.subnet-id": lambda one: tuple(
            subnet for _id, subnet in _served(ec2, context, one)
        ),
        "entry.cidr": lambda one: tuple(entry.cidr for entry in one.entries),
        "entry.rule-number": lambda one: tuple(str(entry.number) for entry in one.entries),
        "entry.protocol": lambda one: tuple(entry.protocol for entry in one.entries),
    }


async def describe_network_acls(ec2: Ec2, context: Context, given: Input) -> Output:
    known = acls(ec2, context)
    ids = given.get("NetworkAclIds")
    if ids:
        known = [_entry(ec2, context, id).value for id in dict.fromkeys(ids)]
    kept = matching(known, given, _fields(ec2, context), lambda one: one.tags)
    found, more = page(kept, given, lambda one: one.id)
    return {"NetworkAcls": [_shown(ec2, context, one) for one in found], **more}


async def create_network_acl(ec2: Ec2, context: Context, given: Input) -> Output:
    """Without entries: it lets nothing through."""
    id, tags = ec2.new_id("acl"), specified_tags(given, "network-acl")

    def decide() -> Decision[NetworkAcl]:
        touched = ec2.touch_vpc(context, given["VpcId"], VPC)
        made = NetworkAcl(id, context.account, context.region, given["VpcId"], tags=tags)
        put, guard = creation(made, ACL.name)
        return Decision(made, (*touched.writes, put), (*touched.guards, guard))

    made = await ec2.write(decide)
    return {
        "NetworkAcl": _shown(ec2, context, made),
        "ClientToken": given.get("ClientToken"),
    }


async def delete_network_acl(ec2: Ec2, context: Context, given: Input) -> Output:
    """Refused for a default one, and while it serves a subnet."""

    def decide() -> Decision[None]:
        entry = _entry(ec2, context, given["NetworkAclId"])
        if entry.value.is_default:
            message = f"cannot delete default network ACL {entry.value.id}"
            raise AwsError("InvalidParameterValue", message)
        if entry.value.associations:
            message = f"The networkAcl '{entry.value.id}' has dependencies and cannot be deleted."
            raise AwsError("DependencyViolation", message)
        return removal([entry])

    await ec2.write(decide)
    return {}


def _rule(given: Input) -> AclEntry:
    """The entry that a request describes."""
    for member in ("Protocol", "RuleAction"):
        if member not in given:
            raise missing(member[0].lower() + member[1:])
    if given["RuleAction"] not in ("allow", "deny"):
        raise invalid(given["RuleAction"], "ruleAction")
    asked = str(given["Protocol"]).lower()
    protocol = _PROTOCOLS.get(asked, asked)
    if protocol != "-1" and not (protocol.isdigit() and int(protocol) < 256):
        raise invalid(asked, "protocol", "Unknown protocol.")
    cidr, cidr_v6 = given.get("CidrBlock") or "", given.get("Ipv6CidrBlock") or ""
    if bool(cidr) == bool(cidr_v6):
        raise missing("cidrBlock")
    if cidr:
        cidr = str(parse_range(cidr, 0, 32, "InvalidParameterValue"))
    else:
        cidr_v6 = _range_v6(cidr_v6)
    ports, first, last = given.get("PortRange") or {}, -1, -1
    if protocol in ("6", "17"):
        if "From" not in ports or "To" not in ports:
            raise missing("portRange")
        first, last = ports["From"], ports["To"]
        if not 0 <= first <= last <= 65535:
            raise invalid(f"{first}-{last}", "portRange", "Invalid TCP/UDP port range.")
    icmp = given.get("IcmpTypeCode") or {}
    return AclEntry(
        given["RuleNumber"], given["Egress"], given["RuleAction"] == "allow", protocol,
        cidr, cidr_v6, first, last, icmp.get("Type", -1), icmp.get("Code", -1),
    )  # fmt: skip


def _range_v6(text: str) -> str:
    try:
        return str(IPv6Network(text, strict=False))
    except ValueError as error:
        raise invalid(text, "ipv6CidrBlock", "This is not a valid CIDR block.") from error


def _write(entry: Entry[NetworkAcl], changed: NetworkAcl) -> Decision[None]:
    put, guard = change(entry, changed)
    return Decision(None, (put,), (guard,))


def _numbered(acl: NetworkAcl, given: Input) -> AclEntry | None:
    wanted = (given["RuleNumber"], given["Egress"])
    return next((one for one in acl.entries if (one.number, one.egress) == wanted), None)


async def create_network_acl_entry(ec2: Ec2, context: Context, given: Input) -> Output:
    rule = _rule(given)
    if not 0 < rule.number < LAST_RULE:
        raise invalid(rule.number, "ruleNumber", "Rule numbers are 1 to 32766.")

    def decide() -> Decision[None]:
        entry = _entry(ec2, context, given["NetworkAclId"])
        acl = entry.value
        if _numbered(acl, given) is not None:
            message = f"The network acl entry identified by {rule.number} already exists."
            raise AwsError("NetworkAclEntryAlreadyExists", message)
        if sum(one.egress == rule.egress for one in acl.entries) >= MAX_ENTRIES:
            message = f"An ACL has at most {MAX_ENTRIES} entries of a direction."
            raise AwsError("NetworkAclEntryLimitExceeded", message)
        return _write(entry, msgspec.structs.replace(acl, entries=(*acl.entries, rule)))

    await ec2.write(decide)
    return {}


def _no_entry(given: Input) -> AwsError:
    message = (
        f"The {'egress' if given['Egress'] else 'ingress'} entry with rule number "
        f"{given['RuleNumber']} does not exist in network ACL {given['NetworkAclId']}"
    )
    return AwsError("InvalidNetworkAclEntry.NotFound", message)


async def replace_network_acl_entry(ec2: Ec2, context: Context, given: Input) -> Output:
    rule = _rule(given)

    def decide() -> Decision[None]:
        entry = _entry(ec2, context, given["NetworkAclId"])
        old = _numbered(entry.value, given)
        if old is None:
            raise _no_entry(given)
        entries = tuple(rule if one == old else one for one in entry.value.entries)
        return _write(entry, msgspec.structs.replace(entry.value, entries=entries))

    await ec2.write(decide)
    return {}


async def delete_network_acl_entry(ec2: Ec2, context: Context, given: Input) -> Output:
    def decide() -> Decision[None]:
        entry = _entry(ec2, context, given["NetworkAclId"])
        old = _numbered(entry.value, given)
        if old is None:
            raise _no_entry(given)
        entries = tuple(one for one in entry.value.entries if one != old)
        return _write(entry, msgspec.structs.replace(entry.value, entries=entries))

    await ec2.write(decide)
    return {}


async def replace_network_acl_association(ec2: Ec2, context: Context, given: Input) -> Output:
    """Give a subnet another ACL of its VPC."""
    new = ec2.new_id("aclassoc")

    def decide() -> Decision[None]:
        source, subnet = _association(ec2, context, given["AssociationId"])
        target = _entry(ec2, context, given["NetworkAclId"])
        if source.value.vpc != target.value.vpc:
            message = (
                f"network ACL {target.value.id} and subnet {subnet} belong to different networks"
            )
            raise AwsError("InvalidParameterValue", message)
        kept = tuple(pair for pair in source.value.associations if pair[1] != subnet)
        if source.key == target.key:
            joined = msgspec.structs.replace(source.value, associations=(*kept, (new, subnet)))
            return _write(source, joined)
        left = msgspec.structs.replace(source.value, associations=kept)
        added = (*target.value.associations, (new, subnet))
        joined = msgspec.structs.replace(target.value, associations=added)
        pairs: list[tuple[Put, Guard]] = [change(source, left), change(target, joined)]
        return Decision(None, tuple(p for p, _g in pairs), tuple(g for _p, g in pairs))

    await ec2.write(decide)
    return {"NewAssociationId": new}


def _association(ec2: Ec2, context: Context, id: str) -> tuple[Entry[NetworkAcl], str]:
    for one in acls(ec2, context):
        for known, subnet in _served(ec2, context, one):
            if known == id:
                return _entry(ec2, context, one.id), subnet
    message = f"The association ID '{id}' does not exist"
    raise AwsError("InvalidAssociationID.NotFound", message)


OPERATIONS = {
    "DescribeNetworkAcls": describe_network_acls,
    "CreateNetworkAcl": create_network_acl,
    "DeleteNetworkAcl": delete_network_acl,
    "CreateNetworkAclEntry": create_network_acl_entry,
    "ReplaceNetworkAclEntry": replace_network_acl_entry,
    "DeleteNetworkAclEntry": delete_network_acl_entry,
    "ReplaceNetworkAclAssociation": replace_network_acl_association,
}
