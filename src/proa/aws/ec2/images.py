"""The machine images that Proa shows: names of Amazon's own, with ids that follow from them.

``images.json`` lists them. Nothing boots from them: Instances are slices of a Host, and an image
only says what a client believes to run there. DescribeImages and ssm's public parameters read it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources

import msgspec

from proa.base.clock import from_iso8601


class Image(msgspec.Struct, frozen=True):
    """One image. ``created`` is an RFC 3339 instant."""

    name: str
    description: str
    created: str
    architecture: str = "x86_64"

    @property
    def created_at(self) -> float:
        """Seconds since the epoch."""
        return from_iso8601(self.created)


@cache
def images() -> Mapping[str, Image]:
    """Every image by its name."""
    file = resources.files("proa.aws.ec2") / "images.json"
    listed = msgspec.json.decode(file.read_bytes(), type=list[Image])
    return {image.name: image for image in listed}


def image_id(region: str, name: str) -> str:
    """An image's id, which differs by region as in AWS."""
    return f"ami-0{hashlib.sha256(f'{region}/{name}'.encode()).hexdigest()[:16]}"
