"""The forms take a server's address, look whether it is there, and say what is wrong before anything is stored."""

from collections.abc import Iterator

import pytest

from icm_engine.analysis.run_form import require_server
from icm_engine.core.errors import ServerUnavailable
from icm_engine.core.settings import SearchConfig
from icm_engine.data.importing import ensure_sample_dataset
from icm_engine.runs import control, worker
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store
from tests.support.drawn_pages import button, page, shown_markup, texts, write
from tests.support.fake_server import serving, small_server


@pytest.fixture
def address() -> Iterator[str]:
    with serving(small_server()) as address:
        yield address


def test_a_run_through_a_server_can_be_started_from_the_page(store: Store, address: str) -> None:
    test = page("search")
    assert not test.selectbox(key="quantization").disabled
    write(test, "model", address)
    test.run()
    assert test.selectbox(key="quantization").disabled  # the server has its own
    write(test, "model", address)
    button(test, "start_new").click().run()
    assert not test.exception
    (run,) = store.run_names()
    assert store.spec(run).model == address
    assert address in texts(test)


def test_a_runs_page_says_what_its_server_can_do(store: Store, address: str) -> None:
    ensure_sample_dataset(store, "facts")
    run = control.create_run(store, RunSpec("facts", address, limit=4, search=SearchConfig(max_steps=1)))
    control.queue(store, run)
    assert worker.run_in_process(store, run, 0.0) == 0
    test = page("search", run=run)
    assert not test.exception
    assert "vLLM 0.test gives log-probabilities of given token ids (logprob_token_ids)" in texts(test)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("http://127.0.0.1:9/v1", "server http://127.0.0.1:9/v1 does not answer (Connection refused): start it"),
        ("http://me:s3cret@127.0.0.1:9/v1", "has a user or a password in it: put a key into ICM_SERVER_KEY"),
        ("http://127.0.0.1:9", "has no path: give http://127.0.0.1:9/v1"),
    ],
)
@pytest.mark.parametrize(
    ("name", "box", "press"),
    [("search", "model", "start_new"), ("experiments", "suite_model", "suite_run")],
)
def test_what_is_wrong_with_a_server_is_said_in_the_form(
    store: Store, model: str, message: str, name: str, box: str, press: str
) -> None:
    test = page(name)
    write(test, box, model)
    button(test, press).click().run()
    assert not test.exception
    said = texts(test) + shown_markup(test) + "\n".join(element.value for element in test.code)
    assert message in said
    assert "s3cret" not in said
    assert store.run_names() == []
    assert store.db.execute("select count(*) from jobs").fetchone()[0] == 0


def test_behind_a_proxy_nothing_is_said_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServerUnavailable, match="does not answer"):
        require_server("http://127.0.0.1:9/v1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    require_server("http://127.0.0.1:9/v1")
    require_server("sample")
