"""What the tests of servers share."""

from collections.abc import Iterator

import pytest

from icm_engine.models import server_client
from tests.support.fake_server import Completions, serving


@pytest.fixture
def address(said: Completions, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the server of a test module's fixture `said` is; who asks it again waits next to nothing."""
    monkeypatch.setattr(server_client, "FIRST_WAIT", 0.001)
    with serving(said) as address:
        yield address
