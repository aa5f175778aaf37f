"""CloudWatch Logs through boto3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from proa.aws.logs import service as logs_service
from proa.aws.logs.groups import LogGroups
from proa.aws.logs.intake import Intake, NoSuchGroup
from proa.aws.logs.shared import LogsDesk
from proa.cloud import logs as records
from proa.cloud.logs import DAY_MS, STREAMS, KnownExtents, MemoryEventLog
from proa.model.feed import LogBatch, LogLine
from proa.store.api import Transaction
from tests.unit.aws.realm import ACCOUNT, REGION, Realm, refusal


class LogsRealm(Realm):
    """A realm with CloudWatch Logs over the events' fake."""

    def __init__(self) -> None:
        self.events = MemoryEventLog()
        self.known = KnownExtents(self.events)
        super().__init__(records.TABLES, lambda _realm: [logs_service.build(self.logs_desk)])
        self.logs = self.client("logs")
        self.now_ms = int(self.clock.now() * 1000)

    @property
    def logs_desk(self) -> LogsDesk:
        return LogsDesk(self.store, self.view, self.chance, self.known)

    def group(self, name: str = "/ecs/web", *streams: str) -> None:
        self.logs.create_log_group(logGroupName=name)
        for stream in streams:
            self.logs.create_log_stream(logGroupName=name, logStreamName=stream)

    def put(self, stream: str, *events: tuple[int, str], group: str = "/ecs/web") -> Any:
        """Events at milliseconds relative to the realm's start."""
        return self.logs.put_log_events(
            logGroupName=group,
            logStreamName=stream,
            logEvents=[{"timestamp": self.now_ms + at, "message": m} for at, m in events],
        )

    def filtered(self, **given: Any) -> list[str]:
        answer = self.logs.filter_log_events(logGroupName="/ecs/web", **given)
        return [event["message"] for event in answer["events"]]


@pytest.fixture
def realm() -> Iterator[LogsRealm]:
    made = LogsRealm()
    yield made
    made.close()


def messages(answer: Any) -> list[str]:
    return [event["message"] for event in answer["events"]]


# Groups


def test_group_is_described_as_aws_describes_it(realm: LogsRealm) -> None:
    realm.logs.create_log_group(logGroupName="/ecs/web", tags={"a": "b"})
    described = realm.logs.describe_log_groups(logGroupNamePrefix="/ecs")["logGroups"]
    arn = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/ecs/web"
    assert described == [
        {
            "logGroupName": "/ecs/web", "creationTime": pytest.approx(realm.now_ms, abs=60_000),
            "metricFilterCount": 0, "arn": f"{arn}:*", "storedBytes": 0,
            "logGroupClass": "STANDARD", "logGroupArn": arn, "deletionProtectionEnabled": False,
        }
    ]  # fmt: skip
    assert realm.logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"a": "b"}
    assert realm.logs.describe_log_groups(logGroupNamePrefix="/x")["logGroups"] == []
    assert len(realm.logs.describe_log_groups(logGroupNamePattern="ECS")["logGroups"]) == 1


def test_group_exists_once(realm: LogsRealm) -> None:
    realm.group()
    assert refusal(realm.logs.create_log_group, logGroupName="/ecs/web") == (
        "ResourceAlreadyExistsException", "The specified log group already exists",
    )  # fmt: skip
    assert realm.client("logs", region="eu-west-3").describe_log_groups()["logGroups"] == []


def test_what_is_missing_is_named(realm: LogsRealm) -> None:
    group = ("ResourceNotFoundException", "The specified log group does not exist.")
    stream = ("ResourceNotFoundException", "The specified log stream does not exist.")
    logs = realm.logs
    assert refusal(logs.delete_log_group, logGroupName="no") == group
    assert refusal(logs.create_log_stream, logGroupName="no", logStreamName="s") == group
    assert refusal(logs.filter_log_events, logGroupName="no") == group
    realm.group()
    assert refusal(logs.get_log_events, logGroupName="/ecs/web", logStreamName="no") == stream
    assert refusal(logs.delete_log_stream, logGroupName="/ecs/web", logStreamName="no") == stream


def test_groups_are_paged_by_name(realm: LogsRealm) -> None:
    for name in ("b", "a/1", "a-1", "c"):
        realm.group(name)
    pages = realm.logs.get_paginator("describe_log_groups").paginate(
        PaginationConfig={"PageSize": 1}
    )
    names = [group["logGroupName"] for page in pages for group in page["logGroups"]]
    assert names == ["a-1", "a/1", "b", "c"]
    assert refusal(realm.logs.describe_log_groups, nextToken="?!")[0] == (
        "InvalidParameterException"
    )


def test_deleted_group_takes_its_streams_and_events_along(realm: LogsRealm) -> None:
    realm.group("/ecs/web", "s")
    realm.put("s", (0, "old"))
    realm.logs.delete_log_group(logGroupName="/ecs/web")
    assert realm.events.streams == {}
    assert list(realm.view.rows(STREAMS).scan()) == []
    realm.group("/ecs/web", "s")
    assert realm.filtered() == []


def test_group_with_many_streams_is_deleted_whole(realm: LogsRealm) -> None:
    realm.group("/ecs/web", *(f"s{number}" for number in range(120)))
    realm.logs.delete_log_group(logGroupName="/ecs/web")
    assert list(realm.view.rows(STREAMS).scan()) == []


def test_protected_group_is_not_deleted(realm: LogsRealm) -> None:
    realm.logs.create_log_group(logGroupName="g", deletionProtectionEnabled=True)
    assert refusal(realm.logs.delete_log_group, logGroupName="g")[0] == "ValidationException"


def test_retention_hides_and_forgets_what_is_older(realm: LogsRealm) -> None:
    realm.group("/ecs/web", "s")
    realm.put("s", (-3 * DAY_MS, "old"))
    realm.put("s", (0, "new"))
    assert refusal(realm.logs.put_retention_policy, logGroupName="/ecs/web", retentionInDays=2)[
        1
    ].startswith("1 validation error detected: Value '2' at 'retentionInDays' failed")
    realm.logs.put_retention_policy(logGroupName="/ecs/web", retentionInDays=1)
    assert realm.filtered() == ["new"]
    given = {"logGroupName": "/ecs/web", "logStreamName": "s"}
    assert messages(realm.logs.get_log_events(**given)) == ["new"]
    realm.run(logs_service.sweep(realm.logs_desk, realm.clock.now()))
    realm.logs.delete_retention_policy(logGroupName="/ecs/web")
    assert realm.filtered() == ["new"]


def test_sweep_removes_streams_whose_group_is_gone(realm: LogsRealm) -> None:
    realm.group("/ecs/web", "s")
    realm.put("s", (0, "x"))
    key = records.group_key(ACCOUNT, REGION, "/ecs/web")
    realm.run(realm.desk.delete([key]))
    realm.run(logs_service.sweep(realm.logs_desk, realm.clock.now()))
    assert (realm.events.streams, list(realm.view.rows(STREAMS).scan())) == ({}, [])


def test_tags_are_kept_by_name_and_by_arn(realm: LogsRealm) -> None:
    realm.group("g")
    arn = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:g"
    realm.logs.tag_resource(resourceArn=arn, tags={"a": "1", "b": "2"})
    realm.logs.untag_log_group(logGroupName="g", tags=["a"])
    assert realm.logs.list_tags_log_group(logGroupName="g")["tags"] == {"b": "2"}
    many = {f"k{number}": "v" for number in range(50)}
    assert refusal(realm.logs.tag_resource, resourceArn=arn, tags=many)[0] == (
        "TooManyTagsException"
    )


# Streams


def test_stream_is_described_with_its_times(realm: LogsRealm) -> None:
    realm.group("/ecs/web", "a", "b")
    realm.put("a", (-5000, "one"), (-1000, "two"))
    streams = realm.logs.describe_log_streams(logGroupName="/ecs/web")["logStreams"]
    assert [stream["logStreamName"] for stream in streams] == ["a", "b"]
    first = streams[0]
    assert first["firstEventTimestamp"] == realm.now_ms - 5000
    assert first["lastEventTimestamp"] == realm.now_ms - 1000
    assert first["lastIngestionTime"] == pytest.approx(realm.now_ms, abs=60_000)
    assert first["arn"].endswith(":log-group:/ecs/web:log-stream:a")
    assert "lastEventTimestamp" not in streams[1]


def test_streams_are_ordered_by_their_last_event_on_request(realm: LogsRealm) -> None:
    realm.group("/ecs/web", "a", "b", "c")
    realm.put("b", (-1000, "x"))
    realm.put("a", (-5000, "x"))
    pages = realm.logs.get_paginator("describe_log_streams").paginate(
        logGroupName="/ecs/web", orderBy="LastEventTime", descending=True,
        PaginationConfig={"PageSize": 2},
    )  # fmt: skip
    names = [stream["logStreamName"] for page in pages for stream in page["logStreams"]]
    assert names == ["b", "a", "c"]
    assert refusal(
        realm.logs.describe_log_streams, logGroupName="/ecs/web", orderBy="LastEventTime",
        logStreamNamePrefix="a",
    ) == (
        "InvalidParameterException",
        "Cannot order by LastEventTime with a logStreamNamePrefix.",
    )  # fmt: skip


def test_stream_exists_once_in_its_group(realm: LogsRealm) -> None:
    realm.group("g", "s")
    assert refusal(realm.logs.create_log_stream, logGroupName="g", logStreamName="s") == (
        "ResourceAlreadyExistsException", "The specified log stream already exists",
    )  # fmt: skip
    realm.logs.delete_log_stream(logGroupName="g", logStreamName="s")
    realm.logs.create_log_stream(logGroupName="g", logStreamName="s")


# PutLogEvents


def test_sequence_token_is_handed_out_and_ignored(realm: LogsRealm) -> None:
    realm.group("/ecs/web", "s")
    assert len(realm.put("s", (0, "x"))["nextSequenceToken"]) == 56
    realm.logs.put_log_events(
        logGroupName="/ecs/web", logStreamName="s", sequenceToken="nonsense",
        logEvents=[{"timestamp": realm.now_ms, "message": "y"}],
    )  # fmt: skip
    assert realm.filtered() == ["x", "y"]


def test_batch_must_be_in_order_and_within_a_day(realm: LogsRealm) -> None:
    realm.group("/ecs/web", "s")
    with pytest.raises(Exception, match="must be in chronological order"):
        realm.put("s", (0, "x"), (-1, "y"))
    with pytest.raises(Exception, match="cannot span more than 24 hours"):
        realm.put("s", (-2 * DAY_MS, "x"), (0, "y"))
    assert realm.filtered() == []


def test_batch_may_not_pass_a_megabyte(realm: LogsRealm) -> None:
    realm.group("/ecs/web", "s")
    with pytest.raises(Exception, match="Upload too large: 1048577 bytes exceeds limit of 1048576"):
        realm.put("s", (0, "x" * (1_048_576 - 25)))
    realm.put("s", (0, "x" * (1_048_576 - 26)))


def test_events_out_of_time_are_rejected_and_the_others_kept(realm: LogsRealm) -> None:
    realm.group("/ecs/web", "s")
    old, new = -15 * DAY_MS, 3 * 3600 * 1000
    answer = realm.put("s", (old, "old"), (0, "kept"), (new, "new"))
    assert answer["rejectedLogEventsInfo"] == {
        "tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 2,
    }  # fmt: skip
    assert realm.filtered() == ["kept"]


# GetLogEvents


def test_tail_and_head_of_a_stream(realm: LogsRealm) -> None:
    realm.group("/ecs/web", "s")
    realm.put("s", *((number, f"m{number}") for number in range(5)))
    given = {"logGroupName": "/ecs/web", "logStreamName": "s", "limit": 2}
    assert messages(realm.logs.get_log_events(**given)) == ["m3", "m4"]
    assert messages(realm.logs.get_log_events(**given, startFromHead=True)) == ["m0", "m1"]
    assert messages(
        realm.logs.get_log_events(
            **given | {"limit": 9}, startTime=realm.now_ms + 1, endTime=realm.now_ms + 3
        )
    ) == ["m1", "m2"]


def test_tokens_lead_through_a_stream_and_repeat_at_its_ends(realm: LogsRealm) -> None:
    realm.group("/ecs/web", "s")
    realm.put("s", *((number // 2, f"m{number}") for number in range(5)))
    given = {"logGroupName": "/ecs/web", "logStreamName": "s", "limit": 2, "startFromHead": True}
    seen: list[str] = []
    page = realm.logs.get_log_events(**given)
    while page["events"]:
        seen += messages(page)
        assert page["nextForwardToken"].startswith("f/")
        page = realm.logs.get_log_events(**given, nextToken=page["nextForwardToken"])
    assert seen == ["m0", "m1", "m2", "m3", "m4"]
    end = page["nextForwardToken"]
    assert realm.logs.get_log_events(**given, nextToken=end)["nextForwardToken"] == end
    realm.put("s", (9, "m5"))
    assert messages(realm.logs.get_log_events(**given, nextToken=end)) == ["m5"]
    back = realm.logs.get_log_events(**given, nextToken=page["nextBackwardToken"])
    assert messages(back) == ["m2", "m3"]
    while back["events"]:
        back = realm.logs.get_log_events(**given, nextToken=back["nextBackwardToken"])
    start = back["nextBackwardToken"]
    assert start.startswith("b/")
    assert realm.logs.get_log_events(**given, nextToken=start)["nextBackwardToken"] == start
    with pytest.raises(Exception, match="The specified nextToken is invalid"):
        realm.logs.get_log_events(**given, nextToken="f/12/s")


def test_stream_written_out_of_order_is_read_in_order(realm: LogsRealm) -> None:
    realm.group("/ecs/web", "s")
    for at in (5, 1, 9, 3):
        realm.put("s", (at, f"m{at}"))
    given = {"logGroupName": "/ecs/web", "logStreamName": "s", "limit": 2, "startFromHead": True}
    page = realm.logs.get_log_events(**given)
    assert messages(page) == ["m1", "m3"]
    page = realm.logs.get_log_events(**given, nextToken=page["nextForwardToken"])
    assert messages(page) == ["m5", "m9"]
    assert realm.filtered() == ["m1", "m3", "m5", "m9"]


# FilterLogEvents


def test_filter_interleaves_the_streams_of_a_group(realm: LogsRealm) -> None:
    realm.group("/ecs/web", "a", "b", "other")
    realm.put("a", (1, "a1"), (3, "a3"))
    realm.put("b", (2, "b2"), (3, "b3"))
    realm.put("other", (0, "o0"))
    answer = realm.logs.filter_log_events(logGroupName="/ecs/web")
    assert messages(answer) == ["o0", "a1", "b2", "a3", "b3"]
    assert answer["searchedLogStreams"] == [] and "nextToken" not in answer
    first = answer["events"][0]
    assert (first["logStreamName"], first["timestamp"]) == ("other", realm.now_ms)
    ids = [event["eventId"] for event in answer["events"]]
    assert len(set(ids)) == 5 and ids == sorted(ids) and {len(id) for id in ids} == {56}
    assert realm.filtered(logStreamNames=["a", "b"]) == ["a1", "b2", "a3", "b3"]
    assert realm.filtered(logStreamNamePrefix="o") == ["o0"]
    assert realm.filtered(startFromHead=False) == ["b3", "a3", "b2", "a1", "o0"]
    later = realm.now_ms + 3
    assert realm.filtered(startTime=later, endTime=later) == ["a3", "b3"]
    with pytest.raises(Exception, match="cannot be provided together"):
        realm.filtered(logStreamNames=["a"], logStreamNamePrefix="b")


@pytest.mark.parametrize("from_head", [True, False])
def test_filter_pages_miss_and_repeat_nothing(realm: LogsRealm, from_head: bool) -> None:
    realm.group("/ecs/web", "a", "b", "c")
    wanted = []
    for number in range(40):
        stream = "abc"[number * 7 % 3]
        realm.put(stream, (number // 4, f"m{number}"))
        wanted.append((number // 4, stream, number))
    wanted.sort(reverse=not from_head)
    pages = realm.logs.get_paginator("filter_log_events").paginate(
        logGroupName="/ecs/web", startFromHead=from_head, PaginationConfig={"PageSize": 3}
    )
    assert [m for page in pages for m in messages(page)] == [f"m{place[2]}" for place in wanted]


def test_filter_pattern_chooses_events(realm: LogsRealm) -> None:
    realm.group("/ecs/web", "s")
    realm.put("s", (0, "ERROR one"), (1, "INFO two"), (2, '{"level": "error", "n": 5}'))
    assert realm.filtered(filterPattern="ERROR") == ["ERROR one"]
    assert realm.filtered(filterPattern="-ERROR -level") == ["INFO two"]
    assert realm.filtered(filterPattern='{ $.level = "error" && $.n > 4 }') == [
        '{"level": "error", "n": 5}'
    ]
    with pytest.raises(Exception, match="Invalid filter pattern"):
        realm.filtered(filterPattern="{ $.a = 1")


def test_following_a_group_sees_each_event_once(realm: LogsRealm) -> None:
    """As ``aws logs tail --follow`` asks: page to the end, then from the last time seen on,
    dropping what it has seen by its id."""
    realm.group("/ecs/web", "a")
    seen: dict[str, str] = {}
    start = realm.now_ms - 300_000

    def poll() -> None:
        nonlocal start
        given: dict[str, Any] = {"logGroupName": "/ecs/web", "interleaved": True}
        given |= {"startTime": start, "limit": 2}
        while True:
            answer = realm.logs.filter_log_events(**given)
            for event in answer["events"]:
                seen.setdefault(event["eventId"], event["message"])
                start = max(start, event["timestamp"])
            if "nextToken" not in answer:
                return
            given["nextToken"] = answer["nextToken"]

    realm.put("a", (0, "m0"), (1, "m1"), (1, "m2"))
    poll()
    realm.logs.create_log_stream(logGroupName="/ecs/web", logStreamName="b")
    realm.put("b", (1, "m3"))
    realm.put("a", (1, "m4"), (2, "m5"))
    poll()
    assert sorted(seen.values()) == ["m0", "m1", "m2", "m3", "m4", "m5"]


def test_group_may_be_named_by_its_arn(realm: LogsRealm) -> None:
    realm.group("/ecs/web", "s")
    realm.put("s", (0, "x"))
    arn = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/ecs/web"
    assert messages(realm.logs.filter_log_events(logGroupIdentifier=arn)) == ["x"]
    with pytest.raises(Exception, match="Exactly one of"):
        realm.logs.filter_log_events(logGroupIdentifier=arn, logGroupName="/ecs/web")


# Containers' output


def batch(first: int, *lines: str, source: str = "uid/app/0", at: int = 0) -> LogBatch:
    made = tuple(LogLine(at + index, line) for index, line in enumerate(lines))
    return LogBatch(ACCOUNT, REGION, "/ecs/web", "ecs/app/1", source, first, made)


def test_output_of_containers_is_stored_once(realm: LogsRealm) -> None:
    realm.group()
    at = realm.now_ms
    intake = Intake(realm.logs_desk, realm.clock)
    for sent in (batch(0, "a", "b", at=at), batch(0, "a", "b", at=at), batch(20, "c", at=at + 5)):
        realm.run(intake.ingest(sent))
    realm.run(intake.ingest(batch(0, "a", "b", at=at)))
    assert realm.filtered() == ["a", "b", "c"]
    again = Intake(realm.logs_desk, realm.clock)  # after a restart
    realm.run(again.ingest(batch(20, "c", at=at + 5)))
    realm.run(again.ingest(batch(30, "d", at=at + 6)))
    realm.run(again.ingest(batch(0, "e", source="uid/app/1", at=at + 7)))
    assert realm.filtered() == ["a", "b", "c", "d", "e"]
    streams = realm.logs.describe_log_streams(logGroupName="/ecs/web")["logStreams"]
    assert [stream["logStreamName"] for stream in streams] == ["ecs/app/1"]


def test_output_for_a_group_that_is_not_there_is_refused(realm: LogsRealm) -> None:
    with pytest.raises(NoSuchGroup, match="ResourceNotFoundException"):
        realm.run(Intake(realm.logs_desk, realm.clock).ingest(batch(0, "a")))


def test_ecs_asks_for_groups_and_plans_missing_ones(realm: LogsRealm) -> None:
    port = LogGroups(realm.view, realm.chance)
    assert not port.exists(ACCOUNT, REGION, "/ecs/web")
    parts = port.plan_create(ACCOUNT, REGION, "/ecs/web", realm.clock.now())

    async def commit() -> None:
        done = await realm.store.commit(Transaction(parts.guards, parts.writes))
        await realm.view.reached(done.version)

    realm.run(commit())
    assert port.exists(ACCOUNT, REGION, "/ecs/web")
    assert not port.exists(ACCOUNT, "eu-west-3", "/ecs/web")
