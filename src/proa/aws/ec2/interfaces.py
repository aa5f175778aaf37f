"""Network interfaces: of tasks and gateways, which their owners keep, and of a user's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address

import msgspec

from proa.aws.ec2 import shown
from proa.aws.ec2.addresses import freed
from proa.aws.ec2.base import Decision, Ec2, change, invalid, specified_tags
from proa.aws.ec2.kinds import ADDRESS, GROUP, INTERFACE
from proa.aws.ec2.places import own_instance
from proa.aws.ec2.select import Fields, described, flag
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.cloud.compute import private_name
from proa.cloud.network import (
    AddressInUse,
    AddressOutside,
    Interface,
    InterfacePlan,
    NoFreeAddresses,
    UnknownSecurityGroup,
    UnknownSubnet,
    WrongVpc,
)
from proa.cloud.network.edges import ELASTIC_ADDRESSES, ElasticAddress
from proa.cloud.network.records import encode
from proa.reconcile.view import Entry
from proa.store.api import Put

MAX_GROUPS = 5  # of one interface (VPC quotas)


def _fields(ec2: Ec2, names: dict[str, str]) -> Fields[Interface]:
    def public(one: Interface) -> Iterator[ElasticAddress]:
        return (e.value for e in ec2.view.rows(ELASTIC_ADDRESSES).by("interface", one.id))

    return {
        "network-interface-id": lambda one: (one.id,),
        "vpc-id": lambda one: (one.vpc,),
        "subnet-id": lambda one: (one.subnet,),
        "availability-zone": lambda one: (one.zone,),
        "group-id": lambda one: one.groups,
        "group-name": lambda one: tuple(names.get(group, "") for group in one.groups),
        "private-ip-address": lambda one: (one.address,),
        "addresses.private-ip-address": lambda one: (one.address,),
        "addresses.primary": lambda _one: flag(True),
        "private-dns-name": lambda one: (private_name(one.address, one.region),),
        "mac-address": lambda one: (one.mac,),
        "description": lambda one: (one.description,),
        "interface-type": lambda one: (one.kind,),
        "requester-managed": lambda one: flag(bool(one.holder)),
        "requester-id": lambda one: (one.account,) if one.holder else (),
        "source-dest-check": lambda one: flag(one.source_dest_check),
        "status": lambda one: ("in-use" if one.attachment else "available",),
        "attachment.attachment-id": lambda one: (one.attachment,) if one.attachment else (),
        "attachment.status": lambda one: ("attached",) if one.attachment else (),
        "attachment.instance-id": lambda one: (one.instance,) if one.instance else (),
        "attachment.device-index": lambda one: (str(one.device),) if one.attachment else (),
        "attachment.delete-on-termination": lambda one: (
            flag(one.delete_on_termination) if one.attachment else ()
        ),
        "association.public-ip": lambda one: tuple(a.address for a in public(one)),
        "association.allocation-id": lambda one: tuple(a.id for a in public(one)),
        "association.association-id": lambda one: tuple(a.association for a in public(one)),
    }


def _shown(ec2: Ec2, context: Context, one: Interface) -> Output:
    names = {group.id: group.name for group in ec2.all(context, GROUP)}
    public = ec2.view.rows(ELASTIC_ADDRESSES).by("interface", one.id)
    return shown.interface(one, names, public[0].value if public else None)


async def describe_network_interfaces(ec2: Ec2, context: Context, given: Input) -> Output:
    names = {group.id: group.name for group in ec2.all(context, GROUP)}
    ids = given.get("NetworkInterfaceIds")
    found, more = described(ec2, context, INTERFACE, given, ids, _fields(ec2, names))
    return {"NetworkInterfaces": [_shown(ec2, context, one) for one in found], **more}


def planned(
    ec2: Ec2, context: Context, subnet: str, groups: Sequence[str], description: str, *,
    holder: str = "", address: str = "", kind: str = "interface",
) -> InterfacePlan:  # fmt: skip
    """An interface that is about to be made. Raises EC2's errors."""
    if len(set(groups)) > MAX_GROUPS:
        message = "The maximum number of security groups per interface has been reached."
        raise AwsError("SecurityGroupsPerInterfaceLimitExceeded", message)
    try:
        return ec2.planner.plan_interface(
            account=context.account, region=context.region, subnet_id=subnet, groups=groups,
            holder=holder, description=description, chance=ec2.chance, now=context.now,
            address=address, kind=kind,
        )  # fmt: skip
    except UnknownSubnet as error:
        raise AwsError("InvalidSubnetID.NotFound", str(error)) from error
    except UnknownSecurityGroup as error:
        raise AwsError("InvalidGroup.NotFound", str(error)) from error
    except WrongVpc as error:
        raise AwsError("InvalidParameterValue", str(error)) from error
    except NoFreeAddresses as error:
        raise AwsError("InsufficientFreeAddressesInSubnet", str(error)) from error
    except AddressOutside as error:
        raise AwsError("InvalidParameterValue", str(error)) from error
    except AddressInUse as error:
        raise AwsError("InvalidIPAddress.InUse", str(error)) from error


def _asked_address(given: Input) -> str:
    """The primary address asked for, if any; there are no secondary ones."""
    listed = given.get("PrivateIpAddresses") or ()
    if given.get("SecondaryPrivateIpAddressCount") or any(not one.get("Primary") for one in listed):
        raise invalid("secondary", "privateIpAddresses", "Proa's interfaces have one address.")
    asked = given.get("PrivateIpAddress") or (listed[0]["PrivateIpAddress"] if listed else "")
    try:
        return str(IPv4Address(asked)) if asked else ""
    except ValueError as error:
        raise invalid(asked, "privateIpAddress", "This is not an IPv4 address.") from error


async def create_network_interface(ec2: Ec2, context: Context, given: Input) -> Output:
    if given.get("InterfaceType", "interface") != "interface":
        raise invalid(given["InterfaceType"], "interfaceType", "Only 'interface' is served.")
    tags = specified_tags(given, "network-interface")
    asked, groups = _asked_address(given), given.get("Groups") or ()

    def decide() -> Decision[Interface]:
        description = given.get("Description", "")
        plan = planned(ec2, context, given["SubnetId"], groups, description, address=asked)
        made = msgspec.structs.replace(plan.interface, tags=tags)
        own, *rest = (write for write in reversed(plan.writes))
        return Decision(made, (*rest, Put(own.key, encode(made))), plan.guards)

    made = await ec2.write(decide)
    return {
        "NetworkInterface": {**_shown(ec2, context, made), "Status": "pending"},
        "ClientToken": given.get("ClientToken"),
    }


async def delete_network_interface(ec2: Ec2, context: Context, given: Input) -> Output:
    """Refused while it is attached; an Elastic IP address at it is free again."""

    def decide() -> Decision[None]:
        interface = ec2.entry(context, INTERFACE, given["NetworkInterfaceId"]).value
        if interface.attachment:
            message = f"Network interface '{interface.id}' is currently in use."
            raise AwsError("InvalidParameterValue", message)
        release = ec2.planner.release_interface(interface)
        pairs = [
            change(entry, freed(entry.value))
            for entry in ec2.entries(context, ADDRESS)
            if entry.value.interface == interface.id
        ]
        return Decision(
            None,
            (*release.writes, *(put for put, _guard in pairs)),
            (*release.guards, *(guard for _put, guard in pairs)),
        )

    await ec2.write(decide)
    return {}


async def attach_network_interface(ec2: Ec2, context: Context, given: Input) -> Output:
    """Noted: an Instance's own address is the only one that reaches it."""
    instance = own_instance(ec2, context, given["InstanceId"])
    id, device = f"eni-attach-{ec2.new_id('x')[2:]}", given["DeviceIndex"]
    if not 0 < device < 16:
        raise invalid(device, "deviceIndex", "Attachment points are 1 to 15.")

    def decide() -> Decision[None]:
        entry = ec2.entry(context, INTERFACE, given["NetworkInterfaceId"])
        one = entry.value
        if one.attachment:
            message = f"Network interface '{one.id}' is currently in use."
            raise AwsError("InvalidNetworkInterface.InUse", message)
        if one.zone != instance.zone:
            message = f"You may not attach a network interface in {one.zone} to an instance in "
            raise AwsError("InvalidParameterCombination", message + instance.zone)
        if any(
            (other.instance, other.device) == (instance.id, device)
            for other in ec2.all(context, INTERFACE)
        ):
            message = f"Instance '{instance.id}' already has an interface attached at device index "
            raise AwsError("InvalidParameterValue", f"{message}'{device}'.")
        put, guard = change(
            entry,
            msgspec.structs.replace(
                one, attachment=id, instance=instance.id, device=device, attached_at=context.now
            ),
        )
        return Decision(None, (put,), (guard,))

    await ec2.write(decide)
    return {"AttachmentId": id, "NetworkCardIndex": 0}


def _attached(ec2: Ec2, context: Context, id: str) -> Entry[Interface]:
    for entry in ec2.entries(context, INTERFACE):
        if entry.value.attachment == id:
            if entry.value.holder:
                message = f"You are not allowed to manage '{id}' attachments."
                raise AwsError("OperationNotPermitted", message)
            return entry
    message = f"Attachment '{id}' does not exist."
    raise AwsError("InvalidAttachmentID.NotFound", message)


async def detach_network_interface(ec2: Ec2, context: Context, given: Input) -> Output:
    """Refused for the interfaces of tasks and gateways."""

    def decide() -> Decision[None]:
        entry = _attached(ec2, context, given["AttachmentId"])
        loose = msgspec.structs.replace(
            entry.value, attachment="", instance="", device=1, attached_at=0.0,
            delete_on_termination=False,
        )  # fmt: skip
        put, guard = change(entry, loose)
        return Decision(None, (put,), (guard,))

    await ec2.write(decide)
    return {}


def _modified(ec2: Ec2, context: Context, one: Interface, given: Input) -> Interface:
    """The interface with the attribute that a request changes."""
    if given.get("Groups"):
        plan = planned(ec2, context, one.subnet, given["Groups"], "")  # checks the groups
        return msgspec.structs.replace(one, groups=plan.interface.groups)
    if given.get("Description") is not None:
        text = given["Description"].get("Value", "")
        return msgspec.structs.replace(one, description=text)
    if given.get("SourceDestCheck") is not None:
        checked = bool(given["SourceDestCheck"].get("Value", True))
        return msgspec.structs.replace(one, source_dest_check=checked)
    attachment = given.get("Attachment")
    if attachment is not None:
        if one.attachment != attachment.get("AttachmentId"):
            message = f"Attachment '{attachment.get('AttachmentId')}' does not exist."
            raise AwsError("InvalidAttachmentID.NotFound", message)
        goes = bool(attachment.get("DeleteOnTermination", False))
        return msgspec.structs.replace(one, delete_on_termination=goes)
    raise AwsError("InvalidParameterCombination", "No attributes specified.")


async def modify_network_interface_attribute(ec2: Ec2, context: Context, given: Input) -> Output:
    """One attribute: description, groups, source check, or what becomes of it."""

    def decide() -> Decision[None]:
        entry = ec2.entry(context, INTERFACE, given["NetworkInterfaceId"])
        put, guard = change(entry, _modified(ec2, context, entry.value, given))
        return Decision(None, (put,), (guard,))

    await ec2.write(decide)
    return {}


async def describe_network_interface_attribute(ec2: Ec2, context: Context, given: Input) -> Output:
    one = ec2.entry(context, INTERFACE, given["NetworkInterfaceId"]).value
    whole = _shown(ec2, context, one)
    answers: dict[str, Output] = {
        "description": {"Description": {"Value": one.description}},
        "groupSet": {"Groups": whole["Groups"]},
        "sourceDestCheck": {"SourceDestCheck": {"Value": one.source_dest_check}},
        "attachment": {"Attachment": whole.get("Attachment")},
    }
    wanted = given.get("Attribute", "")
    if wanted not in answers:
        raise invalid(wanted, "attribute", "Unknown network interface attribute.")
    return {"NetworkInterfaceId": one.id, **answers[wanted]}


OPERATIONS = {
    "DescribeNetworkInterfaces": describe_network_interfaces,
    "CreateNetworkInterface": create_network_interface,
    "DeleteNetworkInterface": delete_network_interface,
    "AttachNetworkInterface": attach_network_interface,
    "DetachNetworkInterface": detach_network_interface,
    "ModifyNetworkInterfaceAttribute": modify_network_interface_attribute,
    "DescribeNetworkInterfaceAttribute": describe_network_interface_attribute,
}
