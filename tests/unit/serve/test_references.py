"""Which repository of the registry an image reference means."""

from __future__ import annotations

import pytest

from proa.base.errors import CallerFault
from proa.serve.references import parse, repositories_of, shown

PORT = 4510
DIGEST = "sha256:" + "a" * 64
ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("text", "repository", "tag", "digest"),
    [
        ("x", "docker.io/library/x", "latest", ""),
        ("x:v1", "docker.io/library/x", "v1", ""),
        ("team/x", "docker.io/team/x", "latest", ""),
        ("docker.io/x:v1", "docker.io/library/x", "v1", ""),
        ("index.docker.io/library/x", "docker.io/library/x", "latest", ""),
        (f"x@{DIGEST}", "docker.io/library/x", "", DIGEST),
        (f"quay.io/a/b:v1@{DIGEST}", "quay.io/a/b", "", DIGEST),
        (f"{ECR}/a/b:v1", f"{ECR}/a/b", "v1", ""),
        ("localhost:4510/x", "x", "latest", ""),
        ("127.0.0.1:4510/a/b:v1", "a/b", "v1", ""),
        ("localhost:5000/x:v1", "localhost__5000/x", "v1", ""),
        ("localhost/x:v1", "localhost/x", "v1", ""),
    ],
)
def test_reference_is_completed_as_docker_does(
    text: str, repository: str, tag: str, digest: str
) -> None:
    found = parse(text, PORT)
    assert (found.repository, found.tag, found.digest) == (repository, tag, digest)
    assert repository in repositories_of(found.path, found.host)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":v1",
        "x:",
        "X",
        "x:v 1",
        "x@",
        "x@sha256:1",
        "../x",
        "a//b",
        "quay.io/",
        "a b/c.d/x",
        "x:" + "v" * 129,
        "quay.io/../x",
        "-.io/x/",
    ],
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(CallerFault):
        parse(text, PORT)


@pytest.mark.parametrize(
    "name",
    [
        "docker.io/library/x",
        "quay.io/a/b",
        "localhost:5000/x",
        "localhost/x",
        f"{ECR}/x",
        "localhost:4510/team/x",
    ],
)
def test_what_is_shown_is_what_containers_ask_for(name: str) -> None:
    assert shown(parse(name, PORT).repository, PORT) == name
