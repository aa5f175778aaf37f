"""OpenAPI documents, built when first asked for and kept compressed.

``kubectl explain`` and ``kubectl apply`` read /openapi/v3 (KEP-2896): an index of group versions
with a hash each, then a document per group version. Schemas are spliced in as text, never parsed;
paths are synthesised from the kinds. kubectl looks there for the operations' kinds, and on PATCH
for the query parameters ``fieldValidation`` and ``dryRun``, without which it falls back to
validating by itself. /openapi/v2 is the same in the older form, in one document.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

import orjson

from proa.kube.schema.cache import SchemaCache
from proa.kube.schema.convert import COMPONENTS
from proa.kube.schema.discovery import subresource_kind
from proa.kube.schema.kinds import Kinds, Resource
from proa.wire.kube import openapi_proto

JSON = dict[str, Any]
META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_ACTIONS = {"get": "get", "put": "put", "patch": "patch", "post": "post", "delete": "delete"}
_VERBS = {"get": "get", "put": "update", "patch": "patch", "post": "create", "delete": "delete"}
_WRITING = ("dryRun", "fieldManager", "fieldValidation")
_LISTING = ("fieldSelector", "labelSelector", "limit", "continue", "resourceVersion", "watch")
_PATCH_TYPES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)


class OpenAPI:
    """The documents of one cluster's kinds."""

    def __init__(self, kinds: Kinds, cache: SchemaCache) -> None:
        self._kinds = kinds
        self._cache = cache
        self._groups = {
            _path(group, version): (group, version)
            for group in kinds.groups()
            for version in kinds.versions(group)
        }
        self._built: dict[str, bytes] = {}

    def index(self) -> bytes:
        """/openapi/v3: where each group version's document is, with its hash."""
        paths = {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={self.hash(path)}"}
            for path in self._groups
        }
        return orjson.dumps({"paths": paths})

    def hash(self, path: str) -> str:
        """What changes whenever a document would: its version and its resources."""
        group, version = self._groups[path]
        digest = hashlib.sha256(self._cache.version.encode())
        for resource in self._kinds.of(group, version):
            digest.update(repr(resource).encode())
        return digest.hexdigest().upper()

    def group_version(self, path: str) -> bytes | None:
        """/openapi/v3/<path> ("api/v1", "apis/apps/v1") as JSON, or None."""
        if path not in self._groups:
            return None
        return self._kept(path, lambda: self._document(path))

    def v2(self) -> bytes:
        """/openapi/v2 as JSON."""
        return self._kept("v2", self._swagger)

    def v2_protobuf(self) -> bytes:
        """/openapi/v2 as openapi.v2.Document."""
        return self._kept("v2.pb", lambda: openapi_proto.encode(orjson.loads(self.v2())))

    def _kept(self, name: str, build: Any) -> bytes:
        compressed = self._built.get(name)
        if compressed is None:
            document: bytes = build()
            self._built[name] = zlib.compress(document, 6)
            return document
        return zlib.decompress(compressed)

    def _document(self, path: str) -> bytes:
        resources = self._kinds.of(*self._groups[path])
        documents = self._cache.documents()
        schemas = {
            name: orjson.Fragment(documents[name])
            for name in sorted(self._cache.reachable(self._roots(resources)))
            if name in documents
        }
        return orjson.dumps(
            {
                "openapi": "3.0.0",
                "info": {"title": "Kubernetes", "version": f"v{self._cache.version}.0"},
                "paths": _paths(resources, _Operations()),
                "components": {"schemas": schemas},
            }
        )

    def _roots(self, resources: list[Resource]) -> list[str]:
        """Definitions that the operations of some resources name."""
        kinds = self._cache.kinds()
        roots = [f"{META}.DeleteOptions", f"{META}.Status", f"{META}.Patch"]
        for resource in resources:
            group, version = resource.group, resource.version
            names = [(group, version, resource.kind), (group, version, f"{resource.kind}List")]
            names += [subresource_kind(resource, sub)[:3] for sub in resource.subresources]
            roots += [kinds[name] for name in names if name in kinds]
        return roots

    def _swagger(self) -> bytes:
        resources = [resource for resource in self._kinds.resources() if resource.schemas]
        documents = self._cache.documents()
        definitions = {
            name: orjson.Fragment(_swagger_schema(documents[name]))
            for name in sorted(self._cache.reachable(self._roots(resources)))
            if name in documents
        }
        return orjson.dumps(
            {
                "swagger": "2.0",
                "info": {"title": "Kubernetes", "version": f"v{self._cache.version}.0"},
                "paths": _paths(resources, _SwaggerOperations()),
                "definitions": definitions,
            }
        )


def _path(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _paths(resources: list[Resource], operations: _Operations) -> JSON:
    paths: JSON = {}
    for resource in resources:
        root = f"/{_path(resource.group, resource.version)}"
        scoped = f"{root}/namespaces/{{namespace}}" if resource.namespaced else root
        own = (resource.group, resource.version, resource.kind)
        many = f"{scoped}/{resource.name}"
        paths[many] = operations.of(resource, own, many, ("get", "post", "delete"), many=True)
        if resource.namespaced:
            paths[f"{root}/{resource.name}"] = operations.of(
                resource, own, f"{root}/{resource.name}", ("get",), many=True
            )
        one = f"{many}/{{name}}"
        paths[one] = operations.of(resource, own, one, ("get", "put", "patch", "delete"))
        for name in resource.subresources:
            *kind, verbs = subresource_kind(resource, name)
            methods = tuple(method for method, verb in _VERBS.items() if verb in verbs)
            at = f"{one}/{name}"
            paths[at] = operations.of(resource, tuple(kind), at, methods, verbs=verbs)
    return {path: item for path, item in paths.items() if len(item) > 1}


class _Operations:
    """The path items of OpenAPI v3."""

    def of(
        self,
        resource: Resource,
        kind: tuple[str, ...],
        path: str,
        methods: tuple[str, ...],
        *,
        many: bool = False,
        verbs: tuple[str, ...] = (),
    ) -> JSON:
        """One path's operations, those that the resource's verbs allow, and its parameters."""
        allowed = verbs or resource.verbs
        item: JSON = {}
        for method in methods:
            verb = _verb(method, many)
            if verb in allowed:
                item[method] = self._operation(kind, method, many)
        names = [name for name in ("namespace", "name") if f"{{{name}}}" in path]
        item["parameters"] = [self.parameter(name, "path") for name in names]
        return item

    def _operation(self, kind: tuple[str, ...], method: str, many: bool) -> JSON:
        names: tuple[str, ...] = ()
        if method in ("put", "post", "patch"):
            names = (*_WRITING, "force") if method == "patch" else _WRITING
        elif many:
            names = _LISTING
        group, version, name = kind
        action = "list" if many and method == "get" else _ACTIONS[method]
        return {
            "parameters": [self.parameter(parameter, "query") for parameter in names],
            **self.body(method),
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "deletecollection" if many and method == "delete" else action,
            "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": name},
        }

    def parameter(self, name: str, place: str) -> JSON:
        kind = {"limit": "integer", "watch": "boolean", "force": "boolean"}.get(name, "string")
        schema: JSON = {"type": kind, "uniqueItems": True}
        return {"name": name, "in": place, "schema": schema, **_needed(place)}

    def body(self, method: str) -> JSON:
        if method != "patch":
            return {}
        schema = {"$ref": f"{COMPONENTS}{META}.Patch"}
        return {"requestBody": {"content": {kind: {"schema": schema} for kind in _PATCH_TYPES}}}


class _SwaggerOperations(_Operations):
    """The path items of OpenAPI v2."""

    def parameter(self, name: str, place: str) -> JSON:
        kind = {"limit": "integer", "watch": "boolean", "force": "boolean"}.get(name, "string")
        return {"name": name, "in": place, "type": kind, "uniqueItems": True, **_needed(place)}

    def body(self, method: str) -> JSON:
        return {"consumes": list(_PATCH_TYPES)} if method == "patch" else {}


def _needed(place: str) -> JSON:
    return {"required": True} if place == "path" else {}


def _verb(method: str, many: bool) -> str:
    if many:
        return {"get": "list", "delete": "deletecollection"}.get(method, _VERBS[method])
    return _VERBS[method]


def _swagger_schema(text: bytes) -> bytes:
    """One schema in the older form: references unwrapped, unions as what they are written as."""
    return orjson.dumps(_downgrade(orjson.loads(text)))


def _downgrade(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_downgrade(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    older: JSON = {}
    for key, value in schema.items():
        if key == "allOf" and isinstance(value, list):
            older["$ref"] = _definition_ref(value[0]["$ref"])
        elif key == "$ref" and isinstance(value, str):
            older["$ref"] = _definition_ref(value)
        elif key == "oneOf" and isinstance(value, list):
            older["type"] = "string"
        else:
            older[key] = _downgrade(value)
    return older


def _definition_ref(reference: str) -> str:
    return f"#/definitions/{reference.removeprefix(COMPONENTS)}"
