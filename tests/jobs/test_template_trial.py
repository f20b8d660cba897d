"""The template trial: probability on the labels, how the scores move, and the time of a run; gold has no part in it."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from icm_engine.analysis import model_trials as told
from icm_engine.cli.main import main
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Task
from icm_engine.core.prompting import Prompt
from icm_engine.core.scoring import TableScorer
from icm_engine.core.settings import ModelChoice
from icm_engine.data.importing import import_file
from icm_engine.data.tasks import task_spec
from icm_engine.jobs.model_trials import body_of, suggested_labels, suggested_templates, try_templates
from icm_engine.store.events import Json
from icm_engine.store.store import Store
from tests.support.held_jobs import HeldJob

OWN = "Review: {text}\nSentiment:"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    task = tmp_path / "mine.toml"
    task.write_text(f"template = {json.dumps(OWN)}\nlabels = ['good', 'bad']\ntrue_label = 'good'\n")
    file = tmp_path / "reviews.csv"
    file.write_text("\n".join(["text,gold", *(f"text {k} {'fine' if k % 2 else 'cold'},good" for k in range(40))]))
    with Store(tmp_path / "icm.db") as made:
        import_file(made, file, str(task), "reviews")
        yield made


def belief(prompt: Prompt) -> tuple[float, ...]:
    """Half of the probability on good and bad and a thousandth on other words; "fine" is three to one for the first."""
    mass = 0.5 if prompt.labels == ("good", "bad") else 0.001
    share = 0.75 if "fine" in prompt.segments[-1][0] else 0.25
    if "Label:" in prompt.text:
        share = 0.5
    return (math.log(mass * share), math.log(mass * (1 - share)))


def trial(store: Store, **asked: object) -> Json:
    body = body_of("reviews", 32, **asked)  # type: ignore[arg-type]
    return try_templates(HeldJob(store, body), TableScorer(belief))


def test_the_template_that_moves_the_scores_comes_first(store: Store) -> None:
    found = trial(store)
    best, *others = found["rows"]
    assert (best["template"], best["labels"], best["own"]) == (OWN, ["good", "bad"], True)
    assert best["mass_alone"] == best["mass_shown"] == pytest.approx(0.5)
    assert 0 < best["spread"] <= math.log(3) / 2 + 1e-9  # d is half of the log-odds, 0.55 either way
    flat = next(row for row in others if "Label:" in row["template"])
    assert flat["spread"] == 0.0
    assert found["asked"] == 16
    assert found["shown"] == 8
    assert any("Best of" in sentence for sentence in told.trial_sentences(found))


def test_other_words_have_to_be_as_many(store: Store) -> None:
    with pytest.raises(SettingError, match="labels a, b, c are 3, the task has 2"):
        trial(store, labels=[["a", "b", "c"]])


def test_what_is_suggested() -> None:
    task = Task("t", "Question: {question}\nClaim: {claim}\nI think this claim is", ("True", "False"))
    assert suggested_templates(task)[0] == task.template
    assert "Question: {question}\nClaim: {claim}\nAnswer:" in suggested_templates(task)
    assert ("Yes", "No") in suggested_labels(task)
    turned = Task("t", "{text}", ("False", "True"))
    assert ("No", "Yes") in suggested_labels(turned)
    assert suggested_labels(Task("t", "{text}", ("a", "A"))) == [("a", "A")]


def test_a_row_that_is_kept_is_not_asked_again(store: Store) -> None:
    held = HeldJob(store, body_of("reviews", None))
    first = try_templates(held, TableScorer(belief))
    scorer = TableScorer(lambda prompt: pytest.fail("asked again"))
    again = try_templates(held, scorer)
    assert [row["spread"] for row in again["rows"]] == [row["spread"] for row in first["rows"]]


def test_from_the_command_line(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["templates", "reviews", "--model", "fake", "--db", str(store.path)]
    file = tmp_path / "chosen.toml"
    chosen = ["--template", r"{text}\nIt was", "--labels", "great,awful", "--write", str(file), "--json"]
    assert main([*words, *chosen]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["template"], row["labels"]) for row in found["rows"]] == [("{text}\nIt was", ["great", "awful"])]
    spec = task_spec(str(file))
    assert (spec.template, spec.labels, spec.true_label) == ("{text}\nIt was", ("great", "awful"), "great")
    assert main([*words, *chosen]) == 1
    assert "exists already" in capsys.readouterr().err
    assert main(words) == 0
    assert "nats" in capsys.readouterr().out


def test_the_table_has_a_row_for_each_and_tiny_shares_keep_their_exponent(store: Store) -> None:
    found = trial(store, labels=[["x", "y"]])
    frame = told.trial_frame(found)
    assert len(frame) == len(found["rows"])
    assert set(frame["on the labels, with demonstrations"]) == {"0.001"}
    assert told.submit(store, "reviews", ModelChoice("fake"), None).startswith("template-trial.")
