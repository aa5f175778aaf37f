"""The Proa that the tests of the APIs and end to end share; other tests never start it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live import Proa, proa_at


@pytest.fixture(scope="session")
def proa(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proa]:
    """Started by the first test that asks for it, purged at the end."""
    with proa_at(tmp_path_factory.mktemp("proa"), (14566, 16443, 14510)) as running:
        yield running
