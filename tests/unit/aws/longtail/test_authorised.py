"""What the long tail carries out is what was authorised, however a request words it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest

from proa.base.http import Request, Response
from proa.wire.sigv4 import Signer, sign
from tests.unit.aws.longtail.tail_world import KEY, SECRET, TailWorld


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TailWorld]:
    started = TailWorld(tmp_path_factory.mktemp("authorised"))
    yield started
    started.close()


def signed(world: TailWorld, service: str, target: str, body: bytes, **headers: str) -> Response:
    path, _, raw = target.partition("?")
    pairs = tuple(tuple(part.split("=", 1)) for part in raw.split("&") if part)
    given = {"host": "localhost"} | {k.replace("_", "-"): text for k, text in headers.items()}
    request = Request("POST", path, pairs, given, body, raw)  # type: ignore[arg-type]
    now = world.gateway._clock.now()
    ready = sign(request, Signer(KEY, SECRET, "us-east-1", service), now)
    return world.run(world.gateway.handle(ready))


@pytest.mark.parametrize("target", ["/", "/?Action=DisableKey"])
@pytest.mark.parametrize(
    "body", ['{{"KeyId":"{0}"}}', '{{"KeyId":"{0}","Marker":"x&Action=DisableKey&KeyId={0}"}}']
)
def test_a_json_service_is_not_talked_into_another_operation(
    world: TailWorld, target: str, body: str
) -> None:
    kms = world.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    signed(
        world, "kms", target, body.format(key).encode(),
        content_type="application/x-amz-json-1.1", x_amz_target="TrentService.ListKeys",
    )  # fmt: skip
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"


def test_a_parameter_given_twice_deletes_nothing(world: TailWorld) -> None:
    sns = world.client("sns")
    mine, theirs = (sns.create_topic(Name=name)["TopicArn"] for name in ("mine", "theirs"))
    body = f"Action=DeleteTopic&Version=2010-03-31&TopicArn={theirs}&TopicArn={mine}"
    answer = signed(
        world, "sns", "/", body.encode(), content_type="application/x-www-form-urlencoded"
    )
    assert answer.status == 400
    assert {topic["TopicArn"] for topic in sns.list_topics()["Topics"]} == {mine, theirs}


def test_an_object_may_be_a_gzip_file_or_say_that_it_is_one(world: TailWorld) -> None:
    s3 = world.client("s3")
    s3.create_bucket(Bucket="packed")
    for key, body in (("one", gzip.compress(b"text")), ("two", b"none")):
        s3.put_object(Bucket="packed", Key=key, Body=body, ContentEncoding="gzip")
        assert s3.get_object(Bucket="packed", Key=key)["Body"].read() == body
