"""DNS messages, with dnspython as the oracle for both directions."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.wire.dns import (
    NAME_ERROR,
    TCP_BYTES,
    TYPES,
    Answer,
    Reply,
    encode_name,
    encode_query,
    encode_reply,
    format_error,
    parse_answers,
    parse_query,
)

LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=20)
NAME = st.lists(LABEL, min_size=1, max_size=6).map(".".join)
ANSWERS = {
    "A": "10.1.2.3",
    "AAAA": "fd00::1",
    "CNAME": "target.example.com",
    "PTR": "web.default.svc.cluster.local",
    "SRV": "0 100 8080 web.default.svc.cluster.local",
    "TXT": "hello world",
    "SOA": "ns.dns.cluster.local hostmaster.cluster.local 1 7200 1800 86400 5",
    "NS": "ns.dns.cluster.local",
}


def asked(name: str, kind: str, **more: object) -> bytes:
    return dns.message.make_query(name, kind, **more).to_wire()  # type: ignore[arg-type]


@given(NAME, st.sampled_from(sorted(set(TYPES) - {"OPT"})), st.booleans())
def test_queries_are_read_as_their_sender_meant_them(name: str, kind: str, edns: bool) -> None:
    message = dns.message.make_query(name, kind, use_edns=edns, payload=4096)
    query = parse_query(message.to_wire())
    assert (query.id, query.name, query.type) == (message.id, name, TYPES[kind])
    assert query.edns is edns
    assert query.udp_bytes == (1232 if edns else 512)


@pytest.mark.parametrize("kind", sorted(ANSWERS))
def test_answers_of_each_type_read_alike_elsewhere(kind: str) -> None:
    name = "web.default.svc.cluster.local"
    query = parse_query(asked(name, kind))
    wire = encode_reply(query, Reply(answers=(Answer(name, kind, ANSWERS[kind], 7),)), 512)
    expected = dns.rrset.from_text(name + ".", 7, "IN", kind, _absolute(kind, ANSWERS[kind]))
    read = dns.message.from_wire(wire)
    assert read.answer == [expected] and read.answer[0].ttl == 7
    assert read.flags & dns.flags.AA and read.flags & dns.flags.RA and read.id == query.id


def _absolute(kind: str, data: str) -> str:
    if kind in ("A", "AAAA"):
        return data
    if kind == "TXT":
        return f'"{data}"'
    return " ".join(word + "." if "." in word else word for word in data.split())


def test_a_client_is_answered_in_the_letter_case_it_asked_in() -> None:
    query = parse_query(asked("WeB.Default.SVC.cluster.local", "A"))
    assert query.name == "web.default.svc.cluster.local"
    wire = encode_reply(query, Reply(answers=(Answer(query.name, "A", "10.0.0.1"),)), 512)
    assert b"WeB" in wire and wire.count(b"\xc0\x0c") == 1


def test_negative_answers_carry_the_origin_for_caching() -> None:
    query = parse_query(asked("no.cluster.local", "A"))
    origin = Answer("cluster.local", "SOA", ANSWERS["SOA"], 5)
    read = dns.message.from_wire(encode_reply(query, Reply(NAME_ERROR, authority=(origin,)), 512))
    assert read.rcode() == NAME_ERROR
    assert read.authority[0].rdtype == dns.rdatatype.SOA


def test_what_does_not_fit_is_truncated_and_fits_over_tcp() -> None:
    answers = tuple(Answer("many.cluster.local", "A", f"10.0.0.{n}") for n in range(60))
    query = parse_query(asked("many.cluster.local", "A"))
    short = encode_reply(query, Reply(answers=answers), query.udp_bytes)
    assert len(short) <= 512 and dns.message.from_wire(short).flags & dns.flags.TC
    whole = dns.message.from_wire(encode_reply(query, Reply(answers=answers), TCP_BYTES))
    assert len(whole.answer[0]) == 60 and not whole.flags & dns.flags.TC


def test_additional_records_are_dropped_before_answers() -> None:
    query = parse_query(asked("s.cluster.local", "SRV"))
    extra = tuple(Answer("t.cluster.local", "A", f"10.0.0.{n}") for n in range(60))
    answer = Answer("s.cluster.local", "SRV", "0 1 80 t.cluster.local")
    read = dns.message.from_wire(encode_reply(query, Reply(0, (answer,), (), extra), 512))
    assert len(read.answer) == 1 and not read.additional and not read.flags & dns.flags.TC


def test_edns_is_answered_with_edns_and_only_then() -> None:
    with_edns = parse_query(asked("a.b", "A", use_edns=0))
    without = parse_query(asked("a.b", "A", use_edns=False))
    assert dns.message.from_wire(encode_reply(with_edns, Reply(), 512)).edns == 0
    assert dns.message.from_wire(encode_reply(without, Reply(), 512)).edns == -1


def test_answers_of_other_servers_are_read_through_compression() -> None:
    message = dns.message.make_response(dns.message.make_query("www.example.com", "A"))
    message.answer = [
        dns.rrset.from_text("www.example.com.", 60, "IN", "CNAME", "web.example.com."),
        dns.rrset.from_text("web.example.com.", 30, "IN", "A", "192.0.2.7"),
    ]
    assert parse_answers(message.to_wire()) == (
        0,
        (
            Answer("www.example.com", "CNAME", "web.example.com", 60),
            Answer("web.example.com", "A", "192.0.2.7", 30),
        ),
    )


def test_our_own_queries_are_understood() -> None:
    read = dns.message.from_wire(encode_query(77, "www.example.com", TYPES["AAAA"]))
    assert read.id == 77 and read.question[0].rdtype == dns.rdatatype.AAAA and read.edns == 0


@given(st.binary(max_size=80))
def test_bytes_that_are_no_message_raise_nothing_but_value_error(message: bytes) -> None:
    for parse in (parse_query, parse_answers):
        try:
            parse(message)  # type: ignore[operator]
        except ValueError:
            continue
    assert format_error(message) == b"" or format_error(message)[:2] == message[:2]


def test_a_name_that_points_at_itself_is_refused() -> None:
    header = b"\0\1\1\0\0\1\0\0\0\0\0\0"
    with pytest.raises(ValueError):
        parse_query(header + b"\xc0\x0c\0\1\0\1")


@pytest.mark.parametrize("name", ["a" * 64, ".".join(["abcdefgh"] * 32), "a..b"])
def test_names_that_no_message_can_hold_are_refused(name: str) -> None:
    with pytest.raises(ValueError):
        encode_name(name)
