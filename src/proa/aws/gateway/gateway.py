"""The AWS gateway: one endpoint for all services, accounts and regions.

``AwsGateway.handle`` takes a request through, in order: health; claim (who says they signed it);
service and protocol; operation; authentication; input by model; authorisation; constraints; the
slice's handler; output by model. Each refusal is an error in the protocol the request speaks.
Codecs are compiled on a service's first request, or ahead of time by ``warm``.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from msgspec.structs import replace

from proa.aws.gateway.auth import (
    Authorizer,
    CredentialSource,
    auth_error,
    authenticate,
    missing,
    signature_error,
)
from proa.aws.gateway.names import action_of, service_of_host, service_of_scope
from proa.aws.gateway.plain import plain
from proa.aws.gateway.service import AwsError, Context, Input, Service
from proa.aws.gateway.tail import Door
from proa.aws.longtail.port import Absent, LongTail
from proa.base.chance import Chance
from proa.base.clock import Clock
from proa.base.errors import CallerFault, TryAgain
from proa.base.http import Request, Response
from proa.base.telemetry import get_logger
from proa.cloud.identity import Credential, KeyUse
from proa.cloud.key_uses import KeyUses
from proa.wire import sigv2
from proa.wire.aws.faults import Fault, Malformed, UnknownOperation
from proa.wire.aws.protocol import Protocol, detect, form_of
from proa.wire.aws.service import ServiceCodec, bare_fault, codec_of
from proa.wire.sigv4 import Claim, SignatureFault, SigningKeys, read_claim

log = get_logger(__name__)
HEALTH_PATHS = ("/", "/_proa/health")
MAX_INFLATED = 16 * 1024 * 1024
MAX_OWN_BODY = 8 * 1024 * 1024  # no operation of ours takes more; objects of S3 are not ours
_TOO_LARGE = Fault("RequestEntityTooLargeException", "The request body is too large.", 413)
_INTERNAL = "The request processing has failed because of an unknown error, exception or failure."


def _fault_of(error: AwsError) -> Fault:
    return Fault(error.code, error.message, error.status, error.fields)


class AwsGateway:
    """Request → response for every AWS service that Proa serves."""

    def __init__(
        self,
        services: Iterable[Service],
        credentials: CredentialSource,
        clock: Clock,
        chance: Chance,
        authorize: Authorizer | None = None,
        tail: LongTail | None = None,
        uses: KeyUses | None = None,
    ) -> None:
        self._services = {service.name: service for service in services}
        self._credentials, self._clock, self._chance = credentials, clock, chance
        self._authorize, self._door = authorize, Door(tail or Absent())
        self._uses = uses or KeyUses()
        self._codecs: dict[str, ServiceCodec] = {}
        self._keys = SigningKeys()

    def warm(self) -> None:
        """Compile every service's codec now, before the first request needs it."""
        for name in self._services:
            self._codec(name)

    def operations(self) -> dict[str, tuple[str, ...]]:
        """The operations of every service of our own, by botocore's names."""
        return {name: tuple(item.operations) for name, item in sorted(self._services.items())}

    def _codec(self, name: str) -> ServiceCodec:
        codec = self._codecs.get(name)
        if codec is None:
            codec = codec_of(name, tuple(self._services[name].operations))
            self._codecs[name] = codec
        return codec

    async def handle(self, request: Request) -> Response:
        """Answer one request; never raises but for cancellation."""
        if _is_health(request):
            return self._health()
        request_id = self._chance.uid()
        try:
            response = await self._answer(request, request_id)
        except AwsError as error:
            response = bare_fault(request, _fault_of(error), request_id)
        except Exception as error:
            log.error("request failed", request_id=request_id, exc_info=error)
            response = bare_fault(request, Fault("InternalFailure", _INTERNAL, 500), request_id)
        if request.method == "HEAD":
            response.body = b""
        return response

    def oversized(self, request: Request) -> Response:
        """The refusal of a request whose body the shell would not read."""
        return bare_fault(request, _TOO_LARGE, self._chance.uid())

    def _health(self) -> Response:
        services = dict.fromkeys(sorted(self._services), "available")
        body = orjson.dumps({"status": "ok", "services": services})
        return Response(200, body, {"content-type": "application/json"})

    async def _answer(self, request: Request, request_id: str) -> Response:
        """Raises AwsError only while the service is not known."""
        try:
            claim = read_claim(request) or sigv2.read_claim(request)
        except SignatureFault as fault:
            raise signature_error(fault, _family(request), presigned=False) from fault
        name = self._service_of(request, claim)
        if name in self._services:
            codec, serve = self._codec(name), self._serve
        else:
            codec, serve = self._beyond(request, claim, name), self._serve_tail
        protocol = codec.protocol_of(request)
        try:
            return await serve(request, claim, codec, protocol, request_id)
        except AwsError as error:
            return protocol.encode_fault(_fault_of(error), request_id)
        except SignatureFault as error:
            refused = signature_error(error, protocol.name, presigned=False)
            return protocol.encode_fault(_fault_of(refused), request_id)
        except TryAgain as error:
            log.info("passing fault", service=name, request_id=request_id, error=str(error))
            message = "The request has failed due to a temporary failure of the server."
            return protocol.encode_fault(Fault("ServiceUnavailable", message, 503), request_id)
        except CallerFault as error:
            return protocol.encode_fault(Fault("ValidationError", str(error)), request_id)
        except Exception as error:
            log.error("handler failed", service=name, request_id=request_id, exc_info=error)
            return protocol.encode_fault(Fault("InternalFailure", _INTERNAL, 500), request_id)

    async def _serve(
        self,
        request: Request,
        claim: Claim | None,
        codec: ServiceCodec,
        protocol: Protocol,
        request_id: str,
    ) -> Response:
        if len(request.body) > MAX_OWN_BODY:
            raise AwsError(_TOO_LARGE.code, _TOO_LARGE.message, _TOO_LARGE.status)
        service = self._services[codec.name]
        operation, labels, unknown = _locate(protocol, codec, request)
        context = self._context(request, claim, service, operation, protocol.name, request_id)
        if unknown is not None:
            raise unknown
        if operation not in service.operations:
            raise AwsError(
                "NotImplementedException",
                f"Proa does not implement {operation} of {service.name}.",
                501,
            )
        given = _parse(codec, protocol, operation, _inflated(request), labels)
        if operation not in service.anonymous:
            self._check_allowed(context, codec, protocol, operation, given)
        fault = codec.validate(protocol.name, operation, given)
        if fault is not None:
            raise AwsError(fault.code, fault.message, fault.status)
        output = await service.operations[operation](context, given)
        return protocol.operations[operation].encode(output, request_id)

    def _context(
        self,
        request: Request,
        claim: Claim | None,
        service: Service,
        operation: str,
        protocol: str,
        request_id: str,
    ) -> Context:
        now = self._clock.now()
        if claim is None:
            if operation not in service.anonymous:
                raise missing(protocol)
            return Context("", "us-east-1", "", "", request_id, now, request.peer.address)
        credential = self._known(request, claim, protocol)
        return Context(
            credential.account, claim.region, credential.principal_arn, claim.access_key,
            request_id, now, request.peer.address,
        )  # fmt: skip

    def _check_allowed(
        self,
        context: Context,
        codec: ServiceCodec,
        protocol: Protocol,
        operation: str,
        given: Input,
    ) -> None:
        """Raise AwsError unless the caller's policies allow the operation."""
        if self._authorize is not None:
            denial = self._authorize(context, action_of(codec.name, operation), given)
            if denial is not None:
                raise auth_error("denied", protocol.name, denial)

    def _beyond(self, request: Request, claim: Claim | None, name: str) -> ServiceCodec:
        """The codec of a service without a slice; who is not known is not told of its absence."""
        try:
            return self._door.codec(name)
        except AwsError:
            self._known(request, claim, _family(request))
            raise

    def _known(self, request: Request, claim: Claim | None, protocol: str) -> Credential:
        """The caller of a request that must be signed."""
        if claim is None:
            raise missing(protocol)
        now = self._clock.now()
        found = authenticate(request, claim, self._credentials, now, self._keys, protocol)
        if not found.expires_at:
            use = KeyUse(now, claim.service, claim.region)
            self._uses.note(found.account, found.access_key, use)
        return found

    async def _serve_tail(
        self,
        request: Request,
        claim: Claim | None,
        codec: ServiceCodec,
        protocol: Protocol,
        request_id: str,
    ) -> Response:
        credential = self._known(request, claim, protocol.name)
        assert claim is not None
        if protocol.name == "smithy-rpc-v2-cbor":
            message = f"{codec.name} is served in its other protocols only, not in RPC v2 CBOR."
            raise AwsError("NotImplementedException", message, 501)
        key = self._keys.get(credential.secret, claim.date, claim.region, claim.service)
        whole = self._door.plain(codec.name, request, claim, key)
        operation, labels, unknown = _locate(protocol, codec, whole)
        if unknown is not None:
            raise unknown
        narrowed = _narrowed(codec, protocol, operation, whole)
        context = Context(
            credential.account, claim.region, credential.principal_arn, claim.access_key,
            request_id, self._clock.now(), request.peer.address,
        )  # fmt: skip
        given = _parse(codec, protocol, operation, narrowed, labels)
        self._check_allowed(context, codec, protocol, operation, given)
        # S3 words its own; everywhere else the model's constraints are the service's.
        fault = (
            None if protocol.name == "rest-xml" else codec.validate(protocol.name, operation, given)
        )
        if fault is not None:
            raise AwsError(fault.code, fault.message, fault.status)
        return await self._door.forward(context, codec, operation, narrowed)

    def _service_of(self, request: Request, claim: Claim | None) -> str:
        """botocore's name of the service a request is for, built or not; "" if nothing says."""
        if claim is not None:
            return service_of_scope(claim.service, request)
        named = service_of_host(request.headers.get("host", ""))
        if named:
            return named
        action = dict(_form(request)).get("Action", "")
        for name, service in self._services.items():
            if action in service.anonymous:
                return name
        return ""


def _form(request: Request) -> list[tuple[str, str]]:
    try:
        return form_of(request)
    except Malformed:
        return []


def _is_health(request: Request) -> bool:
    return (
        request.method in ("GET", "HEAD")
        and request.path in HEALTH_PATHS
        and not request.query
        and "authorization" not in request.headers
    )


def _family(request: Request) -> str:
    shown = detect(request)
    return "rest-json" if shown == "rest" else shown


def _locate(
    protocol: Protocol, codec: ServiceCodec, request: Request
) -> tuple[str, Mapping[str, str], AwsError | None]:
    """The operation named, its labels, and the error to give once the caller is known."""
    try:
        operation, labels = protocol.locate(request)
        if operation not in codec.modelled:
            raise UnknownOperation(operation)
    except UnknownOperation as error:
        fault = codec.unknown(protocol.name, error)
        return "", {}, AwsError(fault.code, fault.message, fault.status)
    except Malformed as error:
        fault = codec.malformed(protocol.name, error)
        return "", {}, AwsError(fault.code, fault.message, fault.status)
    return operation, labels, None


def _narrowed(codec: ServiceCodec, protocol: Protocol, operation: str, request: Request) -> Request:
    """What the long tail may see of a request; S3's objects may be gzip files."""
    whole = request if codec.name == "s3" else _inflated(request)
    try:
        return plain(codec.name, protocol.name, operation, whole)
    except Malformed as error:
        fault = codec.malformed(protocol.name, error)
    raise AwsError(fault.code, fault.message, fault.status)


def _parse(
    codec: ServiceCodec,
    protocol: Protocol,
    operation: str,
    request: Request,
    labels: Mapping[str, str],
) -> dict[str, Any]:
    try:
        return protocol.operations[operation].parse(request, labels)
    except Malformed as error:
        fault = codec.malformed(protocol.name, error)
    except RecursionError:
        fault = codec.malformed(protocol.name, Malformed("The request is nested too deeply"))
    raise AwsError(fault.code, fault.message, fault.status)


def _inflated(request: Request) -> Request:
    """The request with a gzip body unpacked (the requestCompression trait), within a bound."""
    if request.headers.get("content-encoding") != "gzip":
        return request
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        body = inflater.decompress(request.body, MAX_INFLATED)
    except zlib.error as error:
        raise AwsError("SerializationException", "The gzip body could not be read") from error
    if inflater.unconsumed_tail:
        raise AwsError("RequestEntityTooLarge", "The request body is too large", 413)
    headers = {k: text for k, text in request.headers.items() if k != "content-encoding"}
    return replace(request, body=body, headers=headers)
