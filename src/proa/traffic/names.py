"""What Proa's own names resolve to: the feed's ``Zones`` as a table that answers questions.

``serve.dns`` asks it first. It is authoritative for the origins: a name below one that is not
listed does not exist, and a listed name without the asked type has an empty answer (RFC 2308),
so that resolvers walk their search lists correctly and never ask for AAAA in vain elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from proa.model.feed import Zones
from proa.wire.dns import NAME_ERROR, NAMES, Answer, Reply

_MAX_CHAIN = 8
_NEGATIVE_TTL_S = 5


@dataclass(slots=True, frozen=True)
class Resolution:
    """``reply`` is what is known here; where ``elsewhere`` is set, the answers end in an alias
    to that name, which another server has to resolve."""

    reply: Reply
    elsewhere: str = ""


class NameTable:
    """One immutable picture of what the name server at address ``server`` knows; built anew with
    each ``Zones``."""

    def __init__(self, zones: Zones, serial: int = 1, server: str = "") -> None:
        self._origins = tuple(sorted(zones.origins, key=len, reverse=True))
        self._serial = serial
        self._answers: dict[str, dict[str, tuple[Answer, ...]]] = {}
        self._parents: set[str] = set(zones.origins)
        for record in zones.records:
            if record.server not in ("", server):
                continue
            types = self._answers.setdefault(record.name, {})
            made = tuple(
                Answer(record.name, record.type, value, record.ttl_s) for value in record.values
            )
            types[record.type] = types.get(record.type, ()) + made
            self._parents.update(_ancestors(record.name, self._origin(record.name)))

    def _origin(self, name: str) -> str:
        for origin in self._origins:
            if name == origin or name.endswith("." + origin):
                return origin
        return ""

    def resolve(self, name: str, type: int, turn: int = 0) -> Resolution | None:
        """The answer to one question; None for names that are not ours. ``turn`` rotates answers
        of several values, so that clients who take the first spread over them."""
        origin = self._origin(name)
        if not origin and name not in self._answers:
            return None
        kind = NAMES.get(type, "")
        answers: list[Answer] = []
        here = name
        for _ in range(_MAX_CHAIN):
            found = self._of_type(here, kind, origin)
            if found:
                start = turn % len(found)
                answers += found[start:] + found[:start]
                break
            alias = self._answers.get(here, {}).get("CNAME", ())
            if not alias:
                break
            answers.append(alias[0])
            here = alias[0].data.rstrip(".").lower()
            if not self._origin(here) and here not in self._answers:
                return Resolution(Reply(answers=tuple(answers)), here)
        if answers and answers[-1].type != "CNAME":
            return Resolution(Reply(answers=tuple(answers), additional=self._extra(answers)))
        return Resolution(self._negative(here, tuple(answers)))

    def _of_type(self, name: str, kind: str, origin: str) -> tuple[Answer, ...]:
        types = self._answers.get(name, {})
        if kind == "ANY":
            return tuple(answer for found in types.values() for answer in found)
        if name == origin and kind == "SOA":
            return (self._authority(origin),)
        if name == origin and kind == "NS":
            return (Answer(origin, "NS", f"ns.dns.{origin}"),)
        return types.get(kind, ())

    def _negative(self, name: str, answers: tuple[Answer, ...]) -> Reply:
        exists = name in self._answers or name in self._parents
        origin = self._origin(name)
        authority = (self._authority(origin),) if origin else ()
        return Reply(0 if exists else NAME_ERROR, answers, authority)

    def _authority(self, origin: str) -> Answer:
        timers = f"{self._serial} 7200 1800 86400 {_NEGATIVE_TTL_S}"
        data = f"ns.dns.{origin} hostmaster.{origin} {timers}"
        return Answer(origin, "SOA", data, _NEGATIVE_TTL_S)

    def _extra(self, answers: list[Answer]) -> tuple[Answer, ...]:
        """The addresses of SRV targets, so that nobody needs to ask again."""
        targets = {answer.data.split()[-1] for answer in answers if answer.type == "SRV"}
        return tuple(
            address
            for target in sorted(targets)
            for address in self._answers.get(target, {}).get("A", ())
        )


def _ancestors(name: str, origin: str) -> Iterator[str]:
    """The names between a name and its origin: they exist, though they have no records."""
    if not origin:
        return
    while name != origin:
        yield name
        name = name.partition(".")[2]
