"""What the tests of pages share."""

import pytest

from icm_engine.store.store import Store


@pytest.fixture
def store(store: Store, no_processes: None) -> Store:
    """An empty database that the pages open too; no process is launched."""
    return store
