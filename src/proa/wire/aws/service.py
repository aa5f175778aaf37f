"""One AWS service's codec: its protocols, its validation, its errors, compiled on first use.

``ServiceCodec(name, operations)`` reads the service model, compiles what the operations need,
and keeps only the closures. The codes that services give to broken constraints differ and are
not in the models: ``validation_codes.json`` holds them (service API references, "Common
errors" and each operation's error list).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

import orjson

from proa.base.http import Request, Response
from proa.wire.aws import rest, rpc
from proa.wire.aws.errors import ErrorTable, cbor_faults, json_faults, query_faults
from proa.wire.aws.faults import Fault, Malformed, UnknownOperation, Violation
from proa.wire.aws.model import Model, load_model
from proa.wire.aws.protocol import Protocol, detect
from proa.wire.aws.validation import Check, ValidationCompiler, phrase

_BUILDERS = {**rpc.BUILDERS, **rest.BUILDERS}
_FAMILIES = {
    "json": ("json",),
    "smithy-rpc-v2-cbor": ("smithy-rpc-v2-cbor",),
    "query": ("query", "ec2"),
    "rest": ("rest-json", "rest-xml"),
}


@cache
def _validation_codes() -> Mapping[str, Mapping[str, str]]:
    file = resources.files("proa.wire.aws") / "validation_codes.json"
    codes: Mapping[str, Mapping[str, str]] = orjson.loads(file.read_bytes())
    return codes


def bare_fault(request: Request, fault: Fault, request_id: str) -> Response:
    """A fault for a request whose service is not known, in the protocol family it shows."""
    table = ErrorTable(())
    family = detect(request)
    if family == "query":
        return query_faults(table, "")(fault, request_id)
    if family == "smithy-rpc-v2-cbor":
        return cbor_faults(table, False)(fault, request_id)
    rest_request = family == "rest"
    content_type = "application/json" if rest_request else "application/x-amz-json-1.1"
    encode = json_faults(table, content_type, rest=rest_request, query_compatible=False)
    return encode(fault, request_id)


@cache
def codec_of(name: str, operations: tuple[str, ...]) -> ServiceCodec:
    """The codec of a service for these operations, compiled once a process: it holds no state."""
    return ServiceCodec(name, operations)


class ServiceCodec:
    """The wire side of one service. ``modelled`` are all operations the service has,
    ``target_prefix`` what its X-Amz-Target starts with."""

    def __init__(self, name: str, operations: Iterable[str]) -> None:
        model = load_model(name)
        wanted = sorted(operations)
        missing = [operation for operation in wanted if operation not in model.operations]
        assert not missing, f"{name} has no operations {missing}"
        self.name = name
        self.modelled = frozenset(model.operations)
        self.signing_name = str(
            model.metadata.get("signingName") or model.metadata["endpointPrefix"]
        )
        self._endpoint_prefix = str(model.metadata["endpointPrefix"])
        self._global_host = str(model.metadata.get("globalEndpoint", ""))
        self.api_version = str(model.metadata["apiVersion"])
        self.target_prefix = str(model.metadata.get("targetPrefix", ""))
        self._protocols: dict[str, Protocol] = {}
        spoken = list(model.protocols)
        if "awsQueryCompatible" in model.metadata and "query" not in spoken:
            spoken.append("query")  # what its older clients speak, and it still answers
        for protocol in spoken:
            builder = _BUILDERS.get(protocol)
            if builder is not None:
                self._protocols[protocol] = builder(model, protocol, wanted)
        assert self._protocols, f"{name} speaks only {model.protocols}"
        self._checks = _checks(model, wanted, ec2="ec2" in self._protocols)

    def host(self, region: str) -> str:
        """AWS's name of the endpoint in a region; S3 has one in each besides its global one."""
        if self._global_host and self.name != "s3":
            return self._global_host
        return f"{self._endpoint_prefix}.{region}.amazonaws.com"

    def protocol_of(self, request: Request) -> Protocol:
        """The protocol the request shows, or the service's own where it speaks no such one."""
        for name in _FAMILIES[detect(request)]:
            if name in self._protocols:
                return self._protocols[name]
        return next(iter(self._protocols.values()))

    def validate(self, protocol: str, operation: str, given: Mapping[str, Any]) -> Fault | None:
        """The fault that the model's constraints find in an input, if any."""
        check = self._checks.get(operation)
        if check is None:
            return None
        violations: list[Violation] = []
        check(given, "", violations)
        if not violations:
            return None
        if protocol == "ec2":
            return _ec2_fault(violations[0])
        codes = _validation_codes()
        code = codes["by_service"].get(self.name) or codes["by_protocol"][protocol]
        return Fault(code, phrase(violations))

    def malformed(self, protocol: str, error: Malformed) -> Fault:
        """A body that does not fit the input shape, in the protocol's words."""
        if protocol == "ec2":
            return Fault("InvalidParameterValue", str(error))
        if protocol == "query":
            return Fault("MalformedInput", str(error))
        if protocol == "rest-xml":
            return Fault("MalformedXML", str(error))
        return Fault("SerializationException", str(error))

    def unknown(self, protocol: str, error: UnknownOperation) -> Fault:
        """A request for an operation that the service does not have."""
        if protocol == "ec2":
            message = f"The action {error.name} is not valid for this web service."
            return Fault("InvalidAction", message)
        if protocol == "query":
            if not error.name:
                return Fault("MissingAction", "The request is missing an action")
            message = f"Could not find operation {error.name} for version {self.api_version}"
            return Fault("InvalidAction", message)
        if protocol == "rest-xml":
            return Fault("MethodNotAllowed", "The specified method is not allowed", 405)
        status = 404 if protocol == "rest-json" else 400
        return Fault("UnknownOperationException", "The requested operation is not known", status)


def _checks(model: Model, operations: Iterable[str], ec2: bool) -> dict[str, Check]:
    # EC2 checks enumerations per operation, in words of its own.
    compiler = ValidationCompiler(model, enforce_enums=not ec2)
    found: dict[str, Check] = {}
    for operation in operations:
        given = model.operations[operation].get("input")
        check = compiler.check({"shape": given["shape"]}) if given else None
        if check is not None:
            found[operation] = check
    return found


def _ec2_fault(violation: Violation) -> Fault:
    if violation.kind == "required":
        name = violation.path.rpartition(".")[2]
        return Fault("MissingParameter", f"The request must contain the parameter {name}")
    return Fault("InvalidParameterValue", violation.text)
