"""Logs: one line an event, ``key=value`` fields, to standard error.

Secrets never go into fields. ``configure`` is called once by each process's ``main``.
"""

from __future__ import annotations

import logging
from typing import Any


class Logger:
    """A thin front of ``logging`` that takes fields as keyword arguments."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def _write(self, level: int, message: str, exc_info: Any, fields: dict[str, Any]) -> None:
        if self._logger.isEnabledFor(level):
            tail = "".join(f" {key}={value!r}" for key, value in fields.items())
            self._logger.log(level, "%s%s", message, tail, exc_info=exc_info)

    def debug(self, message: str, **fields: Any) -> None:
        self._write(logging.DEBUG, message, None, fields)

    def info(self, message: str, **fields: Any) -> None:
        self._write(logging.INFO, message, None, fields)

    def warning(self, message: str, exc_info: Any = None, **fields: Any) -> None:
        self._write(logging.WARNING, message, exc_info, fields)

    def error(self, message: str, exc_info: Any = None, **fields: Any) -> None:
        self._write(logging.ERROR, message, exc_info, fields)


def get_logger(name: str) -> Logger:
    """The logger of one module."""
    return Logger(name)


def configure(level: str = "INFO") -> None:
    """Send log lines to standard error."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
