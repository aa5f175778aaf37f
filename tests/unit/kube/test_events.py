"""Events: the same news is counted, alike news are combined, names follow the time."""

from __future__ import annotations

from proa.base.chance import Chance
from proa.base.clock import from_iso8601, run_virtual
from proa.kube.event_objects import decode_event
from proa.kube.events import Said, event_call, node_event_parts, scheduled_event
from proa.kube.objects import Meta, Pod
from proa.kube.tables import EVENTS, NAMESPACES, PODS
from proa.model.sandbox import NodeEvent
from proa.reconcile.view import Entry
from proa.store.api import Transaction
from tests.unit.kube.world import CLUSTER, World

NEWS = Said("Odd", "it is odd", "Warning", "somebody")


async def said(world: World, *news: Said) -> None:
    for item in news:
        (home,) = world.view.rows(NAMESPACES).scan()
        for call in event_call(world.view, home, item, world.clock.now()):
            await world.api.perform(call)
        await world.sleep(1)


def run(*news: Said) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []

    async def main() -> None:
        async with World(()) as world:
            world.namespace()
            await world.sleep(1)
            await said(world, *news)
            found.extend(world.list("", "events"))

    run_virtual(main())
    return found


def test_the_same_news_is_counted_and_keeps_when_it_was_first_said() -> None:
    (event,) = run(NEWS, NEWS, NEWS)
    assert event["count"] == 3
    assert str(event["firstTimestamp"]) < str(event["lastTimestamp"])


def test_names_list_events_in_the_order_in_which_they_were_said() -> None:
    texts = ["c", "a", "b"]
    events = run(*(Said("Odd", text, component="somebody") for text in texts))
    assert [event["message"] for event in events] == texts


def test_from_the_tenth_likeness_on_news_are_combined() -> None:
    events = run(*(Said("Odd", f"number {n}", component="somebody") for n in range(14)))
    messages = [event["message"] for event in events]
    assert messages[:10] == [f"number {n}" for n in range(10)]
    assert messages[10:] == ["(combined from similar events): number 13"]
    assert events[10]["count"] == 4


def test_what_another_cluster_says_of_the_same_uid_is_not_counted() -> None:
    async def main() -> None:
        async with World(()) as world:
            world.namespace()
            await world.sleep(1)
            await said(world, *(Said("Odd", f"number {n}", component="somebody") for n in range(9)))
            for entry in list(world.view.rows(EVENTS).scan()):
                world.store.put(entry.key.replace(f"/{CLUSTER}/", "/other/"), entry.body)
            await world.sleep(1)
            await said(world, *(Said("Odd", f"number {n}", component="somebody") for n in (0, 9)))
            events = world.list("", "events")
            assert [event["message"] for event in events] == [f"number {n}" for n in range(10)]
            assert [event["count"] for event in events] == [2, *[1] * 9]

    run_virtual(main())


def test_an_agents_news_keep_their_own_time_and_point_at_the_container() -> None:
    async def main() -> None:
        async with World(()) as world:
            world.namespace()
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "p", "namespace": "default"},
                "spec": {"containers": [{"name": "main"}], "initContainers": [{"name": "first"}]},
            }
            world.create("", "pods", pod)
            await world.sleep(1)
            (entry,) = world.view.rows(PODS).scan()
            news = [
                NodeEvent("u", "Pulling", "one", container="first", at=world.clock.now() - 60),
                NodeEvent("u", "Pulling", "two", container="main", at=world.clock.now()),
            ]
            told = (world.view, entry, news, "node-1", Chance("e"), world.clock.now())
            for part in node_event_parts(*told):
                done = await world.store.commit(Transaction(part.guards, part.writes))
                await world.view.reached(done.version)
            first, second = world.list("", "events")
            assert first["involvedObject"]["fieldPath"] == "spec.initContainers{first}"
            assert second["involvedObject"]["fieldPath"] == "spec.containers{main}"
            assert first["lastTimestamp"] < second["lastTimestamp"]
            assert first["reportingComponent"] == "kubelet"

    run_virtual(main())


def test_an_event_is_kept_as_what_is_looked_at() -> None:
    body = (
        b'{"apiVersion":"v1","kind":"Event","metadata":{"name":"e","namespace":"default",'
        b'"creationTimestamp":"2026-01-02T00:00:00Z"},"involvedObject":{"kind":"Pod","name":"p",'
        b'"uid":"u"},"reason":"R","message":"m","lastTimestamp":"2026-01-02T03:04:05Z"}'
    )
    event, other = decode_event(body), decode_event(body.replace(b'"m"', b'"n"'))
    assert (event.about_kind, event.about_name, event.about_uid) == ("Pod", "p", "u")
    assert (event.count, event.last_said_at) == (1, from_iso8601("2026-01-02T03:04:05Z"))
    assert event.said != other.said and event.likeness == other.likeness
    assert event.metadata.labels is other.metadata.labels  # held once for all without any


def test_what_is_told_of_a_new_event_is_what_its_body_decodes_to() -> None:
    meta = Meta("p", "default", "pod-uid", labels={"app": "web"})
    pod = Entry("/kube/c1/core/pods/default/p", b"{}", 7, 7, Pod("v1", "Pod", meta))
    _, body = scheduled_event(pod, "node-1", Chance("e"), 1_800_000_000.75)
    told, decoded = decode_event(body), decode_event(body)
    assert told is not decoded and told == decoded
    assert (told.about_name, told.metadata.namespace) == ("p", "default")
