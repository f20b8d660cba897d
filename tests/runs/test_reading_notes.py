"""What a model reads otherwise than it stands in the data is said: in the `model` event, as an alert, on stderr."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest

from icm_engine.analysis.alerts import alerts, notes_of_run, reading_notes
from icm_engine.analysis.views import load
from icm_engine.cli import main, run_commands
from icm_engine.core.scoring import TableScorer, agreeable_belief, reading_of
from icm_engine.core.settings import SearchConfig
from icm_engine.models.tokenized_prompts import difference
from icm_engine.runs import control, worker
from icm_engine.store.events import Json, RunSpec
from icm_engine.store.store import Store
from tests.support.stores import add_run, small_dataset

TOKENS = {"control_tokens": {"texts": 3, "of": 64, "first": "<|im_end|>"}}
CHANGED = {"read_otherwise": {"texts": 2, "of": 64, "first": ["ﬁ", "fi"]}}
SAID = "3 of 64 texts contain a control token of the model, such as <|im_end|>: it is read as plain text."
SAID_TOO = "2 of 64 texts are not what the tokenizer keeps: 'ﬁ' is read as 'fi'."


class Reader(TableScorer):
    """The fake model with a tokenizer that changes what a ligature stands for, and has a control token."""

    def reading(self, texts: Iterable[str]) -> Mapping[str, object]:
        some = list(texts)
        found = [text for text in some if "<|end|>" in text]
        return {"control_tokens": {"texts": len(found), "of": len(some), "first": "<|end|>"}} if found else {}


def run_with(store: Store, monkeypatch: pytest.MonkeyPatch, scorer: TableScorer) -> str:
    monkeypatch.setattr(worker, "make_scorer", lambda spec: scorer)
    small_dataset(store)
    run = control.create_run(store, RunSpec("sums", "fake", search=SearchConfig(max_steps=2)))
    store.append(run, "control", {"verb": "start"})
    assert worker.work(store, run) == 0
    return run


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({}, []),
        ({"reading": TOKENS}, [SAID]),
        ({"reading": CHANGED}, [SAID_TOO]),
        ({"reading": {**TOKENS, **CHANGED}}, [SAID, SAID_TOO]),
        (
            {"reading": {"read_otherwise": {"texts": 1, "of": 1, "first": ["a" * 99, "b"]}}},
            [f"1 of 1 texts is not what the tokenizer keeps: '{'a' * 39}…' is read as 'b'."],
        ),
    ],
)
def test_the_notes_have_the_counts_and_an_example(model: Json, said: list[str]) -> None:
    assert reading_notes(model) == said


def test_they_are_an_alert(store: Store) -> None:
    reading = load(store, add_run(store))
    (alert,) = alerts(replace(reading, model={**reading.model, "reading": {**TOKENS, **CHANGED}}))
    assert (alert.kind, alert.text) == ("texts read otherwise", f"{SAID} {SAID_TOO}")


def test_the_worker_records_what_its_scorer_says_of_the_rendered_examples(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Reader(agreeable_belief)
    monkeypatch.setattr(scorer, "reading", lambda texts: {"control_tokens": {"texts": 1, "of": 2, "first": "<s>"}})
    run = run_with(store, monkeypatch, scorer)
    event = store.last_event(run, ("model",))
    assert event is not None
    assert event.body["reading"] == {"control_tokens": {"texts": 1, "of": 2, "first": "<s>"}}
    assert notes_of_run(store, run) == [
        "1 of 2 texts contains a control token of the model, such as <s>: it is read as plain text."
    ]


@pytest.mark.parametrize("scorer", [TableScorer, Reader])
def test_where_there_is_nothing_to_say_nothing_is_recorded(
    store: Store, monkeypatch: pytest.MonkeyPatch, scorer: type[TableScorer]
) -> None:
    run = run_with(store, monkeypatch, scorer(agreeable_belief))
    event = store.last_event(run, ("model",))
    assert event is not None
    assert "reading" not in event.body
    assert notes_of_run(store, run) == []


def test_a_scorer_that_reads_no_tokens_has_nothing_to_say() -> None:
    assert reading_of(TableScorer(agreeable_belief), ["<|end|>"]) == {}
    assert reading_of(Reader(agreeable_belief), ["<|end|>", "b"]) == {
        "control_tokens": {"texts": 1, "of": 2, "first": "<|end|>"}
    }


def test_run_says_it_on_stderr(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def follow(store: Store, run: str) -> None:
        store.append(run, "model", {"model": "fake", "reading": TOKENS})

    small_dataset(store)
    monkeypatch.setattr(control, "start", lambda store, run: None)
    monkeypatch.setattr(run_commands, "follow", follow)
    assert main.main(["run", "--dataset", "sums", "--model", "fake", "--steps", "2", "--db", str(store.path)]) == 0
    assert SAID in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "read", "shown"),
    [
        ("ﬁ", "fi", ("ﬁ", "fi")),
        ("A ﬁne day", "A fine day", ("ﬁ", "fi")),
        ("It is two  spaces wide", "It is two spaces wide", ("It is two  spaces wid", "It is two spaces wid")),
        ("UPPER", "upper", ("UPPER", "upper")),
        ("aa", "a", ("aa", "a")),
    ],
)
def test_where_a_text_differs_is_shown_alone(text: str, read: str, shown: tuple[str, str]) -> None:
    assert difference(text, read) == shown
