"""What exists, what is empty, what is somebody else's."""

from __future__ import annotations

from proa.model.feed import ZoneRecord, Zones
from proa.traffic.names import NameTable
from proa.wire.dns import NAME_ERROR, NO_ERROR, TYPES, Reply

WEB = "web.production.svc.cluster.local"
TABLE = NameTable(
    Zones(
        (
            ZoneRecord(WEB, "A", ("10.100.1.2",)),
            ZoneRecord(f"_http._tcp.{WEB}", "SRV", (f"0 100 80 {WEB}",)),
            ZoneRecord("many.a.svc.cluster.local", "A", ("10.0.0.1", "10.0.0.2", "10.0.0.3")),
            ZoneRecord("out.a.svc.cluster.local", "CNAME", ("www.example.com",)),
            ZoneRecord("in.a.svc.cluster.local", "CNAME", (WEB,)),
            ZoneRecord("loop.a.svc.cluster.local", "CNAME", ("loop.a.svc.cluster.local",)),
            ZoneRecord("2.1.100.10.in-addr.arpa", "PTR", (WEB,)),
        )
    )
)


def reply(name: str, kind: str, turn: int = 0) -> Reply:
    found = TABLE.resolve(name, TYPES[kind], turn)
    assert found is not None and not found.elsewhere
    return found.reply


def test_a_listed_name_is_answered() -> None:
    assert [answer.data for answer in reply(WEB, "A").answers] == ["10.100.1.2"]


def test_another_type_of_a_listed_name_is_empty_with_the_origin() -> None:
    empty = reply(WEB, "AAAA")
    assert (empty.code, empty.answers) == (NO_ERROR, ())
    assert empty.authority[0].type == "SOA" and empty.authority[0].name == "cluster.local"


def test_an_unlisted_name_below_an_origin_does_not_exist() -> None:
    absent = reply(f"{WEB}.production.svc.cluster.local", "A")
    assert absent.code == NAME_ERROR and absent.authority[0].type == "SOA"


def test_names_between_a_listed_one_and_its_origin_exist_without_answers() -> None:
    for name in ("production.svc.cluster.local", "svc.cluster.local", "cluster.local"):
        assert (reply(name, "A").code, reply(name, "A").answers) == (NO_ERROR, ())


def test_names_that_only_end_alike_and_foreign_names_are_not_ours() -> None:
    assert TABLE.resolve("notcluster.local", TYPES["A"]) is None
    assert TABLE.resolve("example.com", TYPES["A"]) is None
    assert TABLE.resolve("9.9.9.9.in-addr.arpa", TYPES["PTR"]) is None


def test_a_listed_name_outside_the_origins_is_answered() -> None:
    assert reply("2.1.100.10.in-addr.arpa", "PTR").answers[0].data == WEB


def test_services_bring_the_addresses_of_their_targets() -> None:
    found = reply(f"_http._tcp.{WEB}", "SRV")
    assert [(extra.name, extra.data) for extra in found.additional] == [(WEB, "10.100.1.2")]


def test_several_addresses_take_turns_at_being_first() -> None:
    firsts = [reply("many.a.svc.cluster.local", "A", turn).answers[0].data for turn in range(4)]
    assert firsts == ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.1"]
    assert len(reply("many.a.svc.cluster.local", "A", 2).answers) == 3


def test_an_alias_inside_is_followed_and_one_outside_handed_on() -> None:
    assert [a.type for a in reply("in.a.svc.cluster.local", "A").answers] == ["CNAME", "A"]
    found = TABLE.resolve("out.a.svc.cluster.local", TYPES["A"])
    assert found is not None and found.elsewhere == "www.example.com"
    assert [a.type for a in found.reply.answers] == ["CNAME"]


def test_an_alias_that_is_asked_for_itself_or_loops_ends() -> None:
    assert len(reply("out.a.svc.cluster.local", "CNAME").answers) == 1
    assert reply("loop.a.svc.cluster.local", "A").code == NO_ERROR


def test_an_origin_names_its_authority_and_server() -> None:
    assert reply("cluster.local", "SOA").answers[0].data.startswith("ns.dns.cluster.local ")
    assert reply("cluster.local", "NS").answers[0].data == "ns.dns.cluster.local"


def test_a_clusters_names_are_answered_at_its_own_server_only() -> None:
    zones = Zones(
        (
            ZoneRecord(WEB, "A", ("10.100.1.2",), server="10.100.0.10"),
            ZoneRecord(WEB, "A", ("10.200.1.2",), server="10.200.0.10"),
            ZoneRecord("shared.a.svc.cluster.local", "A", ("10.0.0.1",)),
        )
    )

    def answers(server: str, name: str) -> list[str]:
        found = NameTable(zones, server=server).resolve(name, TYPES["A"])
        assert found is not None
        return [answer.data for answer in found.reply.answers]

    assert answers("10.100.0.10", WEB) == ["10.100.1.2"]
    assert answers("10.200.0.10", WEB) == ["10.200.1.2"]
    assert answers("172.31.0.2", WEB) == []
    assert answers("172.31.0.2", "shared.a.svc.cluster.local") == ["10.0.0.1"]
