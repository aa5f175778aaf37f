"""Route tables: their routes, and which subnets they serve.

Source: VPC guide, "Configure route tables"; EC2 API reference. A subnet that no table names is
served by its VPC's main one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Network
from typing import Any

import msgspec

from proa.aws.ec2 import shown
from proa.aws.ec2.base import (
    Decision,
    Ec2,
    Kind,
    change,
    creation,
    invalid,
    missing,
    removal,
    specified_tags,
)
from proa.aws.ec2.kinds import ENDPOINT, GATEWAY, INTERFACE, NAT, ROUTES, SUBNET, VPC
from proa.aws.ec2.ranges import parse_range
from proa.aws.ec2.select import Fields, described, flag
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.cloud.network import Route, RouteTable
from proa.reconcile.view import Entry

MAX_ROUTES = 500
_TARGETS: dict[str, Kind[Any]] = {
    "GatewayId": GATEWAY, "NatGatewayId": NAT, "NetworkInterfaceId": INTERFACE,
    "VpcEndpointId": ENDPOINT,
}  # fmt: skip
_ELSEWHERE = (
    "InstanceId", "TransitGatewayId", "LocalGatewayId", "CarrierGatewayId",
    "VpcPeeringConnectionId", "CoreNetworkArn", "EgressOnlyInternetGatewayId",
)  # fmt: skip


def _targets(one: RouteTable, *prefixes: str) -> tuple[str, ...]:
    return tuple(r.gateway for r in one.routes if r.gateway.startswith(prefixes))


_FIELDS: Fields[RouteTable] = {
    "vpc-id": lambda one: (one.vpc,),
    "route-table-id": lambda one: (one.id,),
    "association.main": lambda one: (
        *(flag(True) if one.main_association else ()),
        *(flag(False) if one.associations or not one.main_association else ()),
    ),
    "association.route-table-id": lambda one: (one.id,),
    "association.route-table-association-id": lambda one: (
        one.main_association,
        *(id for id, _subnet in one.associations),
    ),
    "association.subnet-id": lambda one: tuple(subnet for _id, subnet in one.associations),
    "association.gateway-id": lambda _one: (),
    "route.destination-cidr-block": lambda one: tuple(
        r.destination for r in one.routes if not r.destination.startswith("pl-")
    ),
    "route.destination-prefix-list-id": lambda one: tuple(
        r.destination for r in one.routes if r.destination.startswith("pl-")
    ),
    "route.gateway-id": lambda one: _targets(one, "igw-", "local", "vpce-"),
    "route.nat-gateway-id": lambda one: _targets(one, "nat-"),
    "route.origin": lambda one: tuple(route.origin for route in one.routes),
    "route.state": lambda one: ("active",) if one.routes else (),
    "route.vpc-peering-connection-id": lambda _one: (),
    "route.transit-gateway-id": lambda _one: (),
    "route.instance-id": lambda _one: (),
}


def _leads_somewhere(ec2: Ec2, context: Context) -> Callable[[str], bool]:
    """Whether what a route names is still there; else it is a black hole."""

    def there(target: str) -> bool:
        if target == "local":
            return True
        kind = next(k for k in _TARGETS.values() if target.startswith(k.prefix + "-"))
        return any(one.id == target for one in ec2.all(context, kind))

    return there


async def describe_route_tables(ec2: Ec2, context: Context, given: Input) -> Output:
    ids = given.get("RouteTableIds")
    found, more = described(ec2, context, ROUTES, given, ids, _FIELDS)
    there = _leads_somewhere(ec2, context)
    return {"RouteTables": [shown.route_table(one, there) for one in found], **more}


async def create_route_table(ec2: Ec2, context: Context, given: Input) -> Output:
    """With the VPC's own range as its first route."""
    id, tags = ec2.new_id("rtb"), specified_tags(given, "route-table")

    def decide() -> Decision[RouteTable]:
        touched = ec2.touch_vpc(context, given["VpcId"], VPC)
        vpc = touched.result.value
        local = Route(vpc.cidr, "local", "CreateRouteTable")
        table = RouteTable(id, vpc.account, vpc.region, vpc.id, routes=(local,), tags=tags)
        put, guard = creation(table, ROUTES.name)
        return Decision(table, (*touched.writes, put), (*touched.guards, guard))

    table = await ec2.write(decide)
    there = _leads_somewhere(ec2, context)
    return {"RouteTable": shown.route_table(table, there), "ClientToken": given.get("ClientToken")}


async def delete_route_table(ec2: Ec2, context: Context, given: Input) -> Output:
    """Refused while it serves a subnet, or is the main one."""

    def decide() -> Decision[None]:
        entry = ec2.entry(context, ROUTES, given["RouteTableId"])
        table = entry.value
        if table.main_association or table.associations:
            raise AwsError(
                "DependencyViolation",
                f"The routeTable '{table.id}' has dependencies and cannot be deleted.",
            )
        return removal([entry])

    await ec2.write(decide)
    return {"Return": True}


def _destination(given: Input) -> str:
    named = [given[n] for n in ("DestinationCidrBlock", "DestinationPrefixListId") if given.get(n)]
    if given.get("DestinationIpv6CidrBlock"):
        raise invalid(given["DestinationIpv6CidrBlock"], "destinationIpv6CidrBlock",
                      "Proa routes IPv4 only.")  # fmt: skip
    if not named:
        raise missing("destinationCidrBlock")
    if len(named) > 1:
        raise AwsError("InvalidParameterCombination", "Only one destination may be given.")
    if named[0].startswith("pl-"):
        return str(named[0])
    return str(parse_range(named[0], 0, 32, "InvalidParameterValue", "destinationCidrBlock"))


def _target(ec2: Ec2, context: Context, given: Input, table: RouteTable) -> str:
    """The one thing that a route leads to; it must be there, and in the table's VPC."""
    elsewhere = [name for name in _ELSEWHERE if given.get(name)]
    if elsewhere:
        raise invalid(given[elsewhere[0]], elsewhere[0], "Proa has no such targets of routes.")
    named = [(name, given[name]) for name in _TARGETS if given.get(name)]
    if given.get("LocalTarget"):
        named.append(("LocalTarget", "local"))
    if len(named) != 1:
        code = "InvalidParameterCombination" if named else "MissingParameter"
        raise AwsError(code, "The request must contain exactly one target of the route.")
    name, id = named[0]
    if id == "local":
        return "local"
    if name == "GatewayId" and id.startswith("vpce-"):
        name = "VpcEndpointId"
    vpc = ec2.entry(context, _TARGETS[name], id).value.vpc
    if vpc != table.vpc:
        raise AwsError(
            "InvalidParameterValue",
            f"route table {table.id} and network gateway {id} belong to different networks",
        )
    return str(id)


async def _reroute(
    ec2: Ec2, context: Context, given: Input, routes: Callable[[RouteTable], tuple[Route, ...]]
) -> None:
    def decide() -> Decision[None]:
        entry = ec2.entry(context, ROUTES, given["RouteTableId"])
        changed = msgspec.structs.replace(entry.value, routes=routes(entry.value))
        put, guard = change(entry, changed)
        return Decision(None, (put,), (guard,))

    await ec2.write(decide)


async def create_route(ec2: Ec2, context: Context, given: Input) -> Output:
    """Refused for a destination that has a route, or that is narrower than the VPC's range."""
    destination = _destination(given)

    def routes(table: RouteTable) -> tuple[Route, ...]:
        target = _target(ec2, context, given, table)
        if any(route.destination == destination for route in table.routes):
            message = f"The route identified by {destination} already exists."
            raise AwsError("RouteAlreadyExists", message)
        local = IPv4Network(table.routes[0].destination)
        if not destination.startswith("pl-") and IPv4Network(destination).subnet_of(local):
            raise AwsError(
                "InvalidParameterValue",
                f"The destination CIDR block {destination} is equal to or more specific than one "
                "of this VPC's CIDR blocks. This route can target only an interface or an "
                "instance.",
            )
        if len(table.routes) >= MAX_ROUTES:
            raise AwsError("RouteLimitExceeded", f"A table has at most {MAX_ROUTES} routes.")
        return (*table.routes, Route(destination, target))

    await _reroute(ec2, context, given, routes)
    return {"Return": True}


async def replace_route(ec2: Ec2, context: Context, given: Input) -> Output:
    destination = _destination(given)

    def routes(table: RouteTable) -> tuple[Route, ...]:
        target = _target(ec2, context, given, table)
        if not any(route.destination == destination for route in table.routes):
            raise AwsError(
                "InvalidParameterValue",
                f"There is no route defined for '{destination}' in the route table. Use "
                "CreateRoute instead.",
            )
        return tuple(
            msgspec.structs.replace(one, gateway=target) if one.destination == destination else one
            for one in table.routes
        )

    await _reroute(ec2, context, given, routes)
    return {}


async def delete_route(ec2: Ec2, context: Context, given: Input) -> Output:
    destination = _destination(given)

    def routes(table: RouteTable) -> tuple[Route, ...]:
        found = [route for route in table.routes if route.destination == destination]
        if not found:
            raise AwsError(
                "InvalidRoute.NotFound",
                f"no route with destination-cidr-block {destination} in route table {table.id}",
            )
        if found[0].gateway == "local":
            message = f"cannot remove local route {destination} in route table {table.id}"
            raise AwsError("InvalidParameterValue", message)
        return tuple(route for route in table.routes if route not in found)

    await _reroute(ec2, context, given, routes)
    return {}


def tables_of(ec2: Ec2, context: Context, vpc: str) -> Iterator[Entry[RouteTable]]:
    """The route tables of a VPC."""
    return (entry for entry in ec2.entries(context, ROUTES) if entry.value.vpc == vpc)


async def associate_route_table(ec2: Ec2, context: Context, given: Input) -> Output:
    """A subnet has one table; the same association again is the one that is there."""
    if given.get("GatewayId"):
        raise invalid(given["GatewayId"], "gatewayId", "Only subnets can be associated.")
    if not given.get("SubnetId"):
        raise missing("subnetId")
    id = ec2.new_id("rtbassoc")

    def decide() -> Decision[str]:
        entry = ec2.entry(context, ROUTES, given["RouteTableId"])
        subnet = ec2.entry(context, SUBNET, given["SubnetId"]).value
        table = entry.value
        if subnet.vpc != table.vpc:
            message = f"route table {table.id} and subnet {subnet.id} belong to different networks"
            raise AwsError("InvalidParameterValue", message)
        for other in tables_of(ec2, context, table.vpc):
            for known, served in other.value.associations:
                if served == subnet.id and other.value.id == table.id:
                    return Decision(known)
                if served == subnet.id:
                    raise AwsError(
                        "Resource.AlreadyAssociated",
                        f"the specified association for route table {table.id} conflicts with an "
                        "existing association",
                    )
        touched = ec2.touch_vpc(context, table.vpc, VPC)
        added = (*table.associations, (id, subnet.id))
        put, guard = change(entry, msgspec.structs.replace(table, associations=added))
        return Decision(id, (*touched.writes, put), (*touched.guards, guard))

    return {"AssociationId": await ec2.write(decide), "AssociationState": {"State": "associated"}}


def _associated(ec2: Ec2, context: Context, id: str) -> Entry[RouteTable]:
    """The table that holds an association."""
    for entry in ec2.entries(context, ROUTES):
        table = entry.value
        if id == table.main_association or id in dict(table.associations):
            return entry
    message = f"The association ID '{id}' does not exist"
    raise AwsError("InvalidAssociationID.NotFound", message)


async def disassociate_route_table(ec2: Ec2, context: Context, given: Input) -> Output:
    id = given["AssociationId"]

    def decide() -> Decision[None]:
        entry = _associated(ec2, context, id)
        if entry.value.main_association == id:
            message = f"cannot disassociate the main route table association {id}"
            raise AwsError("InvalidParameterValue", message)
        kept = tuple(pair for pair in entry.value.associations if pair[0] != id)
        put, guard = change(entry, msgspec.structs.replace(entry.value, associations=kept))
        return Decision(None, (put,), (guard,))

    await ec2.write(decide)
    return {}


async def replace_route_table_association(ec2: Ec2, context: Context, given: Input) -> Output:
    """Give a subnet, or with a main association the VPC, another table."""
    old, id = given["AssociationId"], ec2.new_id("rtbassoc")

    def decide() -> Decision[str]:
        source = _associated(ec2, context, old)
        target = ec2.entry(context, ROUTES, given["RouteTableId"])
        before, after = source.value, target.value
        if before.vpc != after.vpc:
            message = f"route tables {before.id} and {after.id} belong to different networks"
            raise AwsError("InvalidParameterValue", message)
        if before.id == after.id:
            return Decision(old)
        if before.main_association == old:
            left = msgspec.structs.replace(before, main_association="")
            joined = msgspec.structs.replace(after, main_association=id)
        else:
            subnet = dict(before.associations)[old]
            kept = tuple(pair for pair in before.associations if pair[0] != old)
            left = msgspec.structs.replace(before, associations=kept)
            added = (*after.associations, (id, subnet))
            joined = msgspec.structs.replace(after, associations=added)
        pairs = [change(source, left), change(target, joined)]
        return Decision(id, tuple(p for p, _g in pairs), tuple(g for _p, g in pairs))

    made = await ec2.write(decide)
    return {"NewAssociationId": made, "AssociationState": {"State": "associated"}}


OPERATIONS = {
    "DescribeRouteTables": describe_route_tables,
    "CreateRouteTable": create_route_table,
    "DeleteRouteTable": delete_route_table,
    "CreateRoute": create_route,
    "ReplaceRoute": replace_route,
    "DeleteRoute": delete_route,
    "AssociateRouteTable": associate_route_table,
    "DisassociateRouteTable": disassociate_route_table,
    "ReplaceRouteTableAssociation": replace_route_table_association,
}
