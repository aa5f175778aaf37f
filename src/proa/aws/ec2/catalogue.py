"""What can be chosen from: instance types, where they are offered, machine images.

Instances are slices of a Host: no call starts one yet (docs/limits.md). The catalogue answers
what tools ask before they plan.
"""

from __future__ import annotations

from proa.aws.ec2 import shown
from proa.aws.ec2.base import Ec2, invalid
from proa.aws.ec2.images import Image, image_id, images
from proa.aws.ec2.places import own_instance, own_instances
from proa.aws.ec2.select import Fields, flag, matching, page
from proa.aws.gateway.service import AwsError, Context, Input, Output
from proa.base.clock import iso8601
from proa.cloud.instance_types import InstanceType, instance_types
from proa.cloud.network.bootstrap import zone_id, zone_names

_TYPE_FIELDS: Fields[InstanceType] = {
    "instance-type": lambda one: (one.name,),
    "current-generation": lambda one: flag(not one.name.startswith("t2.")),
    "bare-metal": lambda _one: flag(False),
    "burstable-performance-supported": lambda one: flag(one.burstable),
    "hypervisor": lambda one: ("xen" if one.name.startswith("t2.") else "nitro",),
    "memory-info.size-in-mib": lambda one: (str(one.memory_mib),),
    "processor-info.supported-architecture": lambda one: (one.architecture,),
    "supported-root-device-type": lambda _one: ("ebs",),
    "supported-usage-class": lambda _one: ("on-demand", "spot"),
    "supported-virtualization-type": lambda _one: ("hvm",),
    "network-info.maximum-network-interfaces": lambda one: (str(one.interfaces),),
    "network-info.ipv4-addresses-per-interface": lambda one: (str(one.addresses),),
    "vcpu-info.default-vcpus": lambda one: (str(one.vcpus),),
    "instance-storage-supported": lambda _one: flag(False),
    "free-tier-eligible": lambda one: flag(one.name == "t2.micro"),
}


def _type(one: InstanceType) -> Output:
    """Shape InstanceTypeInfo, without what nothing here has (storage, accelerators)."""
    cores = one.vcpus // 2 if one.architecture == "x86_64" and one.vcpus > 1 else one.vcpus
    return {
        "InstanceType": one.name,
        "CurrentGeneration": not one.name.startswith("t2."),
        "FreeTierEligible": one.name == "t2.micro",
        "SupportedUsageClasses": ["on-demand", "spot"],
        "SupportedRootDeviceTypes": ["ebs"],
        "SupportedVirtualizationTypes": ["hvm"],
        "BareMetal": False,
        "Hypervisor": "xen" if one.name.startswith("t2.") else "nitro",
        "ProcessorInfo": {"SupportedArchitectures": [one.architecture]},
        "VCpuInfo": {
            "DefaultVCpus": one.vcpus,
            "DefaultCores": cores,
            "DefaultThreadsPerCore": one.vcpus // cores,
        },
        "MemoryInfo": {"SizeInMiB": one.memory_mib},
        "InstanceStorageSupported": False,
        "NetworkInfo": {
            "MaximumNetworkInterfaces": one.interfaces,
            "MaximumNetworkCards": 1,
            "DefaultNetworkCardIndex": 0,
            "Ipv4AddressesPerInterface": one.addresses,
            "Ipv6AddressesPerInterface": one.addresses,
            "Ipv6Supported": True,
        },
        "BurstablePerformanceSupported": one.burstable,
        "HibernationSupported": False,
    }


async def describe_instance_types(_ec2: Ec2, _context: Context, given: Input) -> Output:
    known, asked = instance_types(), given.get("InstanceTypes")
    unknown = [name for name in asked or () if name not in known]
    if unknown:
        message = f"The following supplied instance types do not exist: [{', '.join(unknown)}]"
        raise AwsError("InvalidInstanceType", message)
    chosen = [known[name] for name in sorted(asked or known)]
    kept = matching(chosen, given, _TYPE_FIELDS, lambda _one: ())
    found, more = page(kept, given, lambda one: one.name)
    return {"InstanceTypes": [_type(one) for one in found], **more}


async def describe_instance_type_offerings(_ec2: Ec2, context: Context, given: Input) -> Output:
    """Every type is offered everywhere."""
    zones = zone_names(context.region)
    by = given.get("LocationType", "region")
    places = {
        "region": (context.region,),
        "availability-zone": zones,
        "availability-zone-id": tuple(zone_id(zone) for zone in zones),
    }
    if by not in places:
        raise invalid(by, "locationType")
    fields: Fields[tuple[str, str]] = {
        "instance-type": lambda one: (one[0],),
        "location": lambda one: (one[1],),
    }
    offers = sorted((name, place) for name in instance_types() for place in places[by])
    kept = matching(offers, given, fields, lambda _one: ())
    found, more = page(kept, given, "/".join)
    offered = [
        {"InstanceType": name, "LocationType": by, "Location": place} for name, place in found
    ]
    return {"InstanceTypeOfferings": offered, **more}


def _image(one: Image, region: str) -> Output:
    return {
        "ImageId": image_id(region, one.name),
        "Name": one.name,
        "Description": one.description,
        "Architecture": one.architecture,
        "CreationDate": f"{iso8601(one.created_at)[:-1]}.000Z",
        "ImageLocation": f"amazon/{one.name}",
        "ImageOwnerAlias": "amazon",
        "OwnerId": "137112412989",
        "ImageType": "machine",
        "Public": True,
        "State": "available",
        "Hypervisor": "xen",
        "VirtualizationType": "hvm",
        "RootDeviceName": "/dev/xvda",
        "RootDeviceType": "ebs",
        "EnaSupport": True,
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
        "BlockDeviceMappings": [],
        "Tags": [],
    }


def _image_fields(region: str) -> Fields[Image]:
    return {
        "image-id": lambda one: (image_id(region, one.name),),
        "name": lambda one: (one.name,),
        "description": lambda one: (one.description,),
        "architecture": lambda one: (one.architecture,),
        "owner-alias": lambda _one: ("amazon",),
        "owner-id": lambda _one: ("137112412989",),
        "state": lambda _one: ("available",),
        "is-public": lambda _one: flag(True),
        "image-type": lambda _one: ("machine",),
        "root-device-type": lambda _one: ("ebs",),
        "virtualization-type": lambda _one: ("hvm",),
        "hypervisor": lambda _one: ("xen",),
        "ena-support": lambda _one: flag(True),
        "platform": lambda _one: (),
    }


async def describe_images(_ec2: Ec2, context: Context, given: Input) -> Output:
    """Amazon's: an account has none of its own."""
    by_id = {image_id(context.region, name): image for name, image in images().items()}
    asked = given.get("ImageIds")
    for id in asked or ():
        if id not in by_id:
            message = f"The image id '[{id}]' does not exist"
            raise AwsError("InvalidAMIID.NotFound", message)
    owners = given.get("Owners") or ["amazon"]
    chosen = [by_id[id] for id in sorted(asked or by_id)]
    if not {"amazon", "137112412989"} & set(owners):
        chosen = []
    kept = matching(chosen, given, _image_fields(context.region), lambda _one: ())
    found, more = page(kept, given, lambda one: image_id(context.region, one.name))
    return {"Images": [_image(one, context.region) for one in found], **more}


async def describe_instance_status(ec2: Ec2, context: Context, given: Input) -> Output:
    """Every Instance that is there runs."""
    ids = given.get("InstanceIds")
    mine = own_instances(ec2, context)
    if ids:
        mine = [own_instance(ec2, context, id) for id in dict.fromkeys(ids)]
    found, more = page(mine, given, lambda one: one.id)
    fine = {"Status": "ok", "Details": [{"Name": "reachability", "Status": "passed"}]}
    return {
        "InstanceStatuses": [
            {
                "InstanceId": one.id,
                "AvailabilityZone": one.zone,
                "InstanceState": shown.RUNNING,
                "InstanceStatus": fine,
                "SystemStatus": fine,
            }
            for one in found
        ],
        **more,
    }


async def describe_vpn_gateways(_ec2: Ec2, _context: Context, _given: Input) -> Output:
    """There are none; tools that look a VPC up ask."""
    return {"VpnGateways": []}


OPERATIONS = {
    "DescribeInstanceTypes": describe_instance_types,
    "DescribeInstanceTypeOfferings": describe_instance_type_offerings,
    "DescribeImages": describe_images,
    "DescribeInstanceStatus": describe_instance_status,
    "DescribeVpnGateways": describe_vpn_gateways,
}
