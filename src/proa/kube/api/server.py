"""The API server: from a request to its answer, and the entrance for calls in process.

In order: who asks (``authn``); what for (``paths``); may they (``rbac``); then discovery and
documents, or the registry (``reads``, ``watching``, ``mutations``, ``streams``). Every refusal
is a Status. ``call`` is the same path from admission on, for the hull and the controllers of
this process, which are trusted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from itertools import islice
from typing import Any

import orjson

from proa.base.errors import CallerFault, Conflict, TryAgain
from proa.base.http import Request, Response
from proa.base.telemetry import get_logger
from proa.dispatch.batches import commit_all, merged, packed, transaction_of
from proa.dispatch.skin import Parts
from proa.kube.api import bodies, documents, schemas
from proa.kube.api.account_tokens import AccountTokens
from proa.kube.api.authn import ForeignTokens, bearer, certified, nobodys_tokens
from proa.kube.api.call import ApiError, Call
from proa.kube.api.context import LOOPBACK, Api, Json, User
from proa.kube.api.failures import (
    JSON,
    bad_request,
    failure,
    method_not_allowed,
    no_such_path,
    not_found,
    too_large,
)
from proa.kube.api.impersonation import impersonated
from proa.kube.api.methods import check_method, check_place
from proa.kube.api.metrics import Counts
from proa.kube.api.mutations import Mutations, Wanted
from proa.kube.api.node_link import NodeLink
from proa.kube.api.options import WriteOptions, write_options
from proa.kube.api.own_writes import way_of
from proa.kube.api.paths import Target
from proa.kube.api.proxying import Proxy
from proa.kube.api.rbac import Rbac
from proa.kube.api.reads import Reader
from proa.kube.api.reviews import review, token_request
from proa.kube.api.routes import Route, Routes
from proa.kube.api.streams import PodStreams
from proa.kube.api.subresources import bind, created_success, evict
from proa.kube.api.tokens import TokenIssuer
from proa.kube.api.twins import Twins, may_have_twins
from proa.kube.api.watching import Watcher
from proa.kube.api.writes import Writer, Written
from proa.kube.schema.kinds import Resource
from proa.kube.schema.openapi import OpenAPI
from proa.store.api import MAX_BYTES, TooLarge, Transaction

log = get_logger(__name__)
ATTEMPTS = 8  # at the short way, before the long one


class KubeApi:
    """One cluster's API."""

    def __init__(
        self,
        api: Api,
        issuer: TokenIssuer,
        openapi: Callable[[], OpenAPI],
        link: NodeLink,
        foreign_tokens: ForeignTokens = nobodys_tokens,
    ) -> None:
        """``foreign_tokens`` is asked about bearer tokens that ``issuer`` has not signed."""
        self.api = api
        self._issuer, self._foreign_tokens = issuer, foreign_tokens
        self._rbac = Rbac(api)
        self._reader, self._watcher = Reader(api), Watcher(api)
        self._writer = Writer(api, AccountTokens(api, issuer).complete)
        self._twins = Twins(api)
        self._streams, self._proxy = PodStreams(api, link), Proxy(api, link)
        self._counts = Counts()
        self._mutations = Mutations(api, self._rbac, self._reader, self._writer)
        self._documents = documents.Documents(api, issuer, openapi, self._counts)
        self._routes = Routes(api.kinds)
        self._called: dict[tuple[str, str, str], Resource] = {}  # by what Calls of ours say

    async def handle(self, request: Request) -> Response:
        """Answer one request; never raises but for cancellation."""
        route = self._routes.of(request)
        try:
            user = certified(request)
            if user is None:
                user = await bearer(request, self.api, self._issuer, self._foreign_tokens)
            answer = self._answer(request, route, user)
            if not isinstance(answer, Response):
                answer = await answer
        except Exception as error:
            answer = _refusal(request, error)
        self._counts.request(route.series, answer.status)
        return answer

    def _answer(self, request: Request, route: Route, user: User) -> Response | Awaitable[Response]:
        """The answer, or who has it: between here and there nothing waits, and no coroutine is
        needed. Raises ApiError."""
        user = impersonated(request, user, self._rbac)
        for needed in route.needed:
            if not self._rbac.allows(user, needed):
                raise self._rbac.denial(user, needed)
        target, resource = route.target, route.resource
        if target is None:
            return self._documents.answer(request)
        if resource is None:
            raise no_such_path()
        check_place(resource, target)
        bodies.check_size(request)
        if target.subresource:
            return self._subresource(request, resource, target, user)
        return self._resource(request, resource, target, user)

    def _resource(
        self, request: Request, resource: Resource, target: Target, user: User
    ) -> Awaitable[Response]:
        unnamed = target.verb in ("create", "list", "deletecollection")
        if target.verb not in resource.verbs or (
            target.verb != "watch" and unnamed == bool(target.name)
        ):
            raise method_not_allowed()
        if "get" not in resource.verbs:
            return self._reviewed(request, resource, target, user)
        if target.verb == "get":
            return self._reader.get(request, resource, target)
        if target.verb == "list":
            return self._reader.collection(request, resource, target)
        if target.verb == "watch":
            return self._watcher.watch(request, resource, target)
        return self._mutations.answer(Wanted(request, resource, target, user))

    async def _reviewed(
        self, request: Request, resource: Resource, target: Target, user: User
    ) -> Response:
        body = bodies.read_body(request)
        asked = (self.api, self._rbac, self._issuer, self._foreign_tokens)
        answer = await review(*asked, user, resource.kind, target.namespace, body)
        return Response(201, orjson.dumps(answer), dict(JSON))

    async def _subresource(
        self, request: Request, resource: Resource, target: Target, user: User
    ) -> Response:
        if target.subresource not in resource.subresources:
            raise no_such_path()
        check_method(target)
        streams = {
            "log": self._streams.log,
            "exec": self._streams.exec,
            "attach": self._streams.attach,
            "portforward": self._streams.port_forward,
            "proxy": self._proxy.answer,
        }
        if target.subresource in streams:
            return await streams[target.subresource](request, resource, target)
        if target.subresource == "scale":
            return await self._mutations.scale(Wanted(request, resource, target, user))
        if target.subresource in ("binding", "eviction"):
            return await self._bind_or_evict(request, resource, target)
        if target.subresource == "token":
            body = bodies.read_body(request)
            now = self.api.clock.now()
            args = (self.api, self._issuer, target.namespace, target.name, body, now)
            return Response(201, orjson.dumps(token_request(*args)), dict(JSON))
        if target.subresource not in ("status", "finalize"):
            message = f"{target.subresource} of {resource.group_resource} is not served yet"
            raise ApiError(501, "NotImplemented", message)
        return await self._mutations.part(Wanted(request, resource, target, user))

    async def _bind_or_evict(
        self, request: Request, resource: Resource, target: Target
    ) -> Response:
        body, options = bodies.read_body(request), write_options(request, "CreateOptions")
        if target.subresource == "binding":
            schemas.check_types(self._builtin, schemas.BINDING, body)
            await bind(self._writer, resource, target, body, options)
        else:
            schemas.check_types(self._builtin, schemas.EVICTION, body)
            await evict(self.api, self._writer, resource, target, body, options.dry_run)
        return created_success()

    @property
    def _builtin(self) -> Resource:
        """Whose definitions describe the bodies that are no stored objects."""
        return self.api.builtin("", "pods")

    # In process

    async def call(self, call: Call) -> Json:
        """Carry out a Call; the object after it ({} where it is gone). Raises ApiError."""
        obj, _ = await self._call(call)
        return obj

    async def perform(self, call: Call) -> int:
        """Carry out a Call of a Plan; the version that the view must reach. Raises ApiError."""
        for _ in range(ATTEMPTS):
            parts = self._short(call)
            if parts is None:
                break
            if not parts.writes:
                return 0
            try:
                done = await self.api.store.commit(Transaction(parts.guards, parts.writes))
            except Conflict:
                await self.api.fresh()
                continue
            return done.version
        return (await self._call(call))[1]

    def _short(self, call: Call) -> Parts | None:
        """What a Call commits on the short way; None where it has to take the long one."""
        resource = self._resource_of(call)
        way = way_of(call, resource)
        return way(self.api, resource, call) if way is not None else None

    async def perform_all(self, calls: Sequence[Call]) -> int:
        """Carry out Calls of a Plan in their order, neighbours that may take the short way in one
        transaction; the version that the view must reach. Raises ApiError at the first that is
        refused, when those before it are carried out."""
        version = 0
        waiting: dict[str, tuple[Call, Parts]] = {}
        for call in calls:
            key = self.api.key(self._resource_of(call), call.namespace, call.name)
            if key in waiting:  # it is to be decided on what is waiting
                version, waiting = max(version, await self._commit(waiting.values())), {}
                await self.api.view.reached(version)
            parts = self._short(call)
            if parts is None:
                version, waiting = max(version, await self._commit(waiting.values())), {}
                await self.api.view.reached(version)
                version = max(version, await self.perform(call))
                await self.api.view.reached(version)
            elif parts.writes:
                waiting[key] = call, parts
        return max(version, await self._commit(waiting.values()))

    async def _commit(self, pieces: Collection[tuple[Call, Parts]]) -> int:
        """Write together what was decided, in order. Where somebody else was faster, each of a
        transaction is decided again by itself, and nothing after one that is refused is written.
        Raises ApiError."""
        version, calls = 0, (call for call, _ in pieces)
        for pack in packed(parts for _, parts in pieces):
            doing = list(islice(calls, len(pack)))
            try:
                done = await self.api.store.commit(transaction_of(pack))
            except Conflict:
                await self.api.fresh()
                for call in doing:
                    version = max(version, await self.perform(call))
                    await self.api.view.reached(version)
            else:
                version = done.version
        return version

    async def create_all(
        self, children: Sequence[tuple[Call, Sequence[Parts]]], then: Sequence[Call] = ()
    ) -> int:
        """Carry out Calls that create named objects, each with what is to be written beside it,
        in few transactions, and after them ``then``, as far as it may take the short way; the
        version that the view must reach. Raises ApiError at the first that is refused, when those
        before it are there; Conflict where somebody was faster."""
        await self.api.fresh()
        made: list[Parts] = []
        refusal: ApiError | None = None
        for call, beside in children:
            try:
                found = self._born(call)
            except ApiError as error:
                refusal = error
                break
            made += [merged((found, *beside))] if found is not None else []
        if refusal is not None:
            await commit_all(self.api.store, self.api.view, made)
            raise refusal
        last: list[Parts] = []
        for call in then:
            parts = self._short(call)
            last += [parts] if parts is not None and parts.writes else []
        return await self._commit_births(made, last)

    async def _commit_births(self, made: Sequence[Parts], last: Sequence[Parts]) -> int:
        """Write what is made, and ``last`` if nothing of it is refused, in one transaction where
        they fit into one; the version that the view must reach. Raises Conflict."""
        store, view = self.api.store, self.api.view
        packs = list(packed([*made, *last]))
        if len(packs) == 1:
            try:
                return (await store.commit(transaction_of(packs[0]))).version
            except Conflict:
                pass  # somebody was faster: each as far as it goes
        refused = await commit_all(store, view, made) or await commit_all(store, view, last)
        if refused:
            raise Conflict(f"{len(refused)} objects were not written")
        return view.version

    def _born(self, call: Call) -> Parts | None:
        """What creates one object; None for one that is there already. Raises ApiError."""
        resource = self._resource_of(call)
        if self.api.entry(resource, call.namespace, call.name) is not None:
            return None
        expected = may_have_twins(call)
        twin = self._twins.like(resource, call) if expected else None
        if twin is not None:
            return twin
        (done,) = self.prepared((call,))
        if expected:
            self._twins.learn(call, done)
        return Parts(done.guards, done.writes)

    def prepared(self, calls: Sequence[Call]) -> list[Transaction]:
        """What Calls that create named objects would commit, decided on the view as it is;
        nothing for one that is there already. Raises ApiError."""
        found = []
        for call in calls:
            assert call.verb == "create", call.verb
            resource = self._resource_of(call)
            if self.api.entry(resource, call.namespace, call.name) is None:
                body = _new_body(call, resource)
                found.append(self._writer.prepared(resource, call.namespace, body, _options(call)))
        return found

    async def _call(self, call: Call) -> tuple[Json, int]:
        resource = self._resource_of(call)
        try:
            written = await self._carry_out(call, resource, _options(call))
        except ApiError as error:
            missing = call.missing_ok and error.code == 404
            existing = call.existing_ok and error.reason == "AlreadyExists"
            if missing or existing:
                return {}, 0
            raise
        return written.obj, written.version

    def _resource_of(self, call: Call) -> Resource:
        named = str(call.body.get("apiVersion", ""))
        known = self._called.get((call.group, named, call.resource))
        if known is not None:
            return known
        versions = self.api.kinds.versions(call.group)
        for version in [named.rpartition("/")[2], *versions]:
            found = self.api.kinds.find(call.group, version, call.resource)
            if found is not None:
                self._called[call.group, named, call.resource] = found
                return found
        raise no_such_path()

    async def _carry_out(self, call: Call, resource: Resource, options: WriteOptions) -> Written:
        where = (resource, call.namespace, call.name)
        if call.verb == "create":
            body = _new_body(call, resource)
            return await self._writer.create(resource, call.namespace, body, LOOPBACK, options)
        if call.verb == "delete":
            return await self._writer.delete(*where, _delete_options(call))
        if call.verb == "get":
            await self.api.fresh()
            entry = self.api.entry(*where)
            if entry is None:
                raise not_found(resource, call.name)
            return Written(bodies.opened(resource, entry))
        if call.subresource == "binding":
            target = Target("create", call.group, "", call.resource, call.namespace, call.name)
            return await bind(self._writer, resource, target, call.body, options)

        def edit(obj: Json) -> Json:
            _check_call(call, obj, resource)
            if call.verb == "update":
                wanted = dict(call.body)
            else:
                wanted = schemas.patched(resource, obj, call.body, call.patch_type)
            if call.version:
                wanted["metadata"] = {
                    **wanted.get("metadata", {}),
                    "resourceVersion": str(call.version),
                }
            return wanted

        return await self._writer.change(
            *where, options, edit, call.subresource, prune=not call.subresource
        )


def _refusal(request: Request, error: Exception) -> Response:
    """The Status of what kept a request from being answered."""
    match error:
        case ApiError():
            return failure(error)
        case Conflict():
            return failure(ApiError(409, "Conflict", str(error)))
        case TryAgain():
            return failure(ApiError(503, "ServiceUnavailable", str(error)))
        case TooLarge():
            return failure(too_large(MAX_BYTES))
        case CallerFault():
            return failure(bad_request(str(error)))
    log.error("request failed", method=request.method, path=request.path, exc_info=error)
    return failure(ApiError(500, "InternalError", "Internal error occurred"))


def _options(call: Call) -> WriteOptions:
    return WriteOptions(field_validation="Ignore", manager=call.user.rpartition(":")[2])


def _new_body(call: Call, resource: Resource) -> Json:
    """The object of a create, complete; a copy, for admission changes it in place."""
    body: Json = orjson.loads(orjson.dumps(call.body))
    body.setdefault("apiVersion", resource.api_version)
    body.setdefault("kind", resource.kind)
    body.setdefault("metadata", {})
    if call.name:
        body["metadata"].setdefault("name", call.name)
    return body


def _check_call(call: Call, obj: Json, resource: Resource) -> None:
    if call.uid and obj["metadata"]["uid"] != call.uid:
        raise not_found(resource, call.name)


def _delete_options(call: Call) -> Json:
    options: dict[str, Any] = {}
    if call.uid or call.version:
        options["preconditions"] = {
            **({"uid": call.uid} if call.uid else {}),
            **({"resourceVersion": str(call.version)} if call.version else {}),
        }
    if call.grace_s is not None:
        options["gracePeriodSeconds"] = call.grace_s
    if call.propagation:
        options["propagationPolicy"] = call.propagation
    return options
