"""Where there is no terminal, ``proa watch`` says each change once, in a line."""

from typing import Any

from proa.cli.watch import changes


def picture(**sandboxes: str) -> dict[str, Any]:
    return {
        "workloads": [],
        "sandboxes": [
            {"api": "ecs", "where": "r/c", "name": name, "status": status, "address": ""}
            for name, status in sandboxes.items()
        ],
        "events": [],
    }


def test_changes_name_what_is_new_changed_and_gone_and_nothing_else() -> None:
    before = picture(a="PENDING", b="RUNNING", c="RUNNING")
    after = picture(a="RUNNING", b="RUNNING", d="PROVISIONING")
    assert changes(before, after) == [
        "task r/c/a: RUNNING",
        "task r/c/d: PROVISIONING",
        "task r/c/c: gone",
    ]
    assert changes(after, after) == []


def test_an_event_is_said_once() -> None:
    event = {"at": "1", "api": "kubernetes", "kind": "Normal", "about": "pod/x", "text": "Pulled"}
    before = picture()
    after = {**before, "events": [event]}
    assert changes(before, after) == ["event pod/x: Pulled"]
    assert changes(after, after) == []
