"""Regions, zones, the account's limits, and the hull's Instances as EC2 shows them."""

from __future__ import annotations

from functools import cache
from importlib import resources

import orjson

from proa.aws.ec2 import shown
from proa.aws.ec2.base import Ec2
from proa.aws.ec2.select import Fields, matching, page
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.cloud.compute import INSTANCES
from proa.cloud.network.bootstrap import zone_id, zone_names
from proa.model.host import Instance

_ZONE_FIELDS: Fields[str] = {
    "zone-name": lambda zone: (zone,),
    "zone-id": lambda zone: (zone_id(zone),),
    "region-name": lambda zone: (zone[:-1],),
    "state": lambda _zone: ("available",),
    "zone-type": lambda _zone: ("availability-zone",),
    "opt-in-status": lambda _zone: ("opt-in-not-required",),
    "group-name": lambda zone: (zone[:-1],),
}
_REGION_FIELDS: Fields[str] = {
    "region-name": lambda region: (region,),
    "endpoint": lambda region: (f"ec2.{region}.amazonaws.com",),
    "opt-in-status": lambda _region: ("opt-in-not-required",),
}


def _zone(context: Context, name: str) -> dict[str, object]:
    return {
        "ZoneName": name,
        "ZoneId": zone_id(name),
        "ZoneType": "availability-zone",
        "RegionName": context.region,
        "GroupName": context.region,
        "NetworkBorderGroup": context.region,
        "OptInStatus": "opt-in-not-required",
        "State": "available",
        "Messages": [],
    }


async def describe_availability_zones(_ec2: Ec2, context: Context, given: Input) -> Output:
    zones = list(zone_names(context.region))
    wanted_names, wanted_ids = given.get("ZoneNames") or (), given.get("ZoneIds") or ()
    for wanted, known in (
        (wanted_names, set(zones)),
        (wanted_ids, {zone_id(zone) for zone in zones}),
    ):
        unknown = [one for one in wanted if one not in known]
        if unknown:
            message = f"Invalid availability zone: [{', '.join(unknown)}]"
            raise AwsError("InvalidParameterValue", message)
    if wanted_names or wanted_ids:
        zones = [one for one in zones if one in wanted_names or zone_id(one) in wanted_ids]
    kept = matching(zones, given, _ZONE_FIELDS, lambda _zone: ())
    return {"AvailabilityZones": [_zone(context, name) for name in kept]}


@cache
def _known_regions() -> tuple[str, ...]:
    """The regions of AWS's public partition, as botocore lists them."""
    endpoints = orjson.loads((resources.files("botocore") / "data" / "endpoints.json").read_bytes())
    public = next(one for one in endpoints["partitions"] if one["partition"] == "aws")
    known = public["services"]["ec2"]["endpoints"]
    return tuple(name for name in sorted(known) if name in public["regions"])


async def describe_regions(_ec2: Ec2, context: Context, given: Input) -> Output:
    known = tuple(dict.fromkeys((*_known_regions(), context.region)))
    wanted = given.get("RegionNames")
    if wanted:
        unknown = [name for name in wanted if name not in known]
        if unknown:
            message = f"Invalid region names: [{', '.join(unknown)}]"
            raise AwsError("InvalidParameterValue", message)
    kept = matching(wanted or sorted(known), given, _REGION_FIELDS, lambda _region: ())
    regions = [
        {
            "RegionName": name,
            "Endpoint": f"ec2.{name}.amazonaws.com",
            "OptInStatus": "opt-in-not-required",
        }
        for name in kept
    ]
    return {"Regions": regions}


async def describe_account_attributes(ec2: Ec2, context: Context, given: Input) -> Output:
    default = ec2.planner.default_vpc(context.account, context.region)
    attributes = {
        "supported-platforms": "VPC",
        "default-vpc": default.id if default else "none",
        "max-instances": "20",
        "vpc-max-security-groups-per-interface": "5",
        "max-elastic-ips": "5",
        "vpc-max-elastic-ips": "5",
    }
    wanted = given.get("AttributeNames") or list(attributes)
    unknown = [name for name in wanted if name not in attributes]
    if unknown:
        message = f"Invalid attribute name: {unknown[0]}"
        raise AwsError("InvalidParameterValue", message)
    return {
        "AccountAttributes": [
            {"AttributeName": name, "AttributeValues": [{"AttributeValue": attributes[name]}]}
            for name in wanted
        ]
    }


def _is_ours(ec2: Ec2, context: Context, one: Instance) -> bool:
    """Whether an Instance is an EC2 instance of the caller's: Fargate's are nobody's."""
    if one.purchase == "fargate":
        return False
    subnet = ec2.planner.subnet(one.subnet)
    if subnet is not None:
        return (subnet.account, subnet.region) == (context.account, context.region)
    return one.cluster.startswith(f"/aws/{context.account}/{context.region}/")


def _vpc_of(ec2: Ec2, one: Instance) -> str:
    subnet = ec2.planner.subnet(one.subnet)
    return subnet.vpc if subnet else ""


def own_instances(ec2: Ec2, context: Context) -> list[Instance]:
    """The caller's Instances, by id."""
    rows = ec2.view.rows(INSTANCES)
    mine = (entry.value for entry in rows.scan() if _is_ours(ec2, context, entry.value))
    return sorted(mine, key=lambda one: one.id)


def own_instance(ec2: Ec2, context: Context, id: str) -> Instance:
    """One of the caller's; raises InvalidInstanceID.NotFound."""
    for one in own_instances(ec2, context):
        if one.id == id:
            return one
    raise AwsError("InvalidInstanceID.NotFound", f"The instance ID '{id}' does not exist")


async def describe_instances(ec2: Ec2, context: Context, given: Input) -> Output:
    """One reservation for each Instance."""
    mine = own_instances(ec2, context)
    ids = given.get("InstanceIds")
    if ids:
        have = {one.id: one for one in mine}
        unknown = [id for id in ids if id not in have]
        if unknown:
            message = (
                f"The instance ID '{unknown[0]}' does not exist"
                if len(unknown) == 1
                else f"The instance IDs '{', '.join(unknown)}' do not exist"
            )
            raise AwsError("InvalidInstanceID.NotFound", message)
        mine = [have[id] for id in dict.fromkeys(ids)]
    fields: Fields[Instance] = {
        "instance-id": lambda one: (one.id,),
        "instance-state-name": lambda _one: ("running",),
        "instance-state-code": lambda _one: ("16",),
        "instance-type": lambda one: (one.type,),
        "instance-lifecycle": lambda one: ("spot",) if one.purchase == "spot" else (),
        "availability-zone": lambda one: (one.zone,),
        "subnet-id": lambda one: (one.subnet,),
        "vpc-id": lambda one: (_vpc_of(ec2, one),),
        "private-ip-address": lambda one: (one.address,),
        "private-dns-name": lambda one: (one.name,),
    }
    found, more = page(matching(mine, given, fields, lambda _one: ()), given, lambda one: one.id)
    reservations = [
        {
            "ReservationId": f"r-{one.id[2:]}",
            "OwnerId": context.account,
            "Groups": [],
            "Instances": [shown.instance(one, _vpc_of(ec2, one), context.region)],
        }
        for one in found
    ]
    return {"Reservations": reservations, **more}


OPERATIONS = {
    "DescribeAvailabilityZones": describe_availability_zones,
    "DescribeRegions": describe_regions,
    "DescribeAccountAttributes": describe_account_attributes,
    "DescribeInstances": describe_instances,
}
