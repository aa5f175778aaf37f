"""The long tail by its real clients: S3, queues, keys; killed and asked again; what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.live import Proa, eventually


def worker_of(proa: Proa) -> int:
    """The process id of the moto worker, a child of the control plane."""
    control = proa.process("control")
    found = Path(f"/proc/{control}/task/{control}/children").read_text().split()
    for child in found:
        if b"longtail.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    raise AssertionError("no moto worker")


def kill_worker(proa: Proa) -> None:
    killed = worker_of(proa)
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{killed}/exe").exists(), 5)


def code_of(call, **given) -> str:  # type: ignore[no-untyped-def]
    with pytest.raises(ClientError) as raised:
        call(**given)
    return str(raised.value.response["Error"]["Code"])


def test_files_go_to_s3_and_come_back_after_the_worker_was_killed(
    proa: Proa, tmp_path: Path
) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "small.txt").write_text("hello")
    (folder / "large.bin").write_bytes(os.urandom(9_000_000))  # several parts
    proa.run("aws s3 mb s3://tail-files")
    proa.run(f"aws s3 sync {folder} s3://tail-files/site --no-progress")
    kill_worker(proa)
    listed = proa.run("aws s3 ls s3://tail-files --recursive").stdout
    assert "9000000 site/large.bin" in listed
    proa.run(f"aws s3 cp s3://tail-files/site/large.bin {tmp_path}/back --no-progress")
    assert (tmp_path / "back").read_bytes() == (folder / "large.bin").read_bytes()
    missing = proa.run("aws s3 cp s3://tail-files/none /dev/null", ok=False)
    assert "404" in missing.stderr


def test_presigned_urls_of_both_kinds_open_an_object(proa: Proa) -> None:
    s3 = proa.boto("s3")
    s3.create_bucket(Bucket="tail-signed")
    s3.put_object(Bucket="tail-signed", Key="a b.txt", Body=b"open", ContentType="text/plain")
    by_cli = proa.run("aws s3 presign 's3://tail-signed/a b.txt'").stdout.strip()
    by_boto = s3.generate_presigned_url(
        "get_object", Params={"Bucket": "tail-signed", "Key": "a b.txt"}
    )
    for url in (by_cli, by_boto):
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert (answer.read(), answer.headers["content-type"]) == (b"open", "text/plain")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(url.replace("a%20b", "other"), timeout=10)
        with refused.value:
            assert refused.value.code == 403


def test_message_reaches_whoever_waits_for_it(proa: Proa) -> None:
    sqs, sns = proa.boto("sqs"), proa.boto("sns")
    url = sqs.create_queue(QueueName="tail-queue")["QueueUrl"]
    assert url.startswith(proa.environment["AWS_ENDPOINT_URL"])
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    topic = sns.create_topic(Name="tail-topic")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn["QueueArn"])
    waiting = subprocess.Popen(
        ["aws", "sqs", "receive-message", "--queue-url", url, "--wait-time-seconds", "20"],
        env=proa.environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with waiting:
        sns.publish(TopicArn=topic, Message="words for the queue")
        assert "words for the queue" in waiting.communicate(timeout=40)[0]
    sns.publish(TopicArn=topic, Message="second words")
    kill_worker(proa)
    found = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
    assert "second words" in found[0]["Body"]


def test_others_are_answered_while_somebody_waits(proa: Proa) -> None:
    url = proa.boto("sqs").create_queue(QueueName="tail-empty")["QueueUrl"]
    waiting = subprocess.Popen(
        ["aws", "sqs", "receive-message", "--queue-url", url, "--wait-time-seconds", "20"],
        env=proa.environment, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(5):
            proa.boto("sns").list_topics()
        assert waiting.poll() is None
    finally:
        waiting.kill()
        waiting.wait()


def test_services_that_would_pretend_are_refused_by_name(proa: Proa) -> None:
    refused = proa.run("aws rds describe-db-instances", ok=False).stderr
    assert "Proa does not serve 'rds': no database would run." in refused
    refused = proa.run("aws stepfunctions list-state-machines", ok=False).stderr
    assert "Proa does not serve 'stepfunctions'" in refused


def test_regions_of_the_long_tail_do_not_see_each_other(proa: Proa) -> None:
    proa.boto("dynamodb").create_table(
        TableName="tail-table", BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
    )  # fmt: skip
    far = proa.boto("dynamodb", region_name="eu-central-1")
    assert "tail-table" not in far.list_tables()["TableNames"]
    table = proa.boto("dynamodb").describe_table(TableName="tail-table")["Table"]
    assert table["TableArn"] == "arn:aws:dynamodb:us-east-1:000000000000:table/tail-table"


def test_bad_requests_get_the_services_own_errors(proa: Proa) -> None:
    s3, dynamodb = proa.boto("s3"), proa.boto("dynamodb")
    assert code_of(s3.create_bucket, Bucket="no") == "InvalidBucketName"
    assert code_of(s3.get_object, Bucket="tail-no-such-bucket", Key="k") == "NoSuchBucket"
    assert code_of(dynamodb.get_item, TableName="none", Key={}) == "ResourceNotFoundException"
    assert code_of(proa.boto("kms").describe_key, KeyId="none") == "NotFoundException"
    assert code_of(proa.boto("sqs").get_queue_url, QueueName="none") in (
        "AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist",
    )  # fmt: skip
