"""Everything that is no resource: version, health, discovery, OpenAPI, the token issuer's keys."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import orjson

from proa.base.http import Request, Response
from proa.kube.api.context import Api
from proa.kube.api.failures import JSON, no_such_path
from proa.kube.api.tokens import TokenIssuer
from proa.kube.schema import discovery
from proa.kube.schema.openapi import OpenAPI

_HEALTH = ("/healthz", "/livez", "/readyz")


class Documents:
    """Answers by path."""

    def __init__(self, api: Api, issuer: TokenIssuer, openapi: Callable[[], OpenAPI]) -> None:
        self._api, self._issuer, self._make_openapi = api, issuer, openapi
        self._made: OpenAPI | None = None

    @property
    def _openapi(self) -> OpenAPI:
        """The schema documents, made when somebody first asks for one."""
        if self._made is None:
            self._made = self._make_openapi()
        return self._made

    def answer(self, request: Request) -> Response:
        """Raises 404 for an unknown path."""
        path = request.path.rstrip("/") or "/"
        if path == "/version":
            return _json(self._version())
        if path.startswith(_HEALTH):
            return self._health(request, path)
        if path in ("/api", "/apis") or path.startswith(("/api/", "/apis/")):
            return self._discovery(request, path)
        if path == "/openapi/v2":
            return self._document(request, self._openapi.v2())
        if path == "/openapi/v3":
            return self._document(request, self._openapi.index())
        if path.startswith("/openapi/v3/"):
            found = self._openapi.group_version(path.removeprefix("/openapi/v3/"))
            if found is not None:
                return self._document(request, found)
        if path == "/.well-known/openid-configuration":
            return _json(self._issuer.openid_configuration())
        if path == "/openid/v1/jwks":
            return _json(self._issuer.jwks())
        if path == "/":
            paths = ["/api", "/apis", *_HEALTH, "/openapi/v2", "/openapi/v3", "/version"]
            return _json({"paths": paths})
        raise no_such_path()

    def _version(self) -> dict[str, Any]:
        version = self._api.cluster.version
        major, minor, _ = version.split(".")
        return {
            "major": major,
            "minor": minor,
            "gitVersion": f"v{version}",
            "gitCommit": "",
            "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": "",
            "compiler": "",
            "platform": "linux/amd64",
        }

    def _health(self, request: Request, path: str) -> Response:
        if not self._api.view.synced.is_set():
            return Response(503, b"[-]view failed\n", {"content-type": "text/plain"})
        name = path.strip("/").partition("/")[0]
        if any(key == "verbose" for key, _ in request.query):
            text = f"[+]ping ok\n[+]view ok\n[+]store ok\n{name} check passed\n"
            return Response(200, text.encode(), {"content-type": "text/plain; charset=utf-8"})
        return Response(200, b"ok", {"content-type": "text/plain; charset=utf-8"})

    def _discovery(self, request: Request, path: str) -> Response:
        kinds, parts = self._api.kinds, path.strip("/").split("/")
        if len(parts) == 1:
            accept = request.headers.get("accept", "")
            chosen = discovery.aggregated_type(accept)
            if chosen:
                body = discovery.aggregated(kinds, accept, core=parts[0] == "api")
                return Response(200, body, {"content-type": chosen})
            if parts[0] == "api":
                return _json(discovery.api_versions(self._api.cluster.address))
            return _json(discovery.api_groups(kinds))
        if parts[0] == "apis" and len(parts) == 2:
            group = discovery.api_group(kinds, parts[1])
            if group is not None:
                return _json(group)
        group_name, version = ("", parts[1]) if parts[0] == "api" else (parts[1], parts[-1])
        listed = discovery.resource_list(kinds, group_name, version)
        if listed is None:
            raise no_such_path()
        return _json(listed)

    def _document(self, request: Request, body: bytes) -> Response:
        tag = f'"{hashlib.sha256(body).hexdigest()[:32].upper()}"'
        headers = {**JSON, "etag": tag, "cache-control": "no-cache, private"}
        if request.param("hash"):
            headers["cache-control"] = "public, immutable"
        if request.headers.get("if-none-match") == tag:
            return Response(304, b"", headers)
        return Response(200, body, headers)


def _json(value: Any) -> Response:
    return Response(200, orjson.dumps(value), dict(JSON))
