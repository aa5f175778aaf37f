"""``proa env --write``: a ``proa`` context and an AWS profile in the user's own files.

Everything else in those files stays: of the AWS files, line for line; of a kubeconfig, every
entry (it is rewritten as ``kubectl config`` does it). The current context is set only where
there was none. Writing twice changes nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from proa.base.errors import CallerFault

NAME = "proa"


def write(values: Mapping[str, str], environment: Mapping[str, str]) -> list[Path]:
    """Put the values of ``proa env`` into the files that the clients read (KUBECONFIG,
    AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE, or their defaults); returns what was written.
    Raises CallerFault for a file that cannot be understood, before anything is written."""
    home = Path(environment.get("HOME") or "~").expanduser()
    proas_own = Path(values["KUBECONFIG"])
    kube = _kubeconfig_path(environment, home, proas_own)
    config = Path(environment.get("AWS_CONFIG_FILE") or home / ".aws" / "config")
    keys = Path(environment.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials")
    texts = {
        kube: _merged_kubeconfig(kube, proas_own),
        config: with_section(
            _read(config),
            f"profile {NAME}",
            {"region": values["AWS_DEFAULT_REGION"], "endpoint_url": values["AWS_ENDPOINT_URL"]},
        ),
        keys: with_section(
            _read(keys),
            NAME,
            {
                "aws_access_key_id": values["AWS_ACCESS_KEY_ID"],
                "aws_secret_access_key": values["AWS_SECRET_ACCESS_KEY"],
            },
        ),
    }
    for path, text in texts.items():
        _replace(path, text)
    return list(texts)


def _kubeconfig_path(environment: Mapping[str, str], home: Path, proas_own: Path) -> Path:
    """The first file of KUBECONFIG that is not Proa's own, else the default."""
    for word in environment.get("KUBECONFIG", "").split(os.pathsep):
        if word and Path(word) != proas_own:
            return Path(word)
    return home / ".kube" / "config"


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def with_section(text: str, name: str, values: Mapping[str, str]) -> str:
    """An AWS configuration text whose section ``[name]`` has exactly these values; every other
    line is kept as it is."""
    section = f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
    pattern = re.compile(rf"^\[\s*{re.escape(name)}\s*\][^\n]*\n(?:(?!\[)[^\n]*\n?)*", re.MULTILINE)
    found = pattern.search(text)
    if found is None:
        gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        return text + gap + section
    after = text[found.end() :]
    return text[: found.start()] + section + ("\n" if after else "") + after


def _merged_kubeconfig(path: Path, proas_own: Path) -> str:
    ours = yaml.safe_load(proas_own.read_text())
    try:
        theirs = yaml.safe_load(_read(path)) or {}
    except yaml.YAMLError as error:
        raise CallerFault(f"{path} is no YAML: {error}") from error
    if not isinstance(theirs, dict):
        raise CallerFault(f"{path} is no kubeconfig")
    merged: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", **theirs}
    context = {"name": NAME, "context": {"cluster": NAME, "user": NAME}}
    _put(merged, "clusters", {"name": NAME, "cluster": ours["clusters"][0]["cluster"]}, path)
    _put(merged, "users", {"name": NAME, "user": ours["users"][0]["user"]}, path)
    _put(merged, "contexts", context, path)
    merged["current-context"] = merged.get("current-context") or NAME
    return yaml.safe_dump(merged, sort_keys=False)


def _put(config: dict[str, Any], member: str, entry: dict[str, Any], path: Path) -> None:
    """Replace the entry of our name, or add it at the end."""
    entries = config.get(member) or []
    if not isinstance(entries, list):
        raise CallerFault(f"{path}: {member} is no list")
    names = [item.get("name") if isinstance(item, dict) else None for item in entries]
    if NAME in names:
        config[member] = [
            entry if name == NAME else item for name, item in zip(names, entries, strict=True)
        ]
    else:
        config[member] = [*entries, entry]


def _replace(path: Path, text: str) -> None:
    """Write a file that only its owner may read, at once; a link is followed."""
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = target.with_name(target.name + ".proa-partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    partial.rename(target)
