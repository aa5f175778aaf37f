"""DHCP options: stored and shown; what containers are told does not follow them."""

from __future__ import annotations

import msgspec

from proa.aws.ec2 import shown_edges as shown
from proa.aws.ec2.base import Decision, Ec2, change, creation, invalid, missing, removal
from proa.aws.ec2.base import specified_tags as tags_of
from proa.aws.ec2.kinds import DHCP, VPC
from proa.aws.ec2.select import Fields, matching, page
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.cloud.compute import private_name
from proa.cloud.network.bootstrap import stable_id
from proa.cloud.network.edges import DhcpOptions

KEYS = (
    "domain-name-servers", "domain-name", "ntp-servers", "netbios-name-servers",
    "netbios-node-type", "ipv6-address-preferred-lease-time",
)  # fmt: skip
_FIELDS: Fields[DhcpOptions] = {
    "dhcp-options-id": lambda one: (one.id,),
    "owner-id": lambda one: (one.account,),
    "key": lambda one: tuple(name for name, _values in one.options),
    "value": lambda one: tuple(value for _name, values in one.options for value in values),
}


def default_options(context: Context) -> DhcpOptions:
    """What a region's VPCs have unless they are told otherwise; it is not stored."""
    domain = private_name("", context.region).partition(".")[2]
    return DhcpOptions(
        stable_id("dopt", context.account, context.region), context.account, context.region,
        (("domain-name", (domain,)), ("domain-name-servers", ("AmazonProvidedDNS",))),
    )  # fmt: skip


async def describe_dhcp_options(ec2: Ec2, context: Context, given: Input) -> Output:
    known = {one.id: one for one in (default_options(context), *ec2.all(context, DHCP))}
    ids = given.get("DhcpOptionsIds") or sorted(known)
    for id in ids:
        if id not in known:
            raise DHCP.absent(id)
    kept = matching([known[id] for id in ids], given, _FIELDS, lambda one: one.tags)
    found, more = page(kept, given, lambda one: one.id)
    return {"DhcpOptions": [shown.dhcp_options(one) for one in found], **more}


def _options(given: Input) -> tuple[tuple[str, tuple[str, ...]], ...]:
    asked = given.get("DhcpConfigurations")
    if not asked:
        raise missing("dhcpConfiguration")
    for one in asked:
        if one.get("Key") not in KEYS:
            raise invalid(one.get("Key"), "Key", "Unknown DHCP option.")
        if not one.get("Values"):
            raise invalid("", str(one["Key"]), "No value was given.")
    return tuple((str(one["Key"]), tuple(map(str, one["Values"]))) for one in asked)


async def create_dhcp_options(ec2: Ec2, context: Context, given: Input) -> Output:
    made = DhcpOptions(
        ec2.new_id("dopt"), context.account, context.region, _options(given),
        tags_of(given, "dhcp-options"),
    )  # fmt: skip
    put, guard = creation(made, DHCP.name)
    await ec2.write(lambda: Decision(None, (put,), (guard,)))
    return {"DhcpOptions": shown.dhcp_options(made)}


async def delete_dhcp_options(ec2: Ec2, context: Context, given: Input) -> Output:
    """Refused while a VPC has them."""
    id = given["DhcpOptionsId"]

    def decide() -> Decision[None]:
        if any(one.dhcp_options == id for one in ec2.all(context, VPC)):
            message = f"The dhcpOptions '{id}' has dependencies and cannot be deleted."
            raise AwsError("DependencyViolation", message)
        return removal([ec2.entry(context, DHCP, id)])

    await ec2.write(decide)
    return {}


async def associate_dhcp_options(ec2: Ec2, context: Context, given: Input) -> Output:
    """``default`` gives a VPC the region's own again."""
    asked = given["DhcpOptionsId"]

    def decide() -> Decision[None]:
        entry = ec2.entry(context, VPC, given["VpcId"])
        own = default_options(context).id
        id = own if asked in ("default", own) else ec2.entry(context, DHCP, asked).value.id
        put, guard = change(entry, msgspec.structs.replace(entry.value, dhcp_options=id))
        return Decision(None, (put,), (guard,))

    await ec2.write(decide)
    return {}


OPERATIONS = {
    "DescribeDhcpOptions": describe_dhcp_options,
    "CreateDhcpOptions": create_dhcp_options,
    "DeleteDhcpOptions": delete_dhcp_options,
    "AssociateDhcpOptions": associate_dhcp_options,
}
