"""VPC endpoints and the prefix lists that gateway endpoints route to: stored and shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import orjson

from proa.aws.ec2 import shown_edges as shown
from proa.aws.ec2.base import (
    Decision,
    Ec2,
    Kind,
    change,
    creation,
    invalid,
    removal,
    specified_tags,
)
from proa.aws.ec2.kinds import ENDPOINT, GROUP, ROUTES, SUBNET, VPC
from proa.aws.ec2.select import Fields, described, matching, page
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.cloud.network import Route
from proa.cloud.network.bootstrap import stable_id, zone_names
from proa.cloud.network.edges import VpcEndpoint
from proa.store.api import Guard, Put

GATEWAYS = ("s3", "dynamodb")
SERVICES = (
    "autoscaling", "cloudformation", "dynamodb", "ec2", "ec2messages", "ecr.api", "ecr.dkr", "ecs",
    "ecs-agent", "ecs-telemetry", "eks", "eks-auth", "elasticloadbalancing", "events", "kms",
    "lambda", "logs", "monitoring", "s3", "secretsmanager", "sns", "sqs", "ssm", "ssmmessages",
    "sts",
)  # fmt: skip
FULL_ACCESS = orjson.dumps(
    {"Version": "2008-10-17", "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}]}
).decode()  # fmt: skip
Pairs = list[tuple[Put, Guard]]

_FIELDS: Fields[VpcEndpoint] = {
    "vpc-endpoint-id": lambda one: (one.id,),
    "vpc-id": lambda one: (one.vpc,),
    "service-name": lambda one: (one.service,),
    "vpc-endpoint-type": lambda one: (one.type,),
    "vpc-endpoint-state": lambda _one: ("available",),
}


def service_name(region: str, short: str) -> str:
    """How an endpoint's service is called."""
    return f"com.amazonaws.{region}.{short}"


def prefix_list(region: str, short: str) -> str:
    """The id of the prefix list of a gateway endpoint's service."""
    return f"pl-{stable_id('pl', region, short)[-8:]}"


def _checked(ec2: Ec2, context: Context, one: VpcEndpoint) -> None:
    """Everything an endpoint names is there, and in its VPC."""
    ec2.entry(context, VPC, one.vpc)
    named: tuple[tuple[Kind[Any], tuple[str, ...]], ...] = (
        (ROUTES, one.route_tables),
        (SUBNET, one.subnets),
        (GROUP, one.groups),
    )
    for kind, ids in named:
        for id in ids:
            if ec2.entry(context, kind, id).value.vpc != one.vpc:
                raise invalid(id, kind.name, f"It does not belong to VPC {one.vpc}.")


def _routes(
    ec2: Ec2, context: Context, one: VpcEndpoint, added: Iterable[str], gone: Iterable[str]
) -> Pairs:
    """The route tables that lead to a gateway endpoint from now on, and those that do not."""
    if one.type != "Gateway":
        return []
    destination = prefix_list(one.region, one.service.rpartition(".")[2])
    pairs: Pairs = []
    for id in dict.fromkeys((*added, *gone)):
        entry = ec2.entry(context, ROUTES, id)
        kept = [route for route in entry.value.routes if route.gateway != one.id]
        if id in added:
            if any(route.destination == destination for route in kept):
                message = f"route table {id} already has a route with destination-prefix-list-id "
                raise AwsError("RouteAlreadyExists", message + destination)
            kept.append(Route(destination, one.id))
        pairs.append(change(entry, msgspec.structs.replace(entry.value, routes=tuple(kept))))
    return pairs


def _decided(result: VpcEndpoint, pairs: Pairs) -> Decision[VpcEndpoint]:
    return Decision(result, tuple(p for p, _g in pairs), tuple(g for _p, g in pairs))


def _shown(ec2: Ec2, context: Context, found: Iterable[VpcEndpoint]) -> list[Output]:
    names = {group.id: group.name for group in ec2.all(context, GROUP)}
    return [shown.endpoint(one, names) for one in found]


def _new(ec2: Ec2, context: Context, given: Input) -> VpcEndpoint:
    region, type = context.region, given.get("VpcEndpointType", "Gateway")
    short = given.get("ServiceName", "").removeprefix(service_name(region, ""))
    if short not in SERVICES:
        message = f"The Vpc Endpoint Service '{given.get('ServiceName')}' does not exist"
        raise AwsError("InvalidServiceName", message)
    if type not in ("Gateway", "Interface"):
        raise invalid(type, "vpcEndpointType", "Only Gateway and Interface are served.")
    if type == "Gateway" and short not in GATEWAYS:
        message = f"Endpoint type (Gateway) does not match available service types for {short}."
        raise AwsError("InvalidParameter", message)
    groups = tuple(given.get("SecurityGroupIds") or ())
    default = ec2.planner.default_group(given["VpcId"])
    if type == "Interface" and not groups and default is not None:
        groups = (default.id,)
    return VpcEndpoint(
        ec2.new_id("vpce"), context.account, region, given["VpcId"], given["ServiceName"], type,
        context.now, given.get("PolicyDocument") or FULL_ACCESS,
        tuple(given.get("RouteTableIds") or ()), tuple(given.get("SubnetIds") or ()), groups,
        bool(given.get("PrivateDnsEnabled", type == "Interface")),
        specified_tags(given, "vpc-endpoint"),
    )  # fmt: skip


async def create_vpc_endpoint(ec2: Ec2, context: Context, given: Input) -> Output:
    made = _new(ec2, context, given)

    def decide() -> Decision[VpcEndpoint]:
        _checked(ec2, context, made)
        pairs = [creation(made, ENDPOINT.name)]
        return _decided(made, [*pairs, *_routes(ec2, context, made, made.route_tables, ())])

    await ec2.write(decide)
    [answer] = _shown(ec2, context, [made])
    return {"VpcEndpoint": answer, "ClientToken": given.get("ClientToken")}


async def describe_vpc_endpoints(ec2: Ec2, context: Context, given: Input) -> Output:
    ids = given.get("VpcEndpointIds")
    found, more = described(ec2, context, ENDPOINT, given, ids, _FIELDS)
    return {"VpcEndpoints": _shown(ec2, context, found), **more}


def _changed(old: Sequence[str], given: Input, noun: str) -> tuple[str, ...]:
    gone = set(given.get(f"Remove{noun}") or ())
    kept = (id for id in old if id not in gone)
    return tuple(dict.fromkeys((*kept, *(given.get(f"Add{noun}") or ()))))


async def modify_vpc_endpoint(ec2: Ec2, context: Context, given: Input) -> Output:
    """Its policy, and what it belongs to."""

    def decide() -> Decision[VpcEndpoint]:
        entry = ec2.entry(context, ENDPOINT, given["VpcEndpointId"])
        old = entry.value
        policy = FULL_ACCESS if given.get("ResetPolicy") else given.get("PolicyDocument")
        new = msgspec.structs.replace(
            old, policy=policy or old.policy,
            route_tables=_changed(old.route_tables, given, "RouteTableIds"),
            subnets=_changed(old.subnets, given, "SubnetIds"),
            groups=_changed(old.groups, given, "SecurityGroupIds"),
            private_dns=bool(given.get("PrivateDnsEnabled", old.private_dns)),
        )  # fmt: skip
        _checked(ec2, context, new)
        added = [id for id in new.route_tables if id not in old.route_tables]
        gone = [id for id in old.route_tables if id not in new.route_tables]
        return _decided(new, [change(entry, new), *_routes(ec2, context, new, added, gone)])

    await ec2.write(decide)
    return {"Return": True}


async def delete_vpc_endpoints(ec2: Ec2, context: Context, given: Input) -> Output:
    """With their routes; those that are not there are told."""
    failed = []
    for id in dict.fromkeys(given["VpcEndpointIds"]):

        def decide(id: str = id) -> Decision[None]:
            entry = ec2.entry(context, ENDPOINT, id)
            there = {one.id for one in ec2.all(context, ROUTES)}
            tables = [one for one in entry.value.route_tables if one in there]
            gone = removal([entry])
            pairs = _routes(ec2, context, entry.value, (), tables)
            return Decision(
                None,
                (*gone.writes, *(put for put, _guard in pairs)),
                (*gone.guards, *(guard for _put, guard in pairs)),
            )

        try:
            await ec2.write(decide)
        except AwsError as error:
            why = {"Code": error.code, "Message": error.message}
            failed.append({"ResourceId": id, "Error": why})
    return {"Unsuccessful": failed}


def _service(context: Context, short: str) -> Output:
    types = ["Gateway", "Interface"] if short in GATEWAYS else ["Interface"]
    name = service_name(context.region, short)
    return {
        "ServiceName": name,
        "ServiceId": stable_id("vpce-svc", name),
        "ServiceType": [{"ServiceType": type} for type in types],
        "AvailabilityZones": list(zone_names(context.region)),
        "Owner": "amazon",
        "BaseEndpointDnsNames": [f"{short}.{context.region}.vpce.amazonaws.com"],
        "VpcEndpointPolicySupported": True,
        "AcceptanceRequired": False,
        "ManagesVpcEndpoints": False,
        "Tags": [],
    }


_SERVICE_FIELDS: Fields[Output] = {
    "service-name": lambda one: (one["ServiceName"],),
    "service-type": lambda one: tuple(type["ServiceType"] for type in one["ServiceType"]),
    "owner": lambda _one: ("amazon",),
}


async def describe_vpc_endpoint_services(_ec2: Ec2, context: Context, given: Input) -> Output:
    known = {service_name(context.region, short): short for short in SERVICES}
    for name in given.get("ServiceNames") or ():
        if name not in known:
            message = f"The Vpc Endpoint Service '{name}' does not exist"
            raise AwsError("InvalidServiceName", message)
    names = sorted(given.get("ServiceNames") or known)
    listed = [_service(context, known[name]) for name in names]
    kept = matching(listed, given, _SERVICE_FIELDS, lambda _one: ())
    found, more = page(kept, given, lambda one: str(one["ServiceName"]))
    return {
        "ServiceNames": [one["ServiceName"] for one in found], "ServiceDetails": found, **more
    }  # fmt: skip


_LIST_FIELDS: Fields[tuple[str, str]] = {
    "prefix-list-id": lambda one: (one[0],),
    "prefix-list-name": lambda one: (one[1],),
    "owner-id": lambda _one: ("AWS",),
}


def _lists(context: Context, given: Input) -> tuple[list[tuple[str, str]], dict[str, str]]:
    region = context.region
    known = sorted((prefix_list(region, s), service_name(region, s)) for s in GATEWAYS)
    ids = given.get("PrefixListIds")
    for id in ids or ():
        if id not in dict(known):
            message = f"The prefix list ID '{id}' does not exist"
            raise AwsError("InvalidPrefixListID.NotFound", message)
    chosen = [one for one in known if not ids or one[0] in ids]
    kept = matching(chosen, given, _LIST_FIELDS, lambda _one: ())
    return page(kept, given, lambda one: one[0])


async def describe_prefix_lists(_ec2: Ec2, context: Context, given: Input) -> Output:
    """Without ranges: nothing is routed to them."""
    found, more = _lists(context, given)
    lists = [{"PrefixListId": id, "PrefixListName": name, "Cidrs": []} for id, name in found]
    return {"PrefixLists": lists, **more}


async def describe_managed_prefix_lists(_ec2: Ec2, context: Context, given: Input) -> Output:
    found, more = _lists(context, given)
    lists = [
        {"PrefixListId": id, "PrefixListName": name, "AddressFamily": "IPv4", "OwnerId": "AWS",
         "State": "create-complete", "Tags": [],
         "PrefixListArn": f"arn:aws:ec2:{context.region}:aws:prefix-list/{id}"}
        for id, name in found
    ]  # fmt: skip
    return {"PrefixLists": lists, **more}


OPERATIONS = {
    "CreateVpcEndpoint": create_vpc_endpoint,
    "DescribeVpcEndpoints": describe_vpc_endpoints,
    "ModifyVpcEndpoint": modify_vpc_endpoint,
    "DeleteVpcEndpoints": delete_vpc_endpoints,
    "DescribeVpcEndpointServices": describe_vpc_endpoint_services,
    "DescribePrefixLists": describe_prefix_lists,
    "DescribeManagedPrefixLists": describe_managed_prefix_lists,
}
