"""Image references and the repositories of our registry that they mean: pure text.

A registry that Proa stands in for is a folder of repositories named after its host
(``docker.io/library/nginx``); what was pushed to our own registry lies under its plain name.
The registry asks where a pulled image may lie, ``proa image`` where one is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from proa.base.errors import CallerFault
from proa.store.blobs import DIGEST

NAME_LIMIT = 255
_NAME = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_HOST = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*(?::\d+)?")
_ECR = re.compile(r"\d+\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?")
_PORT = re.compile(r"(.+)__(\d+)")
_LOCAL = ("localhost", "127.0.0.1")


def is_name(text: str) -> bool:
    """Whether it may name a repository (distribution-spec, pulling manifests)."""
    return len(text) <= NAME_LIMIT and _NAME.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether it may be a tag."""
    return _TAG.fullmatch(text) is not None


@dataclass(slots=True, frozen=True)
class Reference:
    """``path`` at the registry ``host``, which is empty for our own; one of ``tag`` and
    ``digest`` is set."""

    host: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """Where our registry keeps it."""
        return f"{folder_of(self.host)}/{self.path}" if self.host else self.path


def parse(text: str, registry_port: int) -> Reference:
    """The place that a reference means, completed as Docker does it (docker.io, library/,
    latest). Raises CallerFault."""
    rest, _, digest = text.partition("@")
    head, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        head, tag = rest, ""
    host, slash, path = head.partition("/")
    if not slash or not ({".", ":"} & set(host) or host == "localhost"):
        host, path = "docker.io", head
    host = "docker.io" if host == "index.docker.io" else host
    if host == "docker.io" and "/" not in path:
        path = f"library/{path}"
    bad_digest = "@" in text and not DIGEST.fullmatch(digest)
    bad_tag = colon and rest != head and not is_tag(tag)
    if not _HOST.fullmatch(host) or not is_name(path) or bad_digest or bad_tag:
        raise CallerFault(f"{text!r} is no image reference")
    ours = host in {f"{name}:{registry_port}" for name in _LOCAL}
    return Reference("" if ours else host, path, "" if digest else tag or "latest", digest)


def folder_of(host: str) -> str:
    """The folder of repositories that stand in for a registry's."""
    return host.lower().replace(":", "__")


def shown(repository: str, registry_port: int) -> str:
    """The name under which containers ask for what a repository holds."""
    head, slash, path = repository.partition("/")
    if not slash or not ("." in head or head == "localhost" or _PORT.fullmatch(head)):
        return f"localhost:{registry_port}/{repository}"
    return _PORT.sub(r"\1:\2", head) + slash + path


def repositories_of(name: str, namespace: str) -> Iterator[str]:
    """Where an image may lie, best first. What was pushed without naming a registry is found
    under its plain name, and for ECR under ``ecr/`` whatever the account and region."""
    if not namespace:
        yield name
        yield f"docker.io/{name}"
        return
    if not _HOST.fullmatch(namespace):
        return
    yield f"{folder_of(namespace)}/{name}"
    if _ECR.fullmatch(namespace):
        yield f"ecr/{name}"
    if namespace == "docker.io" and name.startswith("library/"):
        yield name.removeprefix("library/")
    yield name
