"""The arithmetic and the turns that every benchmark relies on; no time is asserted."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from proa.bench.live.clients import read_kubeconfig
from proa.bench.live.instance import what_runs
from proa.bench.live.measure import Contender, interleave, ratio, summary
from proa.bench.live.wrk import Load
from proa.store import writer


def contender(name: str, samples: Sequence[float], trace: list[str]) -> Contender:
    left = iter(samples)

    async def measure() -> float:
        trace.append(name)
        sample = next(left)
        if sample < 0:
            raise RuntimeError(name)
        return sample

    async def clear() -> None:
        trace.append(f"clear {name}")

    return Contender(name, measure, clear)


def test_rounds_of_warming_up_are_thrown_away() -> None:
    found = asyncio.run(interleave([contender("a", [9, 1, 2], [])], rounds=2, warm_up=1))
    assert found == {"a": [1, 2]}


def test_the_first_of_a_round_changes_from_round_to_round() -> None:
    trace: list[str] = []
    pair = [contender("a", [1, 1], trace), contender("b", [1, 1], trace)]
    asyncio.run(interleave(pair, rounds=2, warm_up=0))
    assert [name for name in trace if "clear" not in name] == ["a", "b", "b", "a"]


def test_a_failed_round_is_cleared_before_the_error_goes_on() -> None:
    trace: list[str] = []
    with pytest.raises(RuntimeError):
        asyncio.run(interleave([contender("a", [-1], trace)], rounds=1, warm_up=0))
    assert trace == ["a", "clear a"]


def test_a_ratio_goes_round_by_round_and_one_outlier_changes_nothing() -> None:
    assert ratio([3, 2, 100], [2, 1, 1.5]) == 2
    assert summary([3, 2, 100], "ms") == {
        "unit": "ms",
        "median": 3,
        "min": 2,
        "max": 100,
        "rounds": 3,
    }


def test_a_kubeconfig_with_embedded_data_becomes_files(tmp_path: Path) -> None:
    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    cluster = {"server": "https://h:1", "certificate-authority-data": encoded("CA")}
    user = {"client-certificate-data": encoded("CERT"), "client-key-data": encoded("KEY")}
    document = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "other", "cluster": {}}, {"name": "k", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(document))
    found = read_kubeconfig(path, tmp_path)
    assert found.server == "https://h:1"
    files = (found.authority, found.certificate, found.key)
    assert [file.read_text() for file in files] == ["CA", "CERT", "KEY"]


def test_a_load_with_a_number_in_its_body_never_repeats_one(tmp_path: Path) -> None:
    load = Load("http://h/", tmp_path, "POST", {"A": 'say "x"'}, '{"name":"m-{n}"}')
    first, second = load._script(0), load._script(1)
    assert '"0"' in first
    assert '"1"' in second
    assert 'wrk.headers["A"] = "say \\"x\\""' in first


def test_a_process_is_named_by_the_module_it_runs() -> None:
    assert what_runs(["python", "-m", "proa.cli.main", "up"]) == "proa.cli.main"
    assert what_runs(["python", "-P", writer.__file__, "store.db"]) == "proa.store.writer"
    assert what_runs(["containerd", "--config", "c.toml"]) == "containerd"
