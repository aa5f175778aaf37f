"""The EC2 slice as the gateway sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from proa.aws.ec2 import (
    acls,
    addresses,
    catalogue,
    dhcp,
    endpoints,
    gateways,
    group_rules,
    groups,
    interfaces,
    keypairs,
    places,
    routes,
    subnets,
    tagging,
    vpcs,
)
from proa.aws.ec2.base import Ec2
from proa.aws.gateway.service import AwsError, Context, Input, Operation, Output, Service
from proa.base.chance import Chance
from proa.reconcile.view import View
from proa.store.api import Store

Handler = Callable[[Ec2, Context, Input], Awaitable[Output]]
OPERATIONS: dict[str, Handler] = {
    **vpcs.OPERATIONS,
    **subnets.OPERATIONS,
    **groups.OPERATIONS,
    **group_rules.OPERATIONS,
    **interfaces.OPERATIONS,
    **addresses.OPERATIONS,
    **routes.OPERATIONS,
    **acls.OPERATIONS,
    **dhcp.OPERATIONS,
    **endpoints.OPERATIONS,
    **keypairs.OPERATIONS,
    **catalogue.OPERATIONS,
    **gateways.OPERATIONS,
    **tagging.OPERATIONS,
    **places.OPERATIONS,
}


def build(store: Store, view: View, chance: Chance) -> Service:
    """Every operation, over a view that holds ``NETWORK_TABLES`` and the hull's Instances."""
    ec2 = Ec2(store, view, chance)
    return Service("ec2", {name: _bound(ec2, handler) for name, handler in OPERATIONS.items()})


def _bound(ec2: Ec2, handler: Handler) -> Operation:
    async def operation(context: Context, given: Input) -> Output:
        if given.get("DryRun"):
            message = "Request would have succeeded, but DryRun flag is set."
            raise AwsError("DryRunOperation", message, 412)
        return await handler(ec2, context, given)

    return operation
