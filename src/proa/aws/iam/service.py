"""The IAM slice as the gateway sees it."""

from __future__ import annotations

from proa.aws.gateway.desk import Desk, bound
from proa.aws.gateway.service import Service
from proa.aws.iam import (
    account,
    attachments,
    entities,
    groups,
    keys,
    policies,
    profiles,
    providers,
    simulate,
)
from proa.cloud.identity import TABLES
from proa.cloud.key_uses import KeyUses
from proa.cloud.secrets import Sealer

__all__ = ["TABLES", "build"]


def build(desk: Desk, sealer: Sealer, uses: KeyUses | None = None) -> Service:
    """Every operation, bound to what it works on."""
    return Service(
        "iam",
        bound(
            desk,
            {
                **entities.HANDLERS,
                **account.HANDLERS,
                **groups.HANDLERS,
                **providers.HANDLERS,
                **simulate.HANDLERS,
                **attachments.HANDLERS,
                **policies.HANDLERS,
                **profiles.HANDLERS,
                **keys.handlers(sealer, uses or KeyUses()),
            },
        ),
    )
