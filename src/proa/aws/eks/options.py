"""The parts of a cluster's configuration that are lists and switches, and those not served.

What is refused is refused by name; a switch in the position that changes nothing is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proa.aws.eks.errors import invalid
from proa.aws.eks.shown import LOG_TYPES
from proa.aws.gateway.service import Input

MODES = ("CONFIG_MAP", "API_AND_CONFIG_MAP", "API")  # a cluster moves to the right only
_NOT_SERVED = (
    "outpostConfig",
    "remoteNetworkConfig",
    "kubeApiServerConfig",
    "kubeSchedulerConfig",
    "kubeControllerManagerConfig",
)
_SWITCHES: Mapping[str, Sequence[str]] = {
    "computeConfig": ("enabled",),
    "storageConfig": ("blockStorage", "enabled"),
    "kubernetesNetworkConfig": ("elasticLoadBalancing", "enabled"),
}


def refuse_unserved(given: Input) -> None:
    """Raises InvalidParameterException for what Proa does not serve."""
    for member in _NOT_SERVED:
        if given.get(member):
            raise invalid(f"{member} is not served by Proa")
    for member, path in _SWITCHES.items():
        value: Any = given.get(member) or {}
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if value:
            raise invalid(f"{member}: EKS Auto Mode is not served by Proa yet")
    if (given.get("kubernetesNetworkConfig") or {}).get("ipFamily", "ipv4") != "ipv4":
        raise invalid("ipFamily ipv6 is not served by Proa")
    if (given.get("controlPlaneScalingConfig") or {}).get("tier", "standard") != "standard":
        raise invalid("controlPlaneScalingConfig: Proa serves the tier standard only")


def authentication_of(config: Mapping[str, Any]) -> str:
    """The authentication mode; CONFIG_MAP where none is given (CreateAccessConfigRequest).
    Raises InvalidParameterException for one that leaves nobody in."""
    mode: str = config.get("authenticationMode", "CONFIG_MAP")
    if mode == "CONFIG_MAP" and config.get("bootstrapClusterCreatorAdminPermissions") is False:
        raise invalid(
            "bootstrapClusterCreatorAdminPermissions must be true if cluster authentication mode "
            "is set to CONFIG_MAP"
        )
    return mode


def checked_logging(given: Mapping[str, Any] | None, held: tuple[str, ...]) -> tuple[str, ...]:
    """The log types that are on after a change. Raises InvalidParameterException."""
    enabled = dict.fromkeys(held)
    named: set[str] = set()
    for setup in (given or {}).get("clusterLogging") or ():
        for kind in setup.get("types") or ():
            if kind in named:
                raise invalid(f"The log type {kind} is given twice")
            named.add(kind)
            if setup.get("enabled"):
                enabled[kind] = None
            else:
                enabled.pop(kind, None)
    return tuple(kind for kind in LOG_TYPES if kind in enabled)


def checked_encryption(given: Sequence[dict[str, Any]] | None) -> tuple[dict[str, Any], ...]:
    """encryptionConfig: at most one, for Secrets. Raises InvalidParameterException."""
    configs = tuple(given or ())
    if len(configs) > 1:
        raise invalid("There can be only one encryptionConfig")
    for config in configs:
        if list(config.get("resources") or ()) != ["secrets"]:
            raise invalid('The only valid resource of an encryptionConfig is "secrets"')
        key = (config.get("provider") or {}).get("keyArn", "")
        if not key.startswith("arn:aws:kms:"):
            raise invalid(f"Invalid KMS key ARN: {key}")
    return configs
