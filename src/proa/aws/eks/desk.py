"""What EKS' operations have at hand: Desk's way to write, and how clusters are found and shown."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from proa.aws.eks.errors import invalid, no_cluster
from proa.aws.eks.records import CLUSTERS, Cluster, cluster_key
from proa.aws.gateway.desk import Desk
from proa.aws.gateway.service import Context
from proa.reconcile.view import Entry

MAX_TAGS = 50


@dataclass(slots=True)
class Eks(Desk):
    """``host`` is the name by which clients reach the Kubernetes APIs, ``first_range`` the service
    range after which free ones are looked for."""

    host: str
    first_range: str

    async def fresh(self) -> None:
        """Wait until the view shows every commit acknowledged so far."""
        await self.view.reached(await self.store.version())

    def cluster(self, context: Context, name: str) -> Entry[Cluster]:
        """The cluster of this name, whatever its status. Raises ResourceNotFoundException."""
        key = cluster_key(context.account, context.region, name)
        entry = self.view.rows(CLUSTERS).get(key)
        if entry is None:
            raise no_cluster(name)
        return entry


def page(items: Sequence[str], given: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
    """One page of sorted names and, where there are more, the member that says so. The token
    names the last item given, so that changes in between neither repeat nor hide one."""
    limit, token, after = given.get("maxResults") or 100, given.get("nextToken"), ""
    if not 1 <= limit <= 100:
        raise invalid("maxResults needs to be 1-100")
    if token:
        try:
            after = base64.b64decode(token, b"-_", validate=True).decode()
        except (binascii.Error, ValueError) as error:
            raise invalid("Invalid nextToken") from error
    rest = [item for item in items if item > after]
    if len(rest) <= limit:
        return rest, {}
    shown = rest[:limit]
    return shown, {"nextToken": base64.urlsafe_b64encode(shown[-1].encode()).decode()}


def checked_tags(tags: dict[str, str] | None, held: dict[str, str] | None = None) -> dict[str, str]:
    """Tags after adding some. Raises InvalidParameterException."""
    for key, value in (tags or {}).items():
        if key.lower().startswith("aws:"):
            raise invalid(f"Tag key {key} is invalid: the prefix aws: is reserved")
        if not 1 <= len(key) <= 128 or len(value) > 256:
            raise invalid("Tag keys have 1 to 128 characters, tag values at most 256")
    merged = {**(held or {}), **(tags or {})}
    if len(merged) > MAX_TAGS:
        raise invalid(f"A resource has at most {MAX_TAGS} tags")
    return merged
