"""Internet gateways and NAT gateways."""

from __future__ import annotations

import msgspec

from proa.aws.ec2 import shown, shown_edges
from proa.aws.ec2.addresses import freed
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
from proa.aws.ec2.interfaces import planned
from proa.aws.ec2.kinds import ADDRESS, GATEWAY, INTERFACE, NAT, SUBNET, VPC
from proa.aws.ec2.select import Fields, described
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.cloud.network import InternetGateway, network_key
from proa.cloud.network.edges import ElasticAddress, NatGateway
from proa.reconcile.view import Entry

_GATEWAY_FIELDS: Fields[InternetGateway] = {
    "internet-gateway-id": lambda one: (one.id,),
    "attachment.vpc-id": lambda one: (one.vpc,) if one.vpc else (),
    "attachment.state": lambda one: ("available",) if one.vpc else (),
}
_NAT_FIELDS: Fields[NatGateway] = {
    "nat-gateway-id": lambda one: (one.id,),
    "state": lambda _one: ("available",),
    "subnet-id": lambda one: (one.subnet,),
    "vpc-id": lambda one: (one.vpc,),
    "connectivity-type": lambda one: (one.connectivity,),
}


async def describe_internet_gateways(ec2: Ec2, context: Context, given: Input) -> Output:
    ids = given.get("InternetGatewayIds")
    found, more = described(ec2, context, GATEWAY, given, ids, _GATEWAY_FIELDS)
    return {"InternetGateways": [shown.internet_gateway(one) for one in found], **more}


async def create_internet_gateway(ec2: Ec2, context: Context, given: Input) -> Output:
    gateway = InternetGateway(
        ec2.new_id("igw"), context.account, context.region,
        tags=specified_tags(given, "internet-gateway"),
    )  # fmt: skip
    put, guard = creation(gateway, GATEWAY.name)
    await ec2.write(lambda: Decision(None, (put,), (guard,)))
    return {"InternetGateway": shown.internet_gateway(gateway)}


async def delete_internet_gateway(ec2: Ec2, context: Context, given: Input) -> Output:
    """Refused while it is attached."""

    def decide() -> Decision[None]:
        entry = ec2.entry(context, GATEWAY, given["InternetGatewayId"])
        if entry.value.vpc:
            raise AwsError(
                "DependencyViolation",
                f"The internetGateway '{entry.value.id}' has dependencies and cannot be deleted.",
            )
        return removal([entry])

    await ec2.write(decide)
    return {}


async def attach_internet_gateway(ec2: Ec2, context: Context, given: Input) -> Output:
    """A VPC has one, and it has one VPC."""

    def decide() -> Decision[None]:
        entry = ec2.entry(context, GATEWAY, given["InternetGatewayId"])
        touched = ec2.touch_vpc(context, given["VpcId"], VPC)
        if entry.value.vpc:
            message = f"resource {entry.value.id} is already attached to network {entry.value.vpc}"
            raise AwsError("Resource.AlreadyAssociated", message)
        if any(one.vpc == given["VpcId"] for one in ec2.all(context, GATEWAY)):
            message = f"Network {given['VpcId']} already has an internet gateway attached"
            raise AwsError("InvalidParameterValue", message)
        put, guard = change(entry, msgspec.structs.replace(entry.value, vpc=given["VpcId"]))
        return Decision(None, (*touched.writes, put), (*touched.guards, guard))

    await ec2.write(decide)
    return {}


async def detach_internet_gateway(ec2: Ec2, context: Context, given: Input) -> Output:
    """Refused while the VPC has public addresses in use."""

    def decide() -> Decision[None]:
        entry = ec2.entry(context, GATEWAY, given["InternetGatewayId"])
        vpc = ec2.entry(context, VPC, given["VpcId"]).value
        if entry.value.vpc != vpc.id:
            message = f"resource {entry.value.id} is not attached to network {vpc.id}"
            raise AwsError("Gateway.NotAttached", message)
        mapped = {one.interface for one in ec2.all(context, ADDRESS) if one.association}
        if any(one.vpc == vpc.id and one.id in mapped for one in ec2.all(context, INTERFACE)):
            raise AwsError(
                "DependencyViolation",
                f"Network {vpc.id} has some mapped public address(es). Please unmap those public "
                "address(es) before detaching the gateway.",
            )
        put, guard = change(entry, msgspec.structs.replace(entry.value, vpc=""))
        return Decision(None, (put,), (guard,))

    await ec2.write(decide)
    return {}


async def describe_nat_gateways(ec2: Ec2, context: Context, given: Input) -> Output:
    asked = {**given, "Filters": given.get("Filters") or given.get("Filter") or []}
    ids = given.get("NatGatewayIds")
    found, more = described(ec2, context, NAT, asked, ids, _NAT_FIELDS)
    return {"NatGateways": [shown_edges.nat_gateway(one) for one in found], **more}


def _public_address(ec2: Ec2, context: Context, given: Input, vpc: str) -> Entry[ElasticAddress]:
    """The free address of a public gateway in a VPC that has a way out."""
    if not given.get("AllocationId"):
        raise missing("AllocationId")
    entry = ec2.entry(context, ADDRESS, given["AllocationId"])
    if entry.value.association:
        message = f"Elastic IP address [{entry.value.id}] is already associated"
        raise AwsError("Resource.AlreadyAssociated", message)
    if not any(one.vpc == vpc for one in ec2.all(context, GATEWAY)):
        message = f"Network {vpc} has no Internet gateway attached"
        raise AwsError("Gateway.NotAttached", message)
    return entry


async def create_nat_gateway(ec2: Ec2, context: Context, given: Input) -> Output:
    """With an interface of its own; a public one with an Elastic IP address."""
    if not given.get("SubnetId"):
        raise missing("subnetId")
    connectivity = given.get("ConnectivityType", "public")
    if connectivity not in ("public", "private"):
        raise invalid(connectivity, "connectivityType")
    if connectivity == "private" and given.get("AllocationId"):
        message = "An allocation ID can't be given to a private NAT gateway."
        raise AwsError("InvalidParameterCombination", message)
    id, tags = ec2.new_id("nat"), specified_tags(given, "natgateway")
    association = ec2.new_id("eipassoc")
    holder = network_key(context.account, context.region, NAT.name, id)

    def decide() -> Decision[NatGateway]:
        subnet = ec2.entry(context, SUBNET, given["SubnetId"]).value
        plan = planned(
            ec2, context, subnet.id, (), f"Interface for NAT Gateway {id}", holder=holder,
            address=given.get("PrivateIpAddress", ""), kind="nat_gateway",
        )  # fmt: skip
        gateway = NatGateway(
            id, context.account, context.region, subnet.vpc, subnet.id, plan.interface.id,
            plan.interface.address, context.now, connectivity, tags=tags,
        )  # fmt: skip
        pairs = []
        if connectivity == "public":
            entry = _public_address(ec2, context, given, subnet.vpc)
            gateway = msgspec.structs.replace(
                gateway, allocation=entry.value.id, public_address=entry.value.address,
                association=association,
            )  # fmt: skip
            taken = msgspec.structs.replace(
                entry.value, association=association, interface=plan.interface.id,
                private_address=plan.interface.address,
            )  # fmt: skip
            pairs.append(change(entry, taken))
        pairs.append(creation(gateway, NAT.name))
        return Decision(
            gateway,
            (*plan.writes, *(put for put, _guard in pairs)),
            (*plan.guards, *(guard for _put, guard in pairs)),
        )

    gateway = await ec2.write(decide)
    return {
        "NatGateway": {**shown_edges.nat_gateway(gateway), "State": "pending"},
        "ClientToken": given.get("ClientToken"),
    }


async def delete_nat_gateway(ec2: Ec2, context: Context, given: Input) -> Output:
    """With its interface; its Elastic IP address is free again, and is not shown any more."""

    def decide() -> Decision[None]:
        entry = ec2.entry(context, NAT, given["NatGatewayId"])
        gone = removal([entry])
        interface = ec2.planner.interface(entry.value.interface)
        assert interface is not None, f"{entry.value.id} has lost its interface"
        release = ec2.planner.release_interface(interface)
        writes, guards = (*gone.writes, *release.writes), (*gone.guards, *release.guards)
        for address in ec2.entries(context, ADDRESS):
            if address.value.interface == interface.id:
                put, guard = change(address, freed(address.value))
                writes, guards = (*writes, put), (*guards, guard)
        return Decision(None, writes, guards)

    await ec2.write(decide)
    return {"NatGatewayId": given["NatGatewayId"]}


OPERATIONS = {
    "DescribeInternetGateways": describe_internet_gateways,
    "CreateInternetGateway": create_internet_gateway,
    "DeleteInternetGateway": delete_internet_gateway,
    "AttachInternetGateway": attach_internet_gateway,
    "DetachInternetGateway": detach_internet_gateway,
    "DescribeNatGateways": describe_nat_gateways,
    "CreateNatGateway": create_nat_gateway,
    "DeleteNatGateway": delete_nat_gateway,
}
