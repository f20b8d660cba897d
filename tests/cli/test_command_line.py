"""The command line as documented: JSON on stdout alone, one line on stderr, exit status 0, 1 or 2."""

import csv
import io
import json
from pathlib import Path

import pytest

from icm_engine import jobs
from icm_engine.cli.main import main
from icm_engine.cli.terminal import follow
from icm_engine.runs import control
from icm_engine.store.datasets import Dataset
from icm_engine.store.store import Store
from tests.support.command_line import icm
from tests.support.processes import spawn_by
from tests.support.stores import add_run

SUMMARY = {
    "run", "status", "steps", "labelled", "label_balance", "utility", "mutual_predictability", "inconsistency",
    "temperature", "acceptance_rate", "prompts_scored", "tokens_encoded", "set_evaluations", "seconds", "pid",
}  # fmt: skip


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = [{"question": f"Q{i // 2}?", "claim": f"claim {i}", "label": i % 2} for i in range(12)]
    path = tmp_path / "claims.json"
    path.write_text(json.dumps(rows))
    return path


def test_from_a_file_to_labels(store: Store, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = icm(capsys, "import", table, "--task", "truthfulness", "--json")
    imported = json.loads(out)
    assert code == 0
    assert (imported["dataset"], imported["examples"], imported["groups"], imported["constraints"]) == (
        "claims",
        12,
        6,
        0,
    )
    assert "gold" in err  # it says that `label` was set apart

    code, out, err = icm(
        capsys, "run", "--dataset", "claims", "--model", "fake", "--rule", "exactly-one", "--limit", 10, "--seed", 3,
        "--steps", 30, "--set", "alpha=20", "--json",
    )  # fmt: skip
    shown = json.loads(out)
    assert code == 0
    assert set(shown) >= SUMMARY | {"accuracy", "accuracy_flipped", "balanced_accuracy", "examples"}
    assert (shown["run"], shown["status"], shown["steps"], shown["examples"]) == ("claims-1", "finished", 30, 10)
    assert store.spec("claims-1").search.alpha == 20

    code, out, _ = icm(capsys, "log", "claims-1")
    steps = [json.loads(line) for line in out.splitlines() if json.loads(line)["kind"] == "step"]
    assert code == 0
    assert len(steps) == 30
    assert set(steps[0]) >= {
        "step", "example", "proposed", "delta", "temperature", "accept_probability", "draw", "accepted", "repairs",
    }  # fmt: skip

    assert icm(capsys, "verify", "claims-1")[0] == 0
    assert [row["run"] for row in json.loads(icm(capsys, "list", "--json")[1])] == ["claims-1"]
    assert json.loads(icm(capsys, "show", "claims-1", "--json")[1]) == shown
    output = tmp_path / "labels.csv"
    assert icm(capsys, "export", "claims-1", "--format", "csv", "--output", output)[0] == 0
    with output.open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 10
    code, out, _ = icm(capsys, "export", "claims-1", "--format", "sft", "--output", tmp_path / "sft.jsonl", "--json")
    assert (code, json.loads(out)) == (
        0,
        {
            "run": "claims-1", "output": str(tmp_path / "sft.jsonl"), "rows": shown["labelled"],
            "unlabelled": 10 - shown["labelled"], "contradicting_twins": 0,
        },
    )  # fmt: skip


def test_detach_step_pause_resume(store: Store, pairs: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    store.add_dataset(pairs)
    code, out, _ = icm(capsys, "run", "--dataset", "pairs", "--model", "fake", "--steps", 50_000, "--detach", "--json")
    assert code == 0
    assert json.loads(out)["run"] == "pairs-1"
    code, out, _ = icm(capsys, "pause", "pairs-1", "--json")
    paused = json.loads(out)
    assert (code, paused["status"]) == (0, "paused")
    code, out, _ = icm(capsys, "step", "pairs-1", 5, "--json")
    assert (code, json.loads(out)["steps"]) == (0, paused["steps"] + 5)
    assert json.loads(icm(capsys, "resume", "pairs-1", "--detach", "--json")[1])["run"] == "pairs-1"
    code, out, _ = icm(capsys, "stop", "pairs-1", "--json")
    assert (code, json.loads(out)["status"]) == (0, "stopped")
    assert control.status(store, "pairs-1").phase == "stopped"


@pytest.mark.usefixtures("workers_here")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "nothing-1"), "'nothing-1' does not exist"),
        (("run", "--dataset", "nothing", "--model", "fake"), "'nothing' does not exist"),
        (("run", "--dataset", "pairs", "--model", "fake", "--set", "alpa=3"), "'alpa' does not exist"),
        (("run", "--dataset", "pairs", "--model", "/no/model", "--steps", "3"), "/no/model"),
        (("import", "/no/file.csv", "--task", "truthfulness"), "/no/file.csv"),
    ],
)
def test_what_goes_wrong_is_one_line(
    store: Store, pairs: Dataset, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    store.add_dataset(pairs)
    code, out, err = icm(capsys, *arguments)
    assert code == 1
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("icm: ")]
    assert len(lines) == 1
    assert words in lines[0]


@pytest.mark.parametrize(
    "arguments",
    [(), ("dance",), ("run", "--dataset", "x"), ("run", "--dataset", "x", "--model", "fake", "--limit", "0"),
     ("run", "--dataset", "x", "--model", "fake", "--set", "alpha"), ("step", "x", "-1")],
)  # fmt: skip
def test_wrong_arguments_exit_with_two(store: Store, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


def test_the_context_check_is_a_job_with_a_result(
    store: Store, pairs: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    store.add_dataset(pairs)
    assert icm(capsys, "jobs")[:2] == (0, "no jobs yet\n")
    code, out, _ = icm(capsys, "context", "pairs", "--model", "fake", "--limit", 9, "--json")
    found = json.loads(out)
    assert (code, found["examples"], found["batch"], found["tokens"]["max"]) == (0, 8, 8, 4)
    code, out, _ = icm(capsys, "context", "pairs", "--model", "fake")
    assert (code, out.splitlines()[1]) == (0, "This model has no known context: every number of examples fits.")
    listed = json.loads(icm(capsys, "jobs", "--json")[1])
    assert [(row["job"], row["status"]) for row in listed] == [
        ("context-check.2", "done"),
        ("context-check.1", "done"),
    ]
    assert json.loads(icm(capsys, "jobs", "context-check.1", "--json")[1])["result"] == found


@pytest.mark.parametrize(("terminal", "lines"), [(False, 3 + 2), (True, 21 + 2)])
def test_a_file_gets_a_line_of_progress_only_for_what_is_new(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool, lines: int
) -> None:
    """At a job with three pieces of news, looked at 21 times; the bar is drawn once before and once as it closes."""
    job, looks = jobs.create(store, jobs.JobSpec("import", {})), iter(range(1, 100))

    def nap() -> None:
        if (look := next(looks)) in (7, 14):
            store.append(job, "progress", {"done": look, "total": 20, "words": "rows"})
        elif look == 20:
            store.append(job, "result", {"found": look})

    monkeypatch.setattr("icm_engine.cli.terminal.wait", nap)
    spawn_by(monkeypatch, lambda store, module, name: None)
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    jobs.start(store, job)
    assert follow(store, job) == {"found": 20}
    assert len(capsys.readouterr().err.strip().split("\r")) == lines


@pytest.mark.usefixtures("workers_here")
def test_a_context_check_that_cannot_be_is_refused(
    store: Store, pairs: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    store.add_dataset(pairs)
    code, out, err = icm(capsys, "context", "nothing", "--model", "fake")
    assert (code, out) == (1, "")
    assert "'nothing' does not exist" in err
    code, out, err = icm(capsys, "context", "pairs", "--model", "/no/model")
    assert (code, out) == (1, "")
    assert "job 'context-check.1' failed: model directory '/no/model'" in err


def test_a_hand_from_the_command_line(store: Store, pairs: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    """Real workers answer; the run is finished before and after, and its labels are a person's."""
    store.add_dataset(pairs)
    given = ("--model", "fake", "--seed", 1, "--steps", 20, "--json")
    run = json.loads(icm(capsys, "run", "--dataset", "pairs", *given)[1])["run"]
    labels = {row["example"]: row["label"] for row in store.db.query("select * from v_labels where run = ?", [run])}
    example, label = next(iter(labels.items()))
    other = "False" if label == "True" else "True"
    code, out, _ = icm(capsys, "what-if", run, example, other, "--json")
    supposed = json.loads(out)
    assert (code, supposed["old"], supposed["label"]) == (0, label, other)
    pinned = json.loads(icm(capsys, "pin", run, f"{example}={other}", "--json")[1])
    assert pinned["utility"] == supposed["after"]["utility"]
    assert icm(capsys, "retune", run, "alpha=10")[0] == 0
    code, out, _ = icm(capsys, "fork", run, "--step", 20, "--steps", 5, "--set", "seed=9", "--json")
    assert (code, json.loads(out)["status"], json.loads(out)["steps"]) == (0, "finished", 25)
    assert icm(capsys, "undo", run)[0] == 0
    code, out, err = icm(capsys, "undo", run)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "nothing to undo" in err
    now = {row["example"]: row["label"] for row in store.db.query("select * from v_labels where run = ?", [run])}
    assert now == labels
    assert json.loads(icm(capsys, "verify", run, "--json")[1])["wrong"] == 0


def test_an_audit_at_the_terminal_shows_texts_alone_and_goes_on(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = add_run(store, "finished")
    monkeypatch.setattr("sys.stdin", io.StringIO("maybe\n1\n?\nq\n"))
    code, out, err = icm(capsys, "audit", run, "--json")
    found = json.loads(out)
    assert (code, found["answers"], found["cannot_tell"], found["supervised"]) == (0, 2, 1, False)
    questions = err.split("Question ")[1:]
    assert [text.split("\n")[0] for text in questions] == ["1", "2", "3"]
    assert "Type one of 1, 2, ?, b, q." in questions[0]
    for text in questions:
        shown = text.split("1 True   2 False")[0]
        assert "question: What is" in shown
        assert "True" not in shown
        assert "False" not in shown
    monkeypatch.setattr("sys.stdin", io.StringIO("2\n"))  # and the end of the input
    code, out, _ = icm(capsys, "audit", run)
    assert code == 0
    assert "of 2 answers agree with the label, 1 left out. Accuracy of the 12 labels: " in out
    assert "Cannot tell yet. Between " in out


def test_an_audit_that_answers_by_itself_says_so(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    run = add_run(store, "finished")
    code, out, _ = icm(capsys, "audit", run, "--answers", "gold", "--number", 5)
    assert code == 0
    assert out.startswith("Supervised: the answers are labels that were there already.")
    code, _, err = icm(capsys, "audit", run, "--answers", "nobody")
    assert code == 1
    assert "'nobody' has no label of an example of this run: use gold, question, claim" in err
