"""AWS's public parameters as far as Proa has what they name: the ids of machine images.

``public.json`` maps each parameter's path to the name of an image in ``proa.aws.ec2.images``.
Source: ECS and EKS guides, "Retrieving Amazon ECS-optimized Linux AMI metadata", "Retrieve
recommended Amazon Linux AMI IDs"; EC2 guide, "Reference the latest AMIs using Systems Manager
public parameters".
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources

import orjson

from proa.aws.ec2.images import Image, image_id, images
from proa.aws.gateway.service import Output

PREFIX = "/aws/service/"


@cache
def paths() -> Mapping[str, str]:
    """Path → image name, in the order of the paths."""
    file = resources.files("proa.aws.ssm") / "public.json"
    return dict(sorted(orjson.loads(file.read_bytes()).items()))


def parameter(region: str, name: str) -> Output | None:
    """Shape Parameter of a public parameter, or None."""
    if name.startswith("arn:"):
        name = "/" + name.partition(":parameter/")[2]
    image = images().get(paths().get(name, ""))
    if image is None:
        return None
    id = image_id(region, image.name)
    return {
        "Name": name,
        "Type": "String",
        "Value": id if name.rpartition("/")[2] != "recommended" else _recommended(image, id),
        "Version": 1,
        "LastModifiedDate": image.created_at,
        "ARN": f"arn:aws:ssm:{region}::parameter{name}",
        "DataType": "text",
    }


def _recommended(image: Image, id: str) -> str:
    """The JSON that the ECS-optimized images' ``recommended`` parameters hold."""
    return orjson.dumps(
        {
            "schema_version": 1, "image_name": image.name, "image_id": id, "os": image.description,
            "ecs_runtime_version": "", "ecs_agent_version": "",
        }
    ).decode()  # fmt: skip
