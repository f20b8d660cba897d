"""Self-taught judges: examples with a known label, what is learned from judgements, and a real one of two rounds."""

import json
from dataclasses import replace
from typing import Any

import pytest

from icm_engine import jobs
from icm_engine.analysis.tuned_models import taught_rounds
from icm_engine.cli.main import main
from icm_engine.core.errors import NotFound, SettingError
from icm_engine.core.labeling import Task
from icm_engine.core.settings import ModelChoice
from icm_engine.data.gold import add_gold
from icm_engine.jobs import job_worker, self_teaching
from icm_engine.jobs.job_process import Job, run_in_process
from icm_engine.jobs.policies import settings_from
from icm_engine.jobs.self_teaching import Teaching, TeachSettings, agreement, both_right, known_examples, lessons
from icm_engine.runs import control, model_registry, worker
from icm_engine.store.events import Json, RunSpec
from icm_engine.store.store import Store
from tests.support.answering_judges import install
from tests.support.finetunings import done
from tests.support.labelled_runs import CLAIMS, PAIRS, SAMPLE, add, capitals, stored_teaching

SMALL = TeachSettings(prompts=3, test_prompts=3, judgements=4, epochs=1, batch_size=4, rows_at_once=2, rank=2)


def taught(store: Store, name: str = "own", settings: TeachSettings = SMALL, **changed: Any) -> Teaching:
    """A judge taught on the six capitals, which are stored with their gold if they are not there."""
    if not store.has_dataset("capitals"):
        add(store, "capitals", CLAIMS, capitals())
        add_gold(store, "capitals", {e.id: "True" if e.id.endswith("-0") else "False" for e in capitals()})
    return replace(Teaching(name, "capitals", None, settings, SAMPLE), **changed)


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch.setattr)


# -- examples with a known label


def test_an_own_response_is_true_and_one_to_another_prompt_false() -> None:
    asked = ["Q0", "Q1", "Q2"]
    known, left_out = known_examples(CLAIMS, asked, ["a", "b", "c"], 0, "t")
    shown = [(e.id, e.fields["question"], e.fields["claim"], e.group, label) for e, label in known]
    foreign = {0: "c", 1: "a", 2: "b"} if shown[1][2] == "c" else {0: "b", 1: "c", 2: "a"}
    assert shown == [
        row
        for k, own in enumerate("abc")
        for row in (
            (f"t-{k}-0", f"Q{k}", own, f"t-{k}", "True"),
            (f"t-{k}-1", f"Q{k}", foreign[k], f"t-{k}", "False"),
        )
    ]
    assert left_out == {"empty_or_cut_responses": 0, "identical_texts": 0}
    assert known_examples(CLAIMS, asked, ["a", "b", "c"], 0, "t")[0] == known
    orders = {tuple(e.fields["claim"] for e, _ in known_examples(CLAIMS, asked, "abc", n, "t")[0]) for n in range(9)}
    assert len(orders) == 2  # two orders of three prompts in a ring


def test_a_pair_is_shown_in_both_orders() -> None:
    known, _ = known_examples(PAIRS, ["Q0", "Q1"], ["a", "b"], 0, "t")
    shown = [(e.fields["query"], e.fields["response_a"], e.fields["response_b"], label) for e, label in known]
    assert shown == [
        ("Q0", "a", "b", "True"), ("Q0", "b", "a", "False"), ("Q1", "b", "a", "True"), ("Q1", "a", "b", "False"),
    ]  # fmt: skip


def test_responses_without_a_known_side_give_no_example() -> None:
    known, left_out = known_examples(CLAIMS, ["Q0", "Q1"], ["a", "a"], 0, "t")
    assert (known, left_out) == ([], {"empty_or_cut_responses": 0, "identical_texts": 2})
    for unusable in ("", None):
        known, left_out = known_examples(CLAIMS, ["Q0", "Q1"], ["a", unusable], 0, "t")
        assert (known, left_out) == ([], {"empty_or_cut_responses": 2, "identical_texts": 0})


# -- what is learned


def verdict(*labels: str | None) -> Json:
    """A verdict of samples with these labels, the first of which is its own."""
    samples = [[{"asked": "?", "answered": f"{k} {label}", "label": label}] for k, label in enumerate(labels)]
    return {"label": labels[0], "samples": samples}


def test_the_first_judgement_of_the_known_side_is_learned_and_as_many_of_each_label() -> None:
    """True is known of examples 0, 2 and 4, False of the others."""
    known, _ = known_examples(CLAIMS, ["Q0", "Q1", "Q2"], ["a", "b", "c"], 0, "t")
    said = [
        verdict("False", "True", "True"), verdict(None, "False"), verdict("True"), verdict("True", None),
        verdict("True"), verdict("True", "False"),
    ]  # fmt: skip
    made = lessons(known, said)
    assert [row["completion"] for row in made.rows] == ["1 True", "1 False", "0 True", "1 False"]
    assert {row["prompt"] for row in made.rows} == {"?"}
    assert made.left_out == {"no_judgement_of_the_known_side": 1, "more_of_one_label": 1}
    assert agreement(known, said) == {"t-0": [0, 2], "t-1": [1, 2], "t-2": [1, 2]}


def test_a_judge_that_says_one_label_always_finds_both_sides_of_nothing() -> None:
    known, _ = known_examples(CLAIMS, ["Q0", "Q1"], ["a", "b"], 0, "t")
    assert both_right(agreement(known, [verdict("True")] * 4)) == 0.0
    assert both_right(agreement(known, [verdict("True"), verdict("False")] * 2)) == 1.0
    assert both_right(agreement(known, [verdict("True"), verdict("False"), verdict("True"), verdict(None)])) == 0.5


def test_a_judge_that_says_one_label_always_teaches_nothing() -> None:
    known, _ = known_examples(CLAIMS, ["Q0", "Q1"], ["a", "b"], 0, "t")
    made = lessons(known, [verdict("True")] * 4)
    assert (made.rows, made.left_out) == ((), {"no_judgement_of_the_known_side": 2, "more_of_one_label": 2})


# -- what can be asked


def test_what_cannot_be_asked_is_refused_at_once(store: Store) -> None:
    def ask(**changed: Any) -> None:
        self_teaching.ask(store, taught(store, **changed))

    with pytest.raises(SettingError, match="the fake model cannot be trained"):
        ask(model=ModelChoice("fake"))
    with pytest.raises(SettingError, match="a model behind a server cannot be trained here"):
        ask(model=ModelChoice("http://x/v1"))
    with pytest.raises(SettingError, match="there are 1 training prompts: a response to another prompt needs two"):
        ask(settings=replace(SMALL, prompts=1))
    with pytest.raises(SettingError, match="the data has 6 prompts, and the first 6 are passed over"):
        ask(settings=replace(SMALL, prompts=6))
    with pytest.raises(SettingError, match="batch_size 8 is not a multiple of rows_at_once 3"):
        ask(settings=replace(SMALL, batch_size=8, rows_at_once=3))
    with pytest.raises(SettingError, match="rounds is 0: use a value above 0"):
        settings_from(TeachSettings, {"rounds": "0"})
    with pytest.raises(NotFound):
        ask(dataset="unknown")
    add(store, "numbers", Task("n", "{text}"), ())
    with pytest.raises(SettingError, match="pairs of responses or questions with claims"):
        ask(test="numbers")
    model_registry.put(store, "own-2", lambda place: None, {"name": "own-2", "kind": "finetune", "base": "sample"})
    with pytest.raises(SettingError, match="the name 'own-2' is taken"):
        ask()
    with pytest.raises(SettingError, match=r"trained:own-2 was tuned here already: teach its base \(sample\)"):
        ask(model=ModelChoice("trained:own-2"))


def test_the_name_of_a_teaching_that_is_there_is_refused_with_the_way_on(store: Store) -> None:
    job = self_teaching.ask(store, taught(store))
    with pytest.raises(SettingError, match=rf"{job} .* is created: use another name \(--name\), or start it again"):
        self_teaching.ask(store, taught(store))
    store.append(job, "result", {})
    with pytest.raises(SettingError, match=rf"{job} has the name 'own' and is done: use another name \(--name\)$"):
        self_teaching.ask(store, taught(store))


def test_names_are_numbered_by_data_set(store: Store) -> None:
    assert self_teaching.free_teaching_name(store, "capitals") == "capitals-judge-1"
    self_teaching.ask(store, taught(store, "capitals-judge-1"))
    assert self_teaching.free_teaching_name(store, "capitals") == "capitals-judge-2"


# -- real ones: the sample model is loaded and tuned, and its answers are a stand-in's


@pytest.mark.model
def test_a_judge_is_tuned_on_its_judgements_and_judges_again(store: Store, answering: None) -> None:
    job = self_teaching.ask(store, taught(store, settings=replace(SMALL, rounds=1)))
    found = done(store, job)
    start, first = found["rounds"]
    assert start["agreement"] < first["agreement"] == 1.0  # the tuned one knows
    assert (found["best"], found["judge"], found["ended"]) == (1, "trained:own-1", self_teaching.ROUNDS_DONE)
    assert first["labels"] == {e.id: str(e.id.endswith("-0")) for e in capitals()[6:]}
    parts = [event.body for event in store.read_after(job, kinds=("part",))]
    assert [part["texts"] for part in parts if "texts" in part] == [
        ["It is Paris.", "It is Rome.", "It is Madrid."], ["It is Lima.", "It is Accra.", "It is Tokyo."],
    ]  # fmt: skip
    facts = model_registry.model_facts(store, "own-1")
    assert (facts["kind"], facts["supervised"], facts["rows"], facts["round"]) == ("self-teaching", False, 6, 1)
    card = (model_registry.folder(store, "own-1") / "README.md").read_text()
    assert "tuned in round 1 on 6 of its own judgements" in card
    assert "`run --source judge --option style=steps --model trained:own-1`" in card
    rounds = taught_rounds(store, job)
    assert [one.right.mean for one in rounds if one.right is not None][1:] == [1.0]
    assert json.loads(json.dumps(rounds[1].to_json()))["agreement"]["mean"] == 1.0
    options = {"style": "steps", "samples": 1}
    spec = RunSpec("capitals", "trained:own-1", "none", "float32", "cpu", source="judge", source_options=options)
    run = control.create_run(store, spec)
    control.queue(store, run)
    assert worker.run_in_process(store, run, idle=0.0) == 0
    verdicts = store.read_after(run, kinds=("labelled",))[0].body["verdicts"]
    assert {one["example"]: one["label"] for one in verdicts} == {e.id: str(e.id.endswith("-0")) for e in capitals()}


@pytest.mark.slow
@pytest.mark.model
def test_a_teaching_that_was_cut_off_anywhere_comes_to_the_same_end(
    store: Store, answering: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off behind each part that it keeps, it makes nothing twice."""

    class Cut(BaseException):
        pass

    whole = done(store, self_teaching.ask(store, taught(store, "whole")))
    job, cuts, keep = self_teaching.ask(store, taught(store, "cut")), 0, Job.keep

    def cutting(self: Job, part: Json) -> None:
        keep(self, part)
        raise Cut

    monkeypatch.setattr(Job, "keep", cutting)
    while jobs.status(store, job).phase != "done":
        store.append(job, "start", {})
        try:
            assert run_in_process(store, job, job_worker.perform) == 0
        except Cut:
            cuts += 1
    parts = [event.body for event in store.read_after(job, kinds=("part",))]
    assert cuts == len(parts) == 2 + 3 * 3 + 2  # responses; verdicts on two kinds of examples, and rounds; lessons
    found = jobs.result(store, job)
    assert found is not None
    assert untitled(found) == untitled(whole)
    assert facts_of(store, "cut-1") == facts_of(store, "whole-1")


def untitled(found: Json) -> Json:
    """A result without names."""
    rounds = [{**one, "judge": None} for one in found["rounds"]]
    return {**found, "name": None, "judge": None, "rounds": rounds}


def facts_of(store: Store, name: str) -> list[Any]:
    facts = model_registry.model_facts(store, name)
    return [facts[key] for key in ("rows", "left_out", "labels_sha256", "first_loss", "last_loss")]


@pytest.mark.model
def test_a_judge_without_a_verdict_has_nothing_to_teach(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from icm_engine.baselines.generation import Generated
    from icm_engine.models.generator import Continuer, TransformersGenerator

    def silent(self: Any, requests: Any, *unused: Any) -> list[Generated]:
        texts = [f"It is {request.text[-9:]}." if isinstance(self, Continuer) else "Who knows." for request in requests]
        return [Generated(f"{text} {k}", 2, True) for k, text in enumerate(texts)]

    monkeypatch.setattr(TransformersGenerator, "generate", silent)
    found = done(store, self_teaching.ask(store, taught(store)))
    assert (found["best"], found["judge"], len(found["rounds"])) == (0, None, 1)
    assert found["ended"].startswith("nothing to learn from ({'no_judgement_of_the_known_side': 6")
    assert found["rounds"][0]["abstained"] == 1.0
    assert model_registry.names(store) == []


@pytest.mark.slow
@pytest.mark.model
def test_no_gold_decides_anything(store: Store, answering: None) -> None:
    """With the gold turned round, a judge is the same, and is said to be wrong."""
    found, shares = list[Any](), list[Any]()
    brief = replace(SMALL, rounds=1)
    taught(store)
    for name, turned in (("one", False), ("other", True)):
        add_gold(store, "capitals", {e.id: str(e.id.endswith("-0") != turned) for e in capitals()})
        job = self_teaching.ask(store, taught(store, name, brief))
        found.append(untitled(done(store, job)))
        shares.append([one.right.mean for one in taught_rounds(store, job) if one.right])
    assert found[0] == found[1]
    assert (shares[0][1], shares[1][1]) == (1.0, 0.0)


def test_the_command_says_what_came_of_it(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = stored_teaching(store)
    monkeypatch.setattr("icm_engine.cli.train.self_teaching.ask", lambda *unused: job)
    monkeypatch.setattr("icm_engine.cli.train.jobs.start", lambda *unused: None)
    monkeypatch.setattr("icm_engine.cli.train.follow", jobs.result)
    assert main(["self-teach", "capitals", "--db", str(store.path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "round 0  both sides found 0% [0%, 0%]  25% of verdicts, 50% abstained  50% right by gold",
        "round 1  both sides found 100% [100%, 100%]  100% of verdicts, 0% abstained  100% right by gold  "
        "4 judgements learned",
        "all rounds done; kept: trained:told-1",
    ]
