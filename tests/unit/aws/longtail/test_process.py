"""The worker's life: started on first use, killed, restarted, held up by nobody."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from botocore.exceptions import ClientError

from proa.aws.longtail import process
from proa.aws.longtail.port import Absent, Forward, NotServed
from proa.aws.longtail.table import REFUSED, mutates
from proa.base.errors import TryAgain
from tests.unit.aws.longtail.tail_world import ACCOUNT, TailWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[TailWorld]:
    made = TailWorld(tmp_path)
    yield made
    made.close()


def error_of(call: Any, **given: Any) -> dict[str, Any]:
    with pytest.raises(ClientError) as raised:
        call(**given)
    response: dict[str, Any] = raised.value.response
    return response


def sqs(operation: str, mutates: bool = True, **given: Any) -> Forward:
    host = "sqs.us-east-1.amazonaws.com"
    headers = {
        "host": host,
        "x-moto-account-id": ACCOUNT,
        "content-type": "application/x-amz-json-1.0",
        "x-amz-target": f"AmazonSQS.{operation}",
    }
    body = json.dumps(given).encode()
    return Forward("sqs", host, "POST", "/", headers, body, ACCOUNT, mutates)


def test_nothing_runs_before_the_first_call(world: TailWorld) -> None:
    assert world.tail._process is None
    world.client("sns").create_topic(Name="t")
    assert world.tail._process is not None


def test_calls_in_flight_are_told_to_try_again_when_the_worker_dies(world: TailWorld) -> None:
    async def story() -> Any:
        tail = world.tail
        await tail.forward(sqs("CreateQueue", QueueName="q"))
        url = f"http://h/{ACCOUNT}/q"
        waits = asyncio.ensure_future(
            tail.forward(sqs("ReceiveMessage", QueueUrl=url, WaitTimeSeconds=20))
        )
        await tail.forward(sqs("ListQueues", mutates=False))  # the other one waits by now
        assert not waits.done() and tail._process is not None
        tail._process.kill()
        with pytest.raises(TryAgain):
            await waits
        return json.loads((await tail.forward(sqs("ListQueues", mutates=False))).body)

    assert len(world.run(story())["QueueUrls"]) == 1


def test_message_wakes_whoever_waits(world: TailWorld) -> None:
    async def story() -> tuple[Any, Any]:
        tail, url = world.tail, f"http://h/{ACCOUNT}/q"
        await tail.forward(sqs("CreateQueue", QueueName="q"))
        waits = asyncio.ensure_future(
            tail.forward(sqs("ReceiveMessage", QueueUrl=url, WaitTimeSeconds=20))
        )
        short = await tail.forward(sqs("ReceiveMessage", QueueUrl=url, WaitTimeSeconds=1))
        await tail.forward(sqs("SendMessage", QueueUrl=url, MessageBody="words"))
        return json.loads(short.body), json.loads((await waits).body)

    short, found = world.run(story())
    assert not short.get("Messages")
    assert found["Messages"][0]["Body"] == "words"


@pytest.mark.parametrize("answered", [1, 7, 20])
def test_kill_in_the_middle_of_writes_loses_nothing_acknowledged(
    world: TailWorld, answered: int
) -> None:
    async def story() -> tuple[set[str], set[str]]:
        tail, done = world.tail, set()

        async def write(name: str) -> None:
            with contextlib.suppress(TryAgain):
                await tail.forward(sqs("CreateQueue", QueueName=name))
                done.add(name)

        writes = [asyncio.ensure_future(write(f"q{number}")) for number in range(40)]
        while len(done) < answered:
            await asyncio.sleep(0)
        assert tail._process is not None
        tail._process.kill()
        for running in writes:
            await running
        listed = json.loads((await tail.forward(sqs("ListQueues", mutates=False))).body)
        return done, {url.rpartition("/")[2] for url in listed["QueueUrls"]}

    acknowledged, there = world.run(story())
    assert acknowledged and acknowledged <= there


def test_state_that_cannot_be_read_is_not_served_and_not_lost(tmp_path: Path) -> None:
    world = TailWorld(tmp_path)
    world.client("sns").create_topic(Name="t")
    world.client("sqs").create_queue(QueueName="q")
    world.close()
    database = apsw.Connection(str(tmp_path / "longtail" / "state.db"))
    damaged = "UPDATE snapshots SET body = zeroblob(40) WHERE service = 'sns'"
    database.execute(damaged)
    database.close()
    again = TailWorld(tmp_path)
    error = error_of(again.client("sns").create_topic, Name="other")["Error"]
    assert "The state of sns could not be read" in error["Message"]
    assert len(again.client("sqs").list_queues()["QueueUrls"]) == 1
    again.close()


def test_reads_write_nothing(world: TailWorld, tmp_path: Path) -> None:
    client = world.client("sns")
    client.create_topic(Name="t")
    database = tmp_path / "longtail" / "state.db-wal"
    before = database.stat().st_size
    for _ in range(5):
        client.list_topics()
    assert database.stat().st_size == before
    client.create_topic(Name="u")
    assert database.stat().st_size > before


def test_secrets_are_not_readable_in_the_files(world: TailWorld, tmp_path: Path) -> None:
    world.client("sns").create_topic(Name="visible-name")
    files = [path for path in (tmp_path / "longtail").rglob("*") if path.is_file()]
    assert not [path for path in files if b"visible-name" in path.read_bytes()]
    assert all(path.stat().st_mode & 0o077 == 0 for path in files if path.name != "lock")


def test_queue_of_calls_is_bounded(world: TailWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "MAX_PENDING", 0)
    refused = error_of(world.client("sns").list_topics)
    assert refused["ResponseMetadata"]["HTTPStatusCode"] == 503


def test_operation_that_moto_lacks_is_named(world: TailWorld) -> None:
    error = error_of(world.client("service-quotas").list_services)["Error"]
    assert error["Code"] == "NotImplementedException"
    assert error["Message"].startswith("ListServices of service-quotas is not served")


def test_service_that_nobody_has_is_named(world: TailWorld) -> None:
    error = error_of(world.client("gamelift").list_builds)["Error"]
    assert error["Code"] == "NotImplementedException"


@pytest.mark.parametrize(
    ("service", "operation"),
    [("rds", "describe_db_instances"), ("lambda", "list_functions"), ("mq", "list_brokers")],
)
def test_refused_service_says_why(world: TailWorld, service: str, operation: str) -> None:
    error = error_of(getattr(world.client(service), operation))["Error"]
    assert error["Message"] == f"Proa does not serve {service!r}: {REFUSED[service]}."
    assert world.tail._process is None


def test_control_plane_does_not_import_moto() -> None:
    code = "import proa.server.control, sys; sys.exit('moto' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_where_there_is_no_tail_its_services_are_not_served() -> None:
    with pytest.raises(NotServed, match="'sqs'"):
        asyncio.run(Absent().forward(sqs("ListQueues")))


@pytest.mark.parametrize(
    ("operation", "changes"),
    [("GetItem", False), ("ListQueues", False), ("ReceiveMessage", True), ("PutObject", True),
     ("VerifyEmailIdentity", True), ("HeadBucket", False), ("GetId", True)],
)  # fmt: skip
def test_reads_are_told_by_their_names(operation: str, changes: bool) -> None:
    assert mutates(operation) is changes
