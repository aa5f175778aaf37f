"""Errors on the wire, in each protocol's shape.

``ErrorTable`` knows a service's modelled errors: by shape name or by code, the code sent, the
HTTP status, which side is at fault, and the error shape's own members. The encoders return
whole responses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cbor2
import orjson

from proa.base.http import Response
from proa.wire.aws.faults import Fault
from proa.wire.aws.model import Model, Shape
from proa.wire.aws.xml import element, wrap

SENDER_STATUS, RECEIVER_STATUS = 400, 500
_RECEIVER_CODES = frozenset({"InternalFailure", "InternalError", "ServiceUnavailable"})


@dataclass(slots=True, frozen=True)
class ErrorEntry:
    """One modelled error. ``shape_name`` is what JSON protocols send, ``code`` what XML ones do;
    ``message_member`` is how the shape spells ``message``."""

    shape_name: str
    code: str
    status: int
    members: tuple[str, ...]
    message_member: str
    query_fault: str


class ErrorTable:
    """All modelled errors of a service, found by shape name or code."""

    @classmethod
    def of(cls, model: Model) -> ErrorTable:
        """The errors of one model."""
        return cls(model.errors())

    def __init__(self, shapes: Iterable[Shape]) -> None:
        self._entries: dict[str, ErrorEntry] = {}
        for shape in shapes:
            entry = _entry(shape)
            self._entries.setdefault(entry.code, entry)
            self._entries[entry.shape_name] = entry

    def find(self, code: str) -> ErrorEntry:
        """The entry of a code; unmodelled codes are the caller's fault with status 400, except
        AWS's common server errors."""
        found = self._entries.get(code)
        if found is not None:
            return found
        status = RECEIVER_STATUS if code in _RECEIVER_CODES else SENDER_STATUS
        return ErrorEntry(code, code, status, (), "message", "")


def _entry(shape: Shape) -> ErrorEntry:
    error: Mapping[str, Any] = shape.traits.get("error", {})
    receiver = shape.traits.get("fault") or error.get("fault")
    status = error.get("httpStatusCode") or (RECEIVER_STATUS if receiver else SENDER_STATUS)
    spelled = next((name for name in shape.members if name.lower() == "message"), "message")
    return ErrorEntry(
        shape.name, error.get("code", shape.name), int(status), tuple(shape.members), spelled,
        "Sender" if status < RECEIVER_STATUS else "Receiver",
    )  # fmt: skip


EncodeFault = Callable[[Fault, str], Response]


def _body(entry: ErrorEntry, fault: Fault) -> dict[str, Any]:
    body = {entry.message_member: fault.message}
    body.update((name, value) for name, value in fault.fields.items() if value is not None)
    return body


def json_faults(
    table: ErrorTable, content_type: str, *, rest: bool, query_compatible: bool
) -> EncodeFault:
    """Errors of json and rest-json: ``__type`` in the body, the code in ``x-amzn-ErrorType``."""

    def encode(fault: Fault, request_id: str) -> Response:
        entry = table.find(fault.code)
        headers = {
            "content-type": content_type,
            "x-amzn-requestid": request_id,
            "x-amzn-errortype": entry.shape_name,
        }
        if query_compatible and entry.query_fault:
            headers["x-amzn-query-error"] = f"{entry.code};{entry.query_fault}"
        body = _body(entry, fault)
        if not rest:
            body = {"__type": entry.shape_name, **body}
        return Response(fault.status or entry.status, orjson.dumps(body), headers)

    return encode


def cbor_faults(table: ErrorTable, query_compatible: bool) -> EncodeFault:
    """Errors of rpc-v2-cbor."""

    def encode(fault: Fault, request_id: str) -> Response:
        entry = table.find(fault.code)
        headers = {
            "content-type": "application/cbor",
            "smithy-protocol": "rpc-v2-cbor",
            "x-amzn-requestid": request_id,
        }
        if query_compatible and entry.query_fault:
            headers["x-amzn-query-error"] = f"{entry.code};{entry.query_fault}"
        body = {"__type": entry.shape_name, **_body(entry, fault)}
        return Response(fault.status or entry.status, cbor2.dumps(body), headers)

    return encode


def _fields(entry: ErrorEntry, fault: Fault) -> str:
    known = set(entry.members)
    return "".join(
        element(name, str(value))
        for name, value in fault.fields.items()
        if name in known and value is not None
    )


def query_faults(table: ErrorTable, namespace: str) -> EncodeFault:
    """Errors of the query protocol (and of rest-xml services other than S3)."""

    def encode(fault: Fault, request_id: str) -> Response:
        entry = table.find(fault.code)
        status = fault.status or entry.status
        side = "Sender" if status < RECEIVER_STATUS else "Receiver"
        error = element("Type", side) + element("Code", entry.code)
        error += element("Message", fault.message) + _fields(entry, fault)
        parts = [f"<Error>{error}</Error>", element("RequestId", request_id)]
        headers = {"content-type": "text/xml", "x-amzn-requestid": request_id}
        return Response(status, wrap("ErrorResponse", namespace, parts), headers)

    return encode


def ec2_faults(table: ErrorTable) -> EncodeFault:
    """Errors of the ec2 protocol."""

    def encode(fault: Fault, request_id: str) -> Response:
        entry = table.find(fault.code)
        error = element("Code", entry.code) + element("Message", fault.message)
        parts = [
            f"<Errors><Error>{error}</Error></Errors>",
            element("RequestID", request_id),
        ]
        headers = {"content-type": "text/xml;charset=UTF-8", "x-amzn-requestid": request_id}
        return Response(fault.status or entry.status, wrap("Response", "", parts), headers)

    return encode


def s3_faults(table: ErrorTable) -> EncodeFault:
    """Errors of S3, whose root element is the error itself."""

    def encode(fault: Fault, request_id: str) -> Response:
        entry = table.find(fault.code)
        parts = [element("Code", entry.code), element("Message", fault.message)]
        parts += [_fields(entry, fault), element("RequestId", request_id)]
        headers = {"content-type": "application/xml", "x-amz-request-id": request_id}
        return Response(fault.status or entry.status, wrap("Error", "", parts), headers)

    return encode
