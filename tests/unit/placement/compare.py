"""Random fleets, histories and asks: the engine against the slow reference, decision by decision.

`.venv/bin/python -m tests.unit.placement.compare --count 100000` from the top of the repository;
``--seed`` begins with another history. Each seed is a history of its own: Instances come, change
and go, Sandboxes are placed one by one and in batches, end and are released, and before every
placement both sides must agree on who may take the ask, why others may not, and every score.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import msgspec

from proa.base.chance import Chance
from proa.model.resources import Port, Resources
from proa.placement import domains, engine
from proa.placement.asks import (
    Ask,
    Placed,
    PodTerm,
    Requirement,
    Row,
    Spread,
    Strategy,
    Taint,
    Term,
    Toleration,
    Unplaced,
)
from proa.placement.explain import explain
from proa.placement.fleet import Fleet
from tests.unit.placement import reference

CLUSTERS = ("/kube/a/", "/kube/b/")
NAMESPACES = ("n1", "n2", "n3")
ZONE, HOSTNAME = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
KEYS = (ZONE, ZONE, HOSTNAME, "rack")
MIB = 1024 * 1024
GPU, TPU = "nvidia.com/gpu", "example.com/tpu"
EFFECTS = ("NoSchedule", *["PreferNoSchedule"] * 5, "NoExecute")


class History:
    """One seed: a world on both sides, and the kinds of asks that come in it."""

    def __init__(self, seed: int) -> None:
        self.chance = Chance(f"placement-{seed}")
        self.fleet, self.world = Fleet(), reference.World()
        self.made = 0
        self.compared = 0
        self.met: dict[str, int] = {}  # reasons, and choices between unequal Instances
        self.crowded = self.some(50)  # most Sandboxes are alike and in one namespace
        for number in range(3):
            self.set_pool(f"p{number}")
        for _ in range(self.chance.integer(2, 18)):
            self.set_row(f"i{self.made}")
        self.kinds = [self.kind() for _ in range(self.chance.integer(2, 5))]

    # Chance

    def some(self, percent: int) -> bool:
        return self.chance.integer(1, 100) <= percent

    def number(self, high: int) -> int:
        return self.chance.integer(0, high)

    def namespace(self) -> str:
        return "n1" if self.crowded and self.some(90) else self.chance.choice(NAMESPACES)

    def labels(self) -> tuple[tuple[str, str], ...]:
        found = {"app": self.chance.choice(("web", "db", "job"))}
        if self.crowded and self.some(80):
            found["app"] = "web"
        if self.some(40):
            found["tier"] = self.chance.choice(("front", "back"))
        return tuple(sorted(found.items()))

    def selector(self) -> tuple[Requirement, ...]:
        if self.crowded and self.some(60):
            return (Requirement("app", "In", ("web",)),)
        operator = self.chance.choice(("In", "In", "In", "NotIn", "Exists", "DoesNotExist"))
        key = self.chance.choice(("app", "app", "tier"))
        values = ("web", "front") if self.some(50) else ("db", "back", "job")
        return (Requirement(key, operator, values if operator in ("In", "NotIn") else ()),)

    def row_term(self) -> Term:
        key = self.chance.choice((ZONE, "disk", "cores", "rack"))
        operator = self.chance.choice(("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"))
        values = {ZONE: ("a", "c"), "disk": ("ssd",), "cores": ("8",), "rack": ("r1",)}[key]
        if operator in ("Gt", "Lt"):
            key, values = "cores", ("8",)
        names = ("h1", "h2", "h4") if self.some(10) else None
        without = ("h3",) if self.some(8) else ()
        if self.some(25):
            return Term((), names, without)
        return Term((Requirement(key, operator, values),), names, without)

    def pod_term(self) -> PodTerm:
        selector = self.selector() if self.some(92) else self.chance.choice((None, ()))
        names = tuple(dict.fromkeys(self.namespace() for _ in range(2)))
        spaces = None
        if self.some(25):
            spaces = () if self.some(40) else (Requirement("team", "In", ("red",)),)
            names = names[:1] if self.some(50) else ()
        return PodTerm(self.chance.choice(KEYS), selector, names, spaces)

    def spread(self) -> Spread:
        selector = self.selector() if self.some(90) else self.chance.choice((None, ()))
        return Spread(
            self.chance.choice(KEYS),
            self.chance.integer(1, 3),
            self.some(50),
            selector,
            self.number(4) if self.some(30) else 0,
            self.some(70),
            self.some(40),
        )

    def reserve(self) -> Resources:
        if self.some(10):
            return Resources(sandboxes=1)
        cpu, memory = 128 * 50 * self.number(12), 64 * MIB * self.number(12)
        return Resources(cpu, memory, 10 * MIB if self.some(15) else 0, 1)

    def kind(self) -> Ask:
        """Asks of one template, plain or with any mix of rules."""
        rich = self.some(85)

        def rule(percent: int) -> bool:
            return rich and self.some(percent)

        cluster = self.chance.choice((*CLUSTERS, CLUSTERS[0]))
        is_ecs = self.some(20)
        reserve = self.reserve()
        group = f"{cluster}/g{self.number(1)}" if is_ecs or self.some(5) else ""
        ports = tuple(
            Port(self.chance.choice((80, 443)), self.chance.choice(("tcp", "udp")), address)
            for address in ("", "10.0.0.1", "10.0.0.2")
            if rule(8)
        )
        return Ask(
            "",
            "",
            cluster,
            reserve,
            ports=ports,
            namespace=cluster if is_ecs else self.namespace(),
            labels=() if is_ecs else self.labels(),
            node_selector=(("disk", "ssd"),) if rule(12) else (),
            affinity=self.affinity() if rule(25) else None,
            preferred=tuple((self.chance.integer(1, 100), self.row_term()) for _ in range(2))
            if rule(20)
            else (),
            tolerations=self.tolerations() if rule(40) else (),
            spreads=()
            if is_ecs
            else tuple(self.spread() for _ in range(self.number(3)))
            if rule(45)
            else (),
            strategies=self.strategies() if is_ecs else (),
            constraints=(self.row_term(),) if rule(8) else (),
            group=group,
            distinct=bool(group) and rule(40),
            zone="a" if rule(5) else "",
            pinned=f"i{self.number(5)}" if rule(4) else "",
            extended=((GPU, 1 + self.number(1)),) if rule(15) else (),
            scored=(reserve.cpu + 12_800, reserve.memory + 100 * MIB) if self.some(20) else None,
            images=("app:1", "side:2")[: self.chance.integer(1, 2)] if rule(25) else (),
            spreads_default=self.some(30),
            pod_affinity=tuple(self.pod_term() for _ in range(1 + self.number(1)))
            if rule(15) and not is_ecs
            else (),
            pod_anti_affinity=tuple(self.pod_term() for _ in range(1 + self.number(1)))
            if rule(15) and not is_ecs
            else (),
            pod_preferred=tuple(
                (self.chance.choice((1, 10, 50, -1, -10, -100)), self.pod_term()) for _ in range(2)
            )
            if rule(20) and not is_ecs
            else (),
        )

    def affinity(self) -> tuple[Term, ...]:
        if self.some(25):
            return (Term(names=("h1", "h2", "h5")), Term(names=("h3",)))[: 1 + self.number(1)]
        return tuple(self.row_term() for _ in range(self.chance.integer(1, 2)))

    def tolerations(self) -> tuple[Toleration, ...]:
        return self.chance.choice(
            (
                (Toleration("dedicated", "Equal", "x", "NoSchedule"),),
                (Toleration("dedicated", "Exists"), Toleration("slow", "Equal", "1")),
                (Toleration(operator="Exists"),),
                (Toleration("node.kubernetes.io/unschedulable", "Exists"),),
            )
        )

    def strategies(self) -> tuple[Strategy, ...]:
        kinds = (
            Strategy("random"),
            Strategy("spread", "instanceId"),
            Strategy("spread", "host"),
            Strategy("spread", ZONE),
            Strategy("spread", "rack"),
            Strategy("binpack", "cpu"),
            Strategy("binpack", "memory"),
        )
        return tuple(self.chance.choice(kinds) for _ in range(self.chance.integer(1, 3)))

    # What happens

    def set_pool(self, pool: str) -> None:
        room = Resources(64_000 * (2 + self.number(40)), 512 * MIB * (2 + self.number(40)))
        self.fleet.set_pool(pool, room)
        self.world.pools[pool] = room

    def set_row(self, id: str) -> None:
        self.made += 1
        labels = {}
        if self.some(92):
            labels[HOSTNAME] = id
        if self.some(85):
            labels[ZONE] = self.chance.choice(("a", "b", "c"))
        if self.some(50):
            labels["rack"] = self.chance.choice(("r1", "r2"))
        if self.some(50):
            labels["disk"] = self.chance.choice(("ssd", "hdd"))
        if self.some(50):
            labels["cores"] = self.chance.choice(("4", "16", "many"))
        old = self.world.rows.get(id)
        row = Row(
            id,
            f"h{id[1:]}",
            old.cluster if old else self.chance.choice((*CLUSTERS, CLUSTERS[0], CLUSTERS[0])),
            f"p{self.number(3)}" if self.some(35) else f"own-{id}",
            Resources(
                64_000 * self.number(16) if self.some(95) else 0,
                512 * MIB * self.number(16),
                30 * MIB * self.number(4),
                self.chance.integer(4, 20),
            ),
            tuple(sorted(labels.items())) if self.some(95) else (),
            tuple(
                Taint(*self.chance.choice((("dedicated", "x"), ("slow", "1"))), effect)
                for effect in (self.chance.choice(EFFECTS) for _ in range(self.number(2)))
                if self.some(50)
            ),
            self.some(95),
            self.some(98),
            tuple((name, self.number(4)) for name in (GPU, TPU) if self.some(70)),
            tuple((name, MIB * self.number(2000)) for name in ("app:1", "side:2") if self.some(50)),
        )
        self.fleet.set_row(row)
        self.world.rows[id] = row

    def change_row(self) -> None:
        if not self.world.rows or self.some(20):
            self.set_row(f"i{self.made}")
            return
        id = self.chance.choice(sorted(self.world.rows))
        if self.some(30):
            self.fleet.remove_row(id)
            del self.world.rows[id]
            gone = [key for key, held in self.world.held.items() if held.row == id]
            for key in gone:
                del self.world.held[key]
        elif self.some(50):
            row = self.world.rows[id]
            room = replace(row, allocatable=Resources(128_000 * 6, 6144 * MIB, 0, self.number(15)))
            self.fleet.set_row(room)
            self.world.rows[id] = room
        else:
            self.set_row(id)

    def change_namespace(self) -> None:
        cluster, name = self.chance.choice(CLUSTERS), self.chance.choice(NAMESPACES)
        labels = {"team": "red"} if self.some(60) else {}
        self.fleet.set_namespace(cluster, name, labels)
        self.world.namespaces[cluster, name] = labels

    def end_one(self) -> None:
        if not self.world.held:
            return
        key = self.chance.choice(sorted(self.world.held))
        held = self.world.held[key]
        if self.some(70):
            self.fleet.release(key)
            del self.world.held[key]
            return
        self.fleet.book(engine.booking_for(self.fleet, held.ask, held.row, held.pool, True))
        held.ending = True

    def book_elsewhere(self) -> None:
        """A Sandbox that another scheduler put somewhere, whether or not it fits."""
        if not self.world.rows:
            return
        row = self.world.rows[self.chance.choice(sorted(self.world.rows))]
        ask = msgspec.structs.replace(self.next_ask(), cluster=row.cluster)
        self.fleet.book(engine.booking_for(self.fleet, ask, row.id, row.pool))
        self.world.held[ask.key] = reference.Held(ask, row.id, row.pool)

    def next_ask(self) -> Ask:
        self.made += 1
        return msgspec.structs.replace(
            self.chance.choice(self.kinds), uid=f"u{self.made}", key=f"k{self.made}"
        )

    # Comparison

    def place_one(self, ask: Ask) -> None:
        """Compare everything that is known before a placement, then the placement."""
        expected = reference.answer(self.world, ask)
        if not ask.strategies:
            found = engine.totals(self.fleet, ask)
            assert found == expected.scores, (ask, found, expected.scores)
        if self.some(10):
            willing = {item.instance for item in explain(self.fleet, ask) if not item.lacks}
            assert willing == set(expected.scores), ask
            self.try_without(ask)
        self.check(ask, expected, engine.place(self.fleet, [ask])[0])

    def try_without(self, ask: Ask) -> None:
        """What preemption asks: would a row take the ask if some Sandboxes were not there."""
        gone = [key for key in sorted(self.world.held) if self.some(40)]
        world = replace(
            self.world, held={k: h for k, h in self.world.held.items() if k not in gone}
        )
        expected = set(reference.answer(world, ask).scores)
        with self.fleet.without(gone):
            able = {
                id for id, number in self.fleet.number_of.items()
                if engine.fits(self.fleet, ask, number)
            }  # fmt: skip
        assert able == expected, (ask, gone, able, expected)

    def place_batch(self) -> None:
        """A batch is as one after another: each sees the last."""
        asks = [self.next_ask() for _ in range(self.chance.integer(2, 8))]
        if self.some(60):
            asks = [msgspec.structs.replace(asks[0], uid=ask.uid, key=ask.key) for ask in asks]
        for ask, decision in zip(asks, engine.place(self.fleet, asks), strict=True):
            self.check(ask, reference.answer(self.world, ask), decision)

    def check(self, ask: Ask, expected: reference.Answer, decision: Placed | Unplaced) -> None:
        self.compared += 1
        for code in [code for code, _ in expected.reasons]:
            self.met[code] = self.met.get(code, 0) + 1
        if len(set(expected.scores.values())) > 1:
            self.met["choices"] = self.met.get("choices", 0) + 1
        if isinstance(decision, Unplaced):
            assert not expected.scores, (ask, expected)
            reasons: dict[tuple[str, str], int] = {}
            for reason in decision.reasons:
                key = (reason.code, reason.detail)
                reasons[key] = reasons.get(key, 0) + reason.count
            assert reasons == expected.reasons, (ask, reasons, expected.reasons)
            assert decision.total == expected.total
            return
        if ask.strategies:
            best = reference.ecs_best(self.world, ask, set(expected.scores))
        else:
            most = max(expected.scores.values(), default=-1)
            best = {id for id, score in expected.scores.items() if score == most}
        assert decision.instance in best, (ask, decision.instance, expected.scores)
        self.world.held[ask.key] = reference.Held(ask, decision.instance, decision.pool)

    def step(self) -> None:
        """The next thing that happens."""
        roll = self.number(99)
        if roll < 45:
            self.place_one(self.next_ask())
        elif roll < 62:
            self.place_batch()
        elif roll < 80:
            self.end_one()
        elif roll < 86:
            self.book_elsewhere()
        elif roll < 92:
            self.change_row()
        elif roll < 95:
            self.change_namespace()
        elif roll < 97:
            self.kinds.append(self.kind())
        else:
            self.set_pool(f"p{self.number(2)}")


def run(seed: int, steps: int = 50) -> int:
    """One history; how many placements were compared. Raises AssertionError."""
    few = domains.FEW
    domains.FEW = few if seed % 3 else 1  # as if there were hundreds of Instances
    try:
        history = History(seed)
        for _ in range(steps):
            history.step()
    finally:
        domains.FEW = few
    return history.compared


def main() -> None:
    """Histories until enough placements were compared."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    compared, seed, began = 0, chosen.seed, time.process_time()
    while compared < chosen.count:
        try:
            compared += run(seed)
        except AssertionError:
            print(f"seed {seed}: the engine and the reference differ")
            raise
        seed += 1
    spent = time.process_time() - began
    print(f"{compared} placements in {seed - chosen.seed} histories alike, {spent:.0f} s")


if __name__ == "__main__":
    main()
