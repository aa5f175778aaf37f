"""Names a service goes by: in credential scopes, host names, paths and IAM actions.

botocore's name for a service is the key everywhere else. Only services whose names differ are
listed; all others go by one name.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources

import orjson

# Signing name → API version → botocore's name. The version tells apart services that share one.
_BY_SCOPE: Mapping[str, Mapping[str, str]] = {
    "elasticloadbalancing": {"2015-12-01": "elbv2", "2012-06-01": "elb"},
    "monitoring": {"2010-08-01": "cloudwatch"},
    "email": {"2019-09-27": "sesv2", "2010-12-01": "ses"},
    "states": {"2016-11-23": "stepfunctions"},
    "elasticfilesystem": {"2015-02-01": "efs"},
    "tagging": {"2017-01-26": "resourcegroupstaggingapi"},
    "execute-api": {"": "apigatewaymanagementapi"},
    "cognito-identity": {"2014-06-30": "cognito-identity"},
    "ses": {"2010-12-01": "ses"},
}
# Signing name → how paths begin that are another service's.
_BY_PATH: Mapping[str, tuple[str, str]] = {
    "apigateway": ("/v2/", "apigatewayv2"),
    "s3": ("/v20180820/", "s3control"),
    "ses": ("/v2/email/", "sesv2"),
}
# Host label → botocore's name.
_BY_HOST: Mapping[str, str] = {
    "api.ecr": "ecr",
    "elasticloadbalancing": "elbv2",
    "monitoring": "cloudwatch",
}
_ACTION_PREFIXES: Mapping[str, str] = {
    "elbv2": "elasticloadbalancing",
    "elb": "elasticloadbalancing",
    "sesv2": "ses",
    "stepfunctions": "states",
    "efs": "elasticfilesystem",
    "resourcegroupstaggingapi": "tag",
}
_DOMAIN = ".amazonaws.com"


def services_of_scope(signing_name: str, path: str = "/") -> Mapping[str, str]:
    """botocore's names of the services that sign as ``signing_name``, by API version."""
    prefix, service = _BY_PATH.get(signing_name, ("", ""))
    if prefix and path.startswith(prefix):
        return {"": service}
    return _BY_SCOPE.get(signing_name, {"": signing_name})


def service_of_host(host: str) -> str:
    """The service that an AWS host name is for (``ecs.us-east-1.amazonaws.com``), or ""."""
    name = host.partition(":")[0].lower()
    if not name.endswith(_DOMAIN):
        return ""
    labels = name[: -len(_DOMAIN)].split(".")
    service = ".".join(labels[:2]) if labels[0] == "api" else labels[0]
    return _BY_HOST.get(service, service)


@cache
def _actions() -> Mapping[str, Mapping[str, str]]:
    """Operations whose IAM action has another name (Service Authorization Reference)."""
    file = resources.files("proa.aws.gateway") / "actions.json"
    actions: Mapping[str, Mapping[str, str]] = orjson.loads(file.read_bytes())
    return actions


def action_of(service: str, operation: str) -> str:
    """The IAM action that allows an operation (``s3:ListBucket`` of ``ListObjectsV2``)."""
    name = _actions().get(service, {}).get(operation, operation)
    return f"{action_prefix(service)}:{name}"


def action_prefix(service: str) -> str:
    """The prefix of a service's IAM actions (``elasticloadbalancing`` of ``elbv2``)."""
    return _ACTION_PREFIXES.get(service, service)
