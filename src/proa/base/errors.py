"""The three kinds of errors that cross a border of ours.

Every package translates what its libraries raise into one of these before it leaves the
package. A bug is an ``AssertionError`` (or any other exception): it ends the one task it
happened in and is logged with its traceback.
"""

from __future__ import annotations


class TryAgain(Exception):
    """A passing fault: the same call may succeed later (a lost race, a peer that is away)."""


class CallerFault(Exception):
    """The caller asked for something that cannot be done; repeating it will not help."""


class Conflict(TryAgain):
    """A guard of a transaction did not hold: somebody else wrote first. Decide again."""
