"""The agent's news: what is urgent goes out at once and alone, the rest gathers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from proa.base.clock import VirtualClock, run_virtual
from proa.base.errors import TryAgain
from proa.model.feed import Report
from proa.model.sandbox import Assignment, Container, NodeEvent, Sandbox
from proa.node.reporter import Reporter
from proa.node.state import SandboxRun
from tests.conformance.runtime.control import Control
from tests.unit.node.stage import sandbox

Story = Callable[["Desk"], Awaitable[None]]


class Line(Control):
    """Keeps the reports, and fails as often as it is told to."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.clock = clock
        self.reports: list[tuple[float, Report]] = []
        self.failures = 0

    async def report(self, report: Report) -> None:
        if self.failures:
            self.failures -= 1
            raise TryAgain("away")
        self.reports.append((self.clock.monotonic(), report))


class Desk:
    """A reporter with its line and clock."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.line = Line(self.clock)
        self.reporter = Reporter(self.line, self.clock, "h-1")

    def run(self, uid: str) -> SandboxRun:
        whole: Sandbox = sandbox(uid, Container("main", "image"))
        return SandboxRun.of(Assignment(uid, "run", 1, whole), whole)

    def begin(self, run: SandboxRun) -> None:
        run.containers["main"].state = "running"
        self.reporter.changed(run)

    def sent(self) -> list[tuple[float, list[str], list[str]]]:
        """When, whose statuses, and which events."""
        return [
            (round(at, 3), [one.uid for one in report.statuses], [e.reason for e in report.events])
            for at, report in self.line.reports
        ]


def play(story: Story) -> None:
    async def main() -> None:
        desk = Desk()
        task = asyncio.create_task(desk.reporter.run())
        await story(desk)
        task.cancel()

    run_virtual(main())


def test_a_start_is_told_at_once_with_its_own_events_only() -> None:
    async def story(desk: Desk) -> None:
        first, second = desk.run("a"), desk.run("b")
        for run in (first, second):
            desk.reporter.changed(run)
            desk.reporter.event(NodeEvent(run.uid, f"Pulled {run.uid}", ""))
        await desk.clock.sleep(0.5)
        desk.begin(first)
        await desk.clock.sleep(0.1)
        assert desk.sent() == [(0.5, ["a"], ["Pulled a"])]
        await desk.clock.sleep(1.0)
        assert desk.sent()[1:] == [(1.0, ["b"], ["Pulled b"])]

    play(story)


def test_what_nobody_waits_for_gathers_in_one_report() -> None:
    async def story(desk: Desk) -> None:
        for uid in "abc":
            desk.reporter.changed(desk.run(uid))
            await desk.clock.sleep(0.1)
        await desk.clock.sleep(2.0)
        assert desk.sent() == [(1.0, ["a", "b", "c"], [])]

    play(story)


def test_a_report_that_is_not_delivered_is_sent_again_with_the_newest_state() -> None:
    async def story(desk: Desk) -> None:
        desk.line.failures = 1
        run = desk.run("a")
        desk.begin(run)
        await desk.clock.sleep(0.1)
        run.containers["main"].ready = True
        desk.reporter.changed(run)
        await desk.clock.sleep(1.0)
        assert [uids for _, uids, _ in desk.sent()] == [["a"]]
        assert desk.line.reports[0][1].statuses[0].containers[0].ready

    play(story)


def test_everything_is_said_again_when_the_control_plane_may_have_forgotten() -> None:
    async def story(desk: Desk) -> None:
        for uid in "ab":
            desk.begin(desk.run(uid))
        await desk.clock.sleep(0.1)
        desk.reporter.forget("b")
        desk.reporter.again()
        await desk.clock.sleep(0.1)
        assert [uids for _, uids, _ in desk.sent()] == [["a", "b"], ["a"]]

    play(story)
