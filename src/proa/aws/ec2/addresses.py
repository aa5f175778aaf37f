"""Elastic IP addresses: given out, associated with interfaces, given back.

They come from the ranges that RFC 5737 keeps for documentation: nothing outside knows them, and
nothing answers at them (docs/limits.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

import msgspec

from proa.aws.ec2 import shown_edges as shown
from proa.aws.ec2.base import (
    Decision,
    Ec2,
    change,
    creation,
    invalid,
    missing,
    specified_tags,
)
from proa.aws.ec2.kinds import ADDRESS, INTERFACE
from proa.aws.ec2.places import own_instance
from proa.aws.ec2.select import Fields, described
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.cloud.network.edges import ELASTIC_ADDRESSES, ElasticAddress, public_key
from proa.reconcile.view import Entry
from proa.store.api import Delete, Guard, Put

MAX_ADDRESSES = 5  # of an account in a region (VPC quotas)
POOLS = ("203.0.113.0/24", "198.51.100.0/24")

_FIELDS: Fields[ElasticAddress] = {
    "allocation-id": lambda one: (one.id,),
    "association-id": lambda one: (one.association,) if one.association else (),
    "domain": lambda _one: ("vpc",),
    "instance-id": lambda one: (one.instance,) if one.instance else (),
    "network-interface-id": lambda one: (one.interface,) if one.interface else (),
    "network-interface-owner-id": lambda one: (one.account,) if one.interface else (),
    "private-ip-address": lambda one: (one.private_address,) if one.private_address else (),
    "public-ip": lambda one: (one.address,),
    "network-border-group": lambda one: (one.region,),
}


def _pool() -> Iterator[str]:
    for text in POOLS:
        yield from (str(host) for host in IPv4Network(text).hosts())


def by_public(ec2: Ec2, context: Context, address: str) -> Entry[ElasticAddress]:
    """An Elastic IP address of the caller's by itself; raises InvalidAddress.NotFound."""
    for entry in ec2.entries(context, ADDRESS):
        if entry.value.address == address:
            return entry
    raise AwsError("InvalidAddress.NotFound", f"Address '{address}' not found.")


def _named(ec2: Ec2, context: Context, given: Input) -> Entry[ElasticAddress]:
    if given.get("AllocationId"):
        return ec2.entry(context, ADDRESS, given["AllocationId"])
    if given.get("PublicIp"):
        return by_public(ec2, context, given["PublicIp"])
    raise missing("allocationId")


async def allocate_address(ec2: Ec2, context: Context, given: Input) -> Output:
    """A free one, or the one asked for."""
    if given.get("Domain", "vpc") != "vpc":
        raise invalid(given["Domain"], "domain", "Addresses are for VPCs only.")
    id, tags = ec2.new_id("eipalloc"), specified_tags(given, "elastic-ip")

    def decide() -> Decision[ElasticAddress]:
        if len(ec2.entries(context, ADDRESS)) >= MAX_ADDRESSES:
            message = "The maximum number of addresses has been reached."
            raise AwsError("AddressLimitExceeded", message)
        used = {entry.value.address for entry in ec2.view.rows(ELASTIC_ADDRESSES).scan()}
        free = [address for address in _pool() if address not in used]
        wanted = given.get("Address")
        if wanted and wanted not in free:
            raise AwsError("InvalidAddress.NotFound", f"Address '{wanted}' is not available.")
        if not free:
            raise AwsError("InsufficientAddressCapacity", "No address is left to give out.")
        address = wanted or free[0]
        made = ElasticAddress(id, context.account, context.region, address, tags=tags)
        put, guard = creation(made, ADDRESS.name)
        key = public_key(address)
        return Decision(made, (put, Put(key, id.encode())), (guard, Guard(key, 0)))

    made = await ec2.write(decide)
    return {
        "AllocationId": made.id,
        "PublicIp": made.address,
        "Domain": "vpc",
        "PublicIpv4Pool": "amazon",
        "NetworkBorderGroup": context.region,
    }


def in_use(one: ElasticAddress) -> AwsError:
    """The refusal of what needs an address that is associated."""
    return AwsError("InvalidIPAddress.InUse", f"The address {one.address} is in use.")


async def release_address(ec2: Ec2, context: Context, given: Input) -> Output:
    """Refused while it is associated."""

    def decide() -> Decision[None]:
        entry = _named(ec2, context, given)
        if entry.value.association:
            raise in_use(entry.value)
        writes = (Delete(entry.key), Delete(public_key(entry.value.address)))
        return Decision(None, writes, (Guard(entry.key, entry.version),))

    await ec2.write(decide)
    return {}


async def describe_addresses(ec2: Ec2, context: Context, given: Input) -> Output:
    ids = list(given.get("AllocationIds") or ())
    ids += [by_public(ec2, context, one).value.id for one in given.get("PublicIps") or ()]
    found, _more = described(ec2, context, ADDRESS, given, ids, _FIELDS)
    return {"Addresses": [shown.address(one) for one in found]}


async def describe_addresses_attribute(ec2: Ec2, context: Context, given: Input) -> Output:
    """No address has a domain name of its own."""
    for id in given.get("AllocationIds") or ():
        ec2.entry(context, ADDRESS, id)
    return {"Addresses": []}


def _at(ec2: Ec2, context: Context, given: Input) -> tuple[str, str, str]:
    """(interface, instance, private address) of an association."""
    if given.get("NetworkInterfaceId"):
        interface = ec2.entry(context, INTERFACE, given["NetworkInterfaceId"]).value
        asked = given.get("PrivateIpAddress", interface.address)
        if asked != interface.address:
            raise AwsError(
                "InvalidParameterValue",
                f"Private IP address {asked} is not assigned to network interface {interface.id}",
            )
        return interface.id, interface.instance, interface.address
    if given.get("InstanceId"):
        instance = own_instance(ec2, context, given["InstanceId"])
        return "", instance.id, instance.address
    raise missing("instanceId or networkInterfaceId")


async def associate_address(ec2: Ec2, context: Context, given: Input) -> Output:
    """Moves an address that is associated elsewhere, unless AllowReassociation is false; an
    interface or instance has one address."""
    id = ec2.new_id("eipassoc")

    def decide() -> Decision[str]:
        entry = _named(ec2, context, given)
        one = entry.value
        interface, instance, private = _at(ec2, context, given)
        if one.association and (one.interface, one.instance) == (interface, instance):
            return Decision(one.association)
        others = [
            other
            for other in ec2.entries(context, ADDRESS)
            if other.value.association and other.value.private_address == private
            and (other.value.interface, other.value.instance) == (interface, instance)
        ]  # fmt: skip
        if given.get("AllowReassociation") is False and (one.association or others):
            taken = one if one.association else others[0].value
            raise AwsError(
                "Resource.AlreadyAssociated",
                f"resource {taken.id} is already associated with associate-id {taken.association}",
            )
        made = msgspec.structs.replace(
            one, association=id, interface=interface, instance=instance, private_address=private
        )
        pairs = [change(entry, made), *(change(other, freed(other.value)) for other in others)]
        return Decision(id, tuple(p for p, _g in pairs), tuple(g for _p, g in pairs))

    return {"AssociationId": await ec2.write(decide)}


def freed(one: ElasticAddress) -> ElasticAddress:
    """An address that is associated with nothing."""
    return msgspec.structs.replace(
        one, association="", interface="", private_address="", instance=""
    )


async def disassociate_address(ec2: Ec2, context: Context, given: Input) -> Output:
    """Refused for a NAT gateway's."""

    def decide() -> Decision[None]:
        entry = _association(ec2, context, given)
        owner = ec2.planner.interface(entry.value.interface)
        if owner is not None and owner.holder:
            message = f"You are not allowed to manage the association of {entry.value.id}."
            raise AwsError("OperationNotPermitted", message)
        put, guard = change(entry, freed(entry.value))
        return Decision(None, (put,), (guard,))

    await ec2.write(decide)
    return {}


def _association(ec2: Ec2, context: Context, given: Input) -> Entry[ElasticAddress]:
    wanted = given.get("AssociationId")
    if not wanted:
        entry = _named(ec2, context, {"PublicIp": given.get("PublicIp")})
        if entry.value.association:
            return entry
        wanted = ""
    for entry in ec2.entries(context, ADDRESS):
        if wanted and entry.value.association == wanted:
            return entry
    message = f"The association ID '{wanted}' does not exist"
    raise AwsError("InvalidAssociationID.NotFound", message)


OPERATIONS = {
    "AllocateAddress": allocate_address,
    "ReleaseAddress": release_address,
    "DescribeAddresses": describe_addresses,
    "DescribeAddressesAttribute": describe_addresses_attribute,
    "AssociateAddress": associate_address,
    "DisassociateAddress": disassociate_address,
}
