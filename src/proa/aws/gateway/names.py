"""Names a service goes by: in credential scopes, host names and IAM actions.

botocore's name for a service is the key everywhere else. ``scopes.json`` lists the signing names
that differ from it or that several services share, as botocore's models give them; a test
compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import orjson

from proa.base.http import Request
from proa.wire.aws.faults import Malformed
from proa.wire.aws.model import load_model
from proa.wire.aws.protocol import detect, form_of
from proa.wire.aws.routes import Routes

# Host label → botocore's name.
_BY_HOST: Mapping[str, str] = {
    "api.ecr": "ecr",
    "elasticloadbalancing": "elbv2",
    "monitoring": "cloudwatch",
}
# Services whose IAM actions begin neither with their name nor with their signing name.
_ACTION_PREFIXES: Mapping[str, str] = {
    "cloudwatch": "cloudwatch",
    "resourcegroupstaggingapi": "tag",
}
_DOMAIN = ".amazonaws.com"


def _data(name: str) -> Any:
    return orjson.loads((resources.files("proa.aws.gateway") / name).read_bytes())


@cache
def _scopes() -> Mapping[str, Sequence[tuple[str, str, str]]]:
    """Signing name → (service, API version, prefix of its X-Amz-Target), the service that bears
    the signing name first."""
    return {
        name: sorted(map(tuple, entries), key=lambda entry: entry[0] != name)
        for name, entries in _data("scopes.json").items()
    }


@cache
def _signing_names() -> Mapping[str, str]:
    return {entry[0]: name for name, entries in _scopes().items() for entry in entries}


def service_of_scope(signing_name: str, request: Request) -> str:
    """botocore's name of the service that a request signed as ``signing_name`` is for. Services
    that share one are told apart by target, API version or path."""
    candidates = _scopes().get(signing_name, ())
    if len(candidates) < 2:
        return candidates[0][0] if candidates else signing_name
    protocol = detect(request)
    found: list[str] = []
    if protocol == "json":
        target = request.headers["x-amz-target"].rpartition(".")[0]
        found = [name for name, _version, prefix in candidates if prefix == target]
    elif protocol == "query":
        version = _version(request)
        found = [name for name, known, _prefix in candidates if known == version]
    elif protocol == "rest":
        found = _by_path([name for name, _version, _prefix in candidates], request)
    return found[0] if found else candidates[0][0]


def _version(request: Request) -> str:
    try:
        return dict(form_of(request)).get("Version", "")
    except Malformed:
        return ""


@cache
def _routes(service: str) -> Routes:
    return Routes(load_model(service))


def _by_path(services: Sequence[str], request: Request) -> list[str]:
    """The services that have an operation at a request's path, the most specific first."""
    found = []
    for place, service in enumerate(services):
        route = _routes(service).find(request.method, request.path, request.query)
        if route is not None:
            found.append((-route.literals, place, service))
    return [service for _literals, _place, service in sorted(found)]


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
    actions: Mapping[str, Mapping[str, str]] = _data("actions.json")
    return actions


def action_of(service: str, operation: str) -> str:
    """The IAM action that allows an operation (``s3:ListBucket`` of ``ListObjectsV2``)."""
    name = _actions().get(service, {}).get(operation, operation)
    return f"{action_prefix(service)}:{name}"


def action_prefix(service: str) -> str:
    """The prefix of a service's IAM actions (``elasticloadbalancing`` of ``elbv2``)."""
    return _ACTION_PREFIXES.get(service) or _signing_names().get(service, service)
