"""S3 behind the gateway: addresses, bodies, what survives."""

from __future__ import annotations

import hashlib
import urllib.parse
from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError
from msgspec.structs import replace

from proa.base.errors import CallerFault
from proa.base.http import Request
from tests.unit.aws.longtail.tail_world import ACCOUNT, KEY, SECRET, TailWorld

BIG = hashlib.sha256(b"seed").digest() * 20_000  # beyond what is kept in memory


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TailWorld]:
    made = TailWorld(tmp_path_factory.mktemp("tail"))
    made.client("s3").create_bucket(Bucket="shelf")
    yield made
    made.close()


def code_of(call, **given) -> str:  # type: ignore[no-untyped-def]
    with pytest.raises(ClientError) as raised:
        call(**given)
    return str(raised.value.response["Error"]["Code"])


@pytest.mark.parametrize("key", ["plain", "a b/ü?x=%20+", "deep/../er", "dir/"])
def test_object_of_any_name_is_given_back(world: TailWorld, key: str) -> None:
    s3 = world.client("s3")
    s3.put_object(Bucket="shelf", Key=key, Body=BIG, Metadata={"colour": "red"})
    found = s3.get_object(Bucket="shelf", Key=key)
    assert (found["Body"].read(), found["Metadata"]) == (BIG, {"colour": "red"})
    assert key in [item["Key"] for item in s3.list_objects_v2(Bucket="shelf")["Contents"]]
    assert s3.head_object(Bucket="shelf", Key=key)["ContentLength"] == len(BIG)


def test_virtual_hosted_style_reaches_the_same_bucket(world: TailWorld) -> None:
    world.client("s3").put_object(Bucket="shelf", Key="k", Body=b"1")
    virtual = world.client("s3", s3={"addressing_style": "virtual"})
    virtual.meta.events.register("before-sign.s3", to_localhost)
    assert virtual.get_object(Bucket="shelf", Key="k")["Body"].read() == b"1"
    assert world.caller.seen[-1][0].headers["host"] == "shelf.localhost:4566"


def to_localhost(request, **_kwargs) -> None:  # type: ignore[no-untyped-def]
    request.url = request.url.replace("127.0.0.1", "shelf.localhost").replace("/shelf/", "/")


def test_presigned_url_works_until_it_is_altered(world: TailWorld) -> None:
    s3 = world.client("s3")
    s3.put_object(Bucket="shelf", Key="signed", Body=b"1")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "shelf", "Key": "signed"})
    parts = urllib.parse.urlsplit(url)
    request = Request(
        "GET", parts.path, tuple(urllib.parse.parse_qsl(parts.query)),
        {"host": parts.netloc}, raw_query=parts.query,
    )  # fmt: skip
    assert world.caller.call(request).body == b"1"
    refused = world.caller.call(replace(request, path="/shelf/other"))
    assert (refused.status, b"SignatureDoesNotMatch" in refused.body) == (403, True)


def test_multipart_upload_is_put_together(world: TailWorld) -> None:
    s3 = world.client("s3")
    upload = s3.create_multipart_upload(Bucket="shelf", Key="parts")["UploadId"]
    parts = []
    for number, body in ((1, b"a" * 5 * 1024 * 1024), (2, b"b")):
        tag = s3.upload_part(
            Bucket="shelf", Key="parts", UploadId=upload, PartNumber=number, Body=body
        )["ETag"]
        parts.append({"PartNumber": number, "ETag": tag})
    s3.complete_multipart_upload(
        Bucket="shelf", Key="parts", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    world.kill()
    body = s3.get_object(Bucket="shelf", Key="parts")["Body"].read()
    assert (len(body), body[-1:]) == (5 * 1024 * 1024 + 1, b"b")


def test_changes_of_an_object_that_was_kept_before_survive(world: TailWorld) -> None:
    s3 = world.client("s3")
    for key in ("changed", "bare"):
        s3.put_object(Bucket="shelf", Key=key, Body=b"1")
    s3.put_object_acl(Bucket="shelf", Key="changed", ACL="public-read")
    tags = {"TagSet": [{"Key": "colour", "Value": "red"}]}
    s3.put_object_tagging(Bucket="shelf", Key="changed", Tagging=tags)
    s3.copy_object(
        Bucket="shelf", Key="changed", CopySource="shelf/changed", Metadata={"a": "b"},
        MetadataDirective="REPLACE", TaggingDirective="COPY",
    )  # fmt: skip
    s3.delete_object(Bucket="shelf", Key="bare")
    s3.put_object_acl(Bucket="shelf", Key="changed", ACL="public-read")
    world.kill()
    assert s3.head_object(Bucket="shelf", Key="changed")["Metadata"] == {"a": "b"}
    assert len(s3.get_object_acl(Bucket="shelf", Key="changed")["Grants"]) == 2
    assert s3.get_object_tagging(Bucket="shelf", Key="changed")["TagSet"] == tags["TagSet"]
    assert code_of(s3.get_object, Bucket="shelf", Key="bare") == "NoSuchKey"


def test_upload_in_parts_goes_on_after_the_worker_was_killed(world: TailWorld) -> None:
    s3 = world.client("s3")
    upload = s3.create_multipart_upload(Bucket="shelf", Key="later")["UploadId"]
    given = {"Bucket": "shelf", "Key": "later", "UploadId": upload}
    first = s3.upload_part(**given, PartNumber=1, Body=b"a" * 5 * 1024 * 1024)["ETag"]
    world.kill()
    second = s3.upload_part(**given, PartNumber=2, Body=b"end")["ETag"]
    world.kill()
    parts = [{"PartNumber": 1, "ETag": first}, {"PartNumber": 2, "ETag": second}]
    s3.complete_multipart_upload(**given, MultipartUpload={"Parts": parts})
    body = s3.get_object(Bucket="shelf", Key="later")["Body"].read()
    assert (len(body), body[-3:]) == (5 * 1024 * 1024 + 3, b"end")


def test_content_that_nothing_refers_to_is_removed(tmp_path) -> None:  # type: ignore[no-untyped-def]
    world = TailWorld(tmp_path)
    s3 = world.client("s3")
    s3.create_bucket(Bucket="shelf")
    s3.put_object(Bucket="shelf", Key="one", Body=BIG)
    s3.copy_object(Bucket="shelf", Key="two", CopySource="shelf/one")
    contents = tmp_path / "longtail" / "contents"
    assert len(list(contents.iterdir())) == 1
    s3.delete_object(Bucket="shelf", Key="one")
    assert s3.get_object(Bucket="shelf", Key="two")["Body"].read() == BIG
    s3.delete_object(Bucket="shelf", Key="two")
    assert not list(contents.iterdir())
    world.close()


def test_broken_checksum_is_refused_and_nothing_is_written(world: TailWorld) -> None:
    s3 = world.client("s3")
    wrong = "AAAAAA=="
    assert (
        code_of(s3.put_object, Bucket="shelf", Key="no", Body=b"1", ChecksumCRC32=wrong)
        == "BadDigest"
    )
    assert code_of(s3.get_object, Bucket="shelf", Key="no") == "NoSuchKey"


def test_actions_and_resources_are_what_iam_calls_them(world: TailWorld) -> None:
    s3 = world.client("s3")
    s3.list_objects_v2(Bucket="shelf")
    action, given = world.rules.asked[-1]
    assert (action, given["Bucket"]) == ("s3:ListBucket", "shelf")
    world.rules.refused = ("s3:PutObject",)
    try:
        assert code_of(s3.put_object, Bucket="shelf", Key="no", Body=b"1") == "AccessDenied"
    finally:
        world.rules.refused = ()
    assert code_of(s3.get_object, Bucket="shelf", Key="no") == "NoSuchKey"


def test_object_helper_gives_content_or_s3s_message(world: TailWorld) -> None:
    world.client("s3").put_object(Bucket="shelf", Key="env/a b", Body=b"A=1")
    read = world.tail.object
    assert world.run(read(ACCOUNT, "us-east-1", "shelf", "env/a b")) == b"A=1"
    with pytest.raises(CallerFault, match="NoSuchKey: The specified key does not exist"):
        world.run(read(ACCOUNT, "us-east-1", "shelf", "none"))
    with pytest.raises(CallerFault, match="NoSuchBucket"):
        world.run(read(ACCOUNT, "us-east-1", "nobodys-shelf", "none"))


def test_headers_for_moto_itself_do_not_pass(world: TailWorld) -> None:
    s3 = world.client("s3")
    s3.meta.events.register("before-sign.s3", other_account)
    assert "shelf" in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]


def other_account(request, **_kwargs) -> None:  # type: ignore[no-untyped-def]
    request.headers["x-moto-account-id"] = "999999999999"


def test_wrong_secret_and_unsigned_requests_do_not_reach_it(world: TailWorld) -> None:
    assert code_of(world.client("s3", secret="x").list_buckets) == "SignatureDoesNotMatch"
    unknown = world.client("s3", access_key="AKIANOBODY0000000000", secret=SECRET)
    assert code_of(unknown.list_buckets) == "InvalidAccessKeyId"
    assert KEY not in str(world.caller.call(Request("GET", "/shelf/k", headers={})).body)
