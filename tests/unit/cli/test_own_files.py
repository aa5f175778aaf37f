"""``proa env --write`` adds to the user's files and loses nothing of them."""

from pathlib import Path

import pytest
import yaml

from proa.base.errors import CallerFault
from proa.cli.own_files import with_section, write

OURS = {
    "clusters": [{"name": "x", "cluster": {"server": "https://127.0.0.1:6443"}}],
    "users": [{"name": "x", "user": {"client-key-data": "k"}}],
}


def values(folder: Path) -> dict[str, str]:
    (folder / "kubeconfig").write_text(yaml.safe_dump(OURS))
    return {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
        "AWS_ACCESS_KEY_ID": "AKIA",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "KUBECONFIG": str(folder / "kubeconfig"),
    }


def test_writing_into_an_empty_home_makes_private_files_with_the_context_current(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    paths = write(values(tmp_path), {"HOME": str(home), "KUBECONFIG": str(tmp_path / "kubeconfig")})
    assert paths == [
        home / ".kube" / "config",
        home / ".aws" / "config",
        home / ".aws" / "credentials",
    ]
    config = yaml.safe_load(paths[0].read_text())
    assert config["current-context"] == "proa"
    assert config["clusters"] == [{"name": "proa", "cluster": OURS["clusters"][0]["cluster"]}]
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o600}


def test_other_entries_and_the_current_context_are_kept_and_ours_is_replaced(
    tmp_path: Path,
) -> None:
    mine = tmp_path / "mine"
    theirs = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "work",
        "clusters": [
            {"name": "work", "cluster": {"server": "https://w"}},
            {"name": "proa", "cluster": {"server": "https://old"}},
        ],
        "users": None,
        "preferences": {"colors": True},
    }
    mine.write_text(yaml.safe_dump(theirs))
    environment = {"HOME": str(tmp_path / "home"), "KUBECONFIG": str(mine)}
    write(values(tmp_path), environment)
    config = yaml.safe_load(mine.read_text())
    assert config["current-context"] == "work"
    assert config["preferences"] == {"colors": True}
    assert [item["name"] for item in config["clusters"]] == ["work", "proa"]
    assert config["clusters"][1]["cluster"]["server"] == "https://127.0.0.1:6443"
    before = mine.read_text()
    write(values(tmp_path), environment)
    assert mine.read_text() == before


@pytest.mark.parametrize("text", ["a: [", "- 1\n", "clusters: 5\n"])
def test_a_kubeconfig_that_cannot_be_understood_is_refused_before_anything_is_written(
    tmp_path: Path, text: str
) -> None:
    mine = tmp_path / "mine"
    mine.write_text(text)
    home = tmp_path / "home"
    with pytest.raises(CallerFault):
        write(values(tmp_path), {"HOME": str(home), "KUBECONFIG": str(mine)})
    assert mine.read_text() == text
    assert not home.exists()


def test_a_section_is_replaced_in_place_and_every_other_line_is_kept() -> None:
    text = (
        "# mine\n[default]\nregion=us-east-1\n\n"
        "[profile proa]\nregion = x\ns3 =\n  a = 1\n\n[b]\nc=1\n"
    )
    changed = with_section(text, "profile proa", {"region": "y"})
    assert changed == (
        "# mine\n[default]\nregion=us-east-1\n\n[profile proa]\nregion = y\n\n[b]\nc=1\n"
    )
    assert with_section(changed, "profile proa", {"region": "y"}) == changed
    assert with_section("", "proa", {"a": "1"}) == "[proa]\na = 1\n"
    assert with_section("[x]\ny=1", "proa", {"a": "1"}) == "[x]\ny=1\n\n[proa]\na = 1\n"
