"""EKS' errors in its own words."""

from __future__ import annotations

from proa.aws.gateway.service import AwsError


def invalid(message: str, cluster: str = "") -> AwsError:
    """InvalidParameterException."""
    return AwsError("InvalidParameterException", message, fields=_of(cluster))


def refused(message: str, cluster: str = "") -> AwsError:
    """InvalidRequestException: right by itself, but not in this state."""
    return AwsError("InvalidRequestException", message, fields=_of(cluster))


def in_use(message: str, cluster: str = "") -> AwsError:
    """ResourceInUseException."""
    return AwsError("ResourceInUseException", message, fields=_of(cluster))


def no_such(message: str, cluster: str = "") -> AwsError:
    """ResourceNotFoundException."""
    return AwsError("ResourceNotFoundException", message, fields=_of(cluster))


def no_cluster(name: str) -> AwsError:
    """The cluster is not there."""
    return no_such(f"No cluster found for name: {name}.", name)


def _of(cluster: str) -> dict[str, str]:
    return {"clusterName": cluster} if cluster else {}
