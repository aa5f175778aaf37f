"""Everything that is no resource: version, health, metrics, discovery, OpenAPI, issuer's keys."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from proa.base.http import Request, Response
from proa.kube.api.context import Api
from proa.kube.api.failures import JSON, no_such_path
from proa.kube.api.metrics import Counts
from proa.kube.api.tokens import TokenIssuer
from proa.kube.schema import discovery
from proa.kube.schema.openapi import OpenAPI
from proa.wire.kube import openapi_proto

PROTOBUF = {"content-type": openapi_proto.CONTENT_TYPE}
METRICS = {"content-type": "text/plain; version=0.0.4; charset=utf-8"}
_HEALTH = ("/healthz", "/livez", "/readyz")


class Documents:
    """Answers by path."""

    def __init__(
        self, api: Api, issuer: TokenIssuer, openapi: Callable[[], OpenAPI], counts: Counts
    ) -> None:
        self._api, self._issuer, self._make_openapi = api, issuer, openapi
        self._counts = counts
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
        if path == "/metrics":
            return Response(200, self._counts.text(self._api).encode(), dict(METRICS))
        if path == "/openapi/v2":
            if openapi_proto.MEDIA_TYPE in request.headers.get("accept", ""):
                return self._document(request, self._openapi.v2_protobuf(), PROTOBUF)
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
            groups = self._api.kinds.groups()
            named = [f"/apis/{group}" for group in groups if group]
            named += [f"/apis/{group}/{version}" for group in groups if group
                      for version in self._api.kinds.versions(group)]  # fmt: skip
            paths = sorted(["/.well-known/openid-configuration", "/api", "/api/v1", "/apis",
                            "/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks",
                            "/version", *_HEALTH, *named])  # fmt: skip
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
        """One check by its own path, or all but the excluded ones; kube-apiserver's format."""
        endpoint, _, single = path.strip("/").partition("/")
        checks = {"ping": True, "view": self._api.view.synced.is_set()}
        if single:
            if single not in checks:
                raise no_such_path()
            return _plain(200, "ok") if checks[single] else _plain(500, "internal server error: ")
        excluded = {value for key, value in request.query if key == "exclude"}
        lines = [
            f"[+]{name} excluded: ok" if name in excluded
            else f"[+]{name} ok" if ok else f"[-]{name} failed: reason withheld"
            for name, ok in checks.items()
        ]  # fmt: skip
        unknown = sorted(excluded - checks.keys())
        if unknown:
            shown = ", ".join(f'"{name}"' for name in unknown)
            lines.append(f"warn: some health checks cannot be excluded: no matches for {shown}")
        failed = [name for name, ok in checks.items() if not ok and name not in excluded]
        lines.append(f"{endpoint} check {'failed' if failed else 'passed'}")
        if failed:
            return _plain(500, "\n".join(lines))
        verbose = any(key == "verbose" for key, _ in request.query)
        return _plain(200, "\n".join(lines) + "\n" if verbose else "ok")

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

    def _document(self, request: Request, body: bytes, kind: Mapping[str, str] = JSON) -> Response:
        tag = f'"{hashlib.sha256(body).hexdigest()[:32].upper()}"'
        headers = {**kind, "vary": "Accept", "etag": tag, "cache-control": "no-cache, private"}
        if request.param("hash"):
            headers["cache-control"] = "public, immutable"
        if request.headers.get("if-none-match") == tag:
            return Response(304, b"", headers)
        return Response(200, body, headers)


def _plain(status: int, text: str) -> Response:
    headers = {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"}
    return Response(status, text.encode(), {**headers, "cache-control": "no-cache, private"})


def _json(value: Any) -> Response:
    return Response(200, orjson.dumps(value), dict(JSON))
