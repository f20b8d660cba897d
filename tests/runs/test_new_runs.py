"""What a new run becomes: the form of P that fits its labels, its steps, settings that are refused, remarks."""

import json
from pathlib import Path
from typing import Any

import pytest

from icm_engine.cli.main import main
from icm_engine.core.errors import LabelNotTokenizable, PromptTooLong, RunError, SettingError
from icm_engine.core.labeling import Example, Task
from icm_engine.core.scoring import TableScorer, agreeable_belief
from icm_engine.core.settings import PRESETS, SearchConfig, with_settings
from icm_engine.runs import control, new_run, worker
from icm_engine.runs.control import follow
from icm_engine.runs.fork import fork
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store
from tests.support.processes import score_by


def dataset(name: str, labels: tuple[str, ...], rule: str = "none", twins: bool = False) -> Dataset:
    examples = tuple(
        Example(f"e{i}", {"text": f"text {i}"}, f"g{i // 2}", None, f"e{i - 1}" if twins and i % 2 else None)
        for i in range(6)
    )
    task = Task(name, "{text} is", labels, labels[0], rule, ("text",))
    return Dataset(name, task, examples, tuple({"text": e.fields["text"]} for e in examples), ("text",))


@pytest.fixture
def three(store: Store) -> Store:
    """A store with a data set of three labels, one of two, and one of pairs without twins."""
    store.add_dataset(dataset("three", ("a", "b", "c")))
    store.add_dataset(dataset("two", ("a", "b")))
    store.add_dataset(dataset("pairs", ("a", "b"), "asymmetry"))
    store.add_dataset(dataset("twins", ("a", "b"), "asymmetry", twins=True))
    return store


def icm(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(words)
    out, err = capsys.readouterr()
    return code, out, err


# -- the form of P


@pytest.mark.parametrize(
    ("preset", "form"),
    [
        ("default", "centred_log_odds"),
        ("mean-log-odds", "mean_log_prob"),
        ("paper", "sum_log_prob"),
        ("authors-code", "mean_log_prob"),
    ],
)
def test_three_labels_get_a_form_that_works(
    three: Store, monkeypatch: pytest.MonkeyPatch, preset: str, form: str
) -> None:
    score_by(monkeypatch, agreeable_belief)
    run = control.create_run(three, RunSpec("three", "fake", preset=preset, search=PRESETS[preset]))
    assert three.spec(run).search.predictability == form
    three.send(run, "start", run)
    assert worker.main(["--db", str(three.path), run]) == 0
    assert control.status(three, run).phase == "finished"
    two = control.create_run(three, RunSpec("two", "fake", preset=preset, search=PRESETS[preset]))
    assert three.spec(two).search.predictability == PRESETS[preset].predictability


def test_a_form_that_a_person_chose_is_refused_before_there_is_a_run(
    three: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    search = with_settings(PRESETS["paper"], {"predictability": "mean_log_odds"})
    with pytest.raises(SettingError, match="use mean_log_prob"):
        control.create_run(three, RunSpec("three", "fake", preset="paper", search=search))
    for preset in PRESETS:
        words = ("run", "--dataset", "three", "--model", "fake", "--preset", preset)
        code, _, err = icm(capsys, *words, "--set", "predictability=mean_log_odds")
        assert (code, err) == (
            1,
            "icm: predictability mean_log_odds is for two labels, but task 'three' has 3: use mean_log_prob "
            "(--set predictability=mean_log_prob)\n",
        )
    assert three.run_names() == []


def test_a_form_that_was_chosen_for_the_labels_is_said(three: Store, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = icm(
        capsys, "run", "--dataset", "three", "--model", "fake", "--steps", "2", "--preset", "mean-log-odds"
    )
    assert code == 0
    assert "P is mean_log_prob in place of mean_log_odds, which is for two labels: the task has 3." in err
    (run,) = three.run_names()
    assert three.spec(run).search.predictability == "mean_log_prob"
    with pytest.raises(SettingError, match="mean_log_odds"):
        fork(three, run, three.last_number(run), {"predictability": "mean_log_odds"})
    assert three.run_names() == [run]


# -- steps


@pytest.mark.parametrize(("preset", "steps"), [("default", 24), ("paper", 6), ("authors-code", 24)])
def test_a_preset_has_its_steps(three: Store, preset: str, steps: int) -> None:
    run = control.create_run(three, RunSpec("two", "fake", preset=preset, search=PRESETS[preset]))
    assert three.spec(run).search.max_steps == steps
    asked = with_settings(PRESETS[preset], {"max_steps": 7})
    run = control.create_run(three, RunSpec("two", "fake", preset=preset, search=asked))
    assert three.spec(run).search.max_steps == 7


def test_a_stored_run_keeps_its_steps(three: Store) -> None:
    """A run of preset paper from before it took N steps has 4N in its spec."""
    run = three.add_run(
        RunSpec("two", "fake", preset="paper", search=with_settings(PRESETS["paper"], {"max_steps": 24}))
    )
    assert three.spec(run).search.max_steps == 24


# -- settings that cannot be


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "seed=abc", "--seed", "3"), "seed is 'abc': use a whole number"),
        (("--set", "max_steps=many", "--steps", "3"), "max_steps is 'many': use a whole number"),
        (("--set", "alpha=abc", "--set", "alpha=5"), "alpha is 'abc': use a number"),
        (("--set", "max_steps=-1", "--steps", "3"), "max_steps is -1: use 0 or more"),
        (("--set", "alpha=1e308"), "alpha is 1e+308, so that U has no finite value: use less"),
        (("--set", "pair_weight=1e308"), "pair_weight is 1e+308, so that U has no finite value: use less"),
        (("--set", "alpha=inf"), "alpha is inf: use a finite number"),
    ],
)
def test_a_setting_is_checked_also_where_a_flag_replaces_it(
    three: Store, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    code, _, err = icm(capsys, "run", "--dataset", "two", "--model", "fake", *words)
    assert (code, err) == (1, f"icm: {said}\n")
    assert three.run_names() == []


@pytest.mark.parametrize("name", ["alpha", "pair_weight", "initial_temperature", "cooling_rate"])
def test_the_largest_values_that_are_taken_give_a_run(three: Store, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    score_by(monkeypatch, agreeable_belief)
    value = 1e290 if name in ("alpha", "pair_weight") else 1e308
    search = with_settings(SearchConfig(), {name: value, "max_steps": 12})
    run = control.create_run(three, RunSpec("twins", "fake", search=search))
    three.send(run, "start", run)
    assert worker.main(["--db", str(three.path), run]) == 0
    assert control.status(three, run).phase == "finished"


# -- runs that fail so that resuming cannot help


class Refusing(TableScorer):
    """A model that takes a text of so many characters."""

    def __init__(self, context: int, error: Exception | None = None) -> None:
        super().__init__(agreeable_belief)
        self.context, self.error = context, error

    def check_fits(self, prompts: Any) -> None:
        for prompt in prompts:
            if self.error:
                raise self.error
            if len(prompt.text) > self.context:
                raise PromptTooLong(f"prompt has {len(prompt.text)} tokens, the model takes {self.context}: use fewer")


FOLLOWED = "resuming this run would fail the same way: start a new run with the change named here"


@pytest.mark.parametrize(
    ("scorer", "said"),
    [
        (Refusing(8), "example 'e0' is too long by itself (prompt has 9 tokens, the model takes 8): shorten its text"),
        (Refusing(20), "prompt has 74 tokens, the model takes 20: use fewer"),
        (Refusing(99, LabelNotTokenizable("the tokens of label 'ab' begin with those of 'a': use other labels")),
         "the tokens of label 'ab' begin with those of 'a': use other labels"),
    ],
)  # fmt: skip
def test_what_resuming_cannot_help_says_so(
    three: Store, monkeypatch: pytest.MonkeyPatch, scorer: Refusing, said: str
) -> None:
    monkeypatch.setattr(worker, "make_scorer", lambda spec: scorer)
    run = control.create_run(three, RunSpec("two", "fake"))
    three.send(run, "start", run)
    assert worker.main(["--db", str(three.path), run]) == 1
    message = control.status(three, run).message
    assert message.startswith(said)
    assert message.endswith(FOLLOWED)
    with pytest.raises(RunError) as raised:
        follow(three, run, quiet=True)
    assert "`resume" not in str(raised.value)


# -- asymmetry without twins

WITHOUT_TWINS = "No example has a swapped twin: the rule asymmetry does here what exactly-one does"


def test_asymmetry_without_twins_is_explained(three: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert new_run.remarks(three, RunSpec("twins", "fake")) == []
    assert new_run.remarks(three, RunSpec("two", "fake")) == []
    for spec in (RunSpec("pairs", "fake"), RunSpec("two", "fake", rule="asymmetry")):
        (words,) = new_run.remarks(three, spec)
        assert words.startswith(WITHOUT_TWINS)
    assert WITHOUT_TWINS in icm(capsys, "run", "--dataset", "pairs", "--model", "fake", "--steps", "1")[2]
    assert WITHOUT_TWINS in icm(capsys, "check", "pairs")[2] + icm(capsys, "check", "pairs")[1]
    assert WITHOUT_TWINS not in icm(capsys, "check", "twins")[1]
    file = tmp_path / "claims.csv"
    file.write_text("question,claim\nWhat?,This.\nWhat?,That.\n")
    made = icm(capsys, "import", str(file), "--task", "truthfulness", "--rule", "asymmetry", "--json")[1]
    assert any(note.startswith(WITHOUT_TWINS) for note in json.loads(made)["notes"])
