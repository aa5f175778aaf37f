"""What the small programs of examples and tests do, without running them: echo, sleep, false …

A simulated container whose command is made of these ends when and as it would; ``kubectl exec``
gets an answer. Anything else is for the behaviour file: nothing here guesses what a program does.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from proa.model.sandbox import Container

_SHELLS = ("sh", "bash", "ash", "dash")
_SEPARATORS = (";", "&&", "||", "&", "|", "\n")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
MAX_WORDS = 500


@dataclass(slots=True, frozen=True)
class Outcome:
    """``lines`` are (seconds after the start, text); ``runs_s`` infinite: it does not end."""

    lines: tuple[tuple[float, str], ...] = ()
    runs_s: float = 0.0
    exit_code: int = 0


def command_of(container: Container) -> tuple[str, ...]:
    """The words of a container's command as far as its spec says them; () for its image's own."""
    return (container.entrypoint or ()) + (container.arguments or ())


def outcome_of(words: tuple[str, ...], environment: Mapping[str, str]) -> Outcome | None:
    """What a command does; None where it is not known."""
    if not words:
        return None
    name = words[0].rpartition("/")[2]
    if name in _SHELLS and len(words) >= 3 and words[1].lstrip("-").strip("eux") == "c":
        return _script(words[2], environment)
    return _simple(words, environment)


def _script(text: str, environment: Mapping[str, str]) -> Outcome | None:
    """Commands one after another, up to the first that is not known to end well."""
    try:
        commands = list(_commands(text))
    except ValueError:
        return None
    lines: list[tuple[float, str]] = []
    spent_s, code, after = 0.0, 0, ";"
    for separator, words in commands:
        if separator in ("|", "&") or len(lines) > MAX_WORDS:
            return None
        skipped = (after == "&&" and code) or (after == "||" and not code)
        after = separator
        if skipped or not words:
            continue
        if words[0] == "while" and words[1:] in (["true"], [":"]):
            return Outcome(tuple(lines), math.inf)
        done = _simple(tuple(words), environment)
        if done is None:
            return None
        lines += [(spent_s + at, line) for at, line in done.lines]
        spent_s, code = spent_s + done.runs_s, done.exit_code
        if words[0] == "exit" or math.isinf(spent_s):
            break
    return Outcome(tuple(lines), spent_s, code)


def _commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """(what follows it, words) of each command of a script. Raises ValueError."""
    reader = shlex.shlex(text.replace("\n", ";"), posix=True, punctuation_chars=";&|")
    reader.whitespace_split = True
    words: list[str] = []
    for count, token in enumerate(reader):
        if count > MAX_WORDS:
            raise ValueError("too long")
        if token in _SEPARATORS:
            yield token, words
            words = []
        else:
            words.append(token)
    yield ";", words


def _simple(words: tuple[str, ...], environment: Mapping[str, str]) -> Outcome | None:
    name, given = words[0].rpartition("/")[2], words[1:]
    if any(word.startswith((">", "<", "$(", "`")) for word in given):
        return None
    if name == "echo":
        said = [word for word in given if word not in ("-n", "-e")]
        return Outcome(((0.0, " ".join(_expanded(word, environment) for word in said)),))
    if name == "sleep":
        seconds = [_seconds(word) for word in given]
        return None if None in seconds or not given else Outcome(runs_s=sum(filter(None, seconds)))
    if name in ("true", ":", "set", "exit", "false"):
        code = 1 if name == "false" else 0
        if name == "exit" and given:
            code = int(given[0]) & 0xFF if given[0].lstrip("-").isdigit() else 2
        return Outcome(exit_code=code)
    if name in ("env", "printenv"):
        if given:
            found = environment.get(given[0])
            return Outcome(((0.0, found),)) if found is not None else Outcome(exit_code=1)
        return Outcome(tuple((0.0, f"{key}={value}") for key, value in environment.items()))
    if name == "hostname" and not given:
        return Outcome(((0.0, environment.get("HOSTNAME", "localhost")),))
    if name == "tail" and given[-1:] == ("/dev/null",):
        return Outcome(runs_s=math.inf)
    return None


def _expanded(word: str, environment: Mapping[str, str]) -> str:
    """A word with $NAME and ${NAME} replaced."""
    for name in sorted(environment, key=len, reverse=True):
        word = word.replace(f"${{{name}}}", environment[name]).replace(
            f"${name}", environment[name]
        )
    return word


def _seconds(word: str) -> float | None:
    if word in ("infinity", "inf"):
        return math.inf
    unit = _UNITS.get(word[-1:], 0.0)
    try:
        return float(word[:-1]) * unit if unit else float(word)
    except ValueError:
        return None
