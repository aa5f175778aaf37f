"""The engine and the slow reference agree over random histories; ``compare`` runs many more."""

import pytest

from tests.unit.placement import compare


@pytest.mark.parametrize("block", range(10))
def test_engine_and_reference_agree_on_every_decision_reason_and_score(block: int) -> None:
    for seed in range(block * 8, block * 8 + 8):
        assert compare.run(seed) > 0, f"seed {seed}"


def test_histories_meet_every_reason_and_many_choices() -> None:
    met: dict[str, int] = {}
    for seed in range(60):
        history = compare.History(seed)
        for _ in range(40):
            history.step()
        for code, count in history.met.items():
            met[code] = met.get(code, 0) + count
    assert met["choices"] > 300
    assert set(met) - {"choices"} == {
        "cordoned", "cpu", "disk", "distinct", "existing-anti-affinity", "extended", "memory",
        "names", "notready", "pod-affinity", "pod-anti-affinity", "ports", "sandboxes", "selector",
        "spread", "spread-label", "taint", "zone",
    }  # fmt: skip
