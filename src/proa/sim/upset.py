"""Errors that the program itself logs: in a world each is a broken promise, for it means a bug.

``World`` watches while it lives. What may be logged as an error under faults, because an operator
must know of it and nothing of ours can help it, is named here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from proa.base.errors import TryAgain

EXPECTED = ("checkpoint failed",)  # the disk is full


class Upsets(logging.Handler):
    """Tells of every error of the package's loggers, once in the same words."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._tell = tell
        self._logger = logging.getLogger("proa")

    def watch(self) -> None:
        """Listen from now on."""
        self._logger.addHandler(self)

    def close(self) -> None:
        """Listen no longer."""
        self._logger.removeHandler(self)
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith(EXPECTED):
            return
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, TryAgain) and not text.startswith("task crashed"):
            return  # a passing fault, which is taken up again
        self._tell(f"error: {text}" + (f": {error!r}" if error else ""))
