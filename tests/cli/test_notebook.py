"""From Python: a frame becomes a data set, a run, and a frame again; the same call finds its run again."""

import _thread
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import icm_engine as icm
from icm_engine.analysis.views import load
from icm_engine.core.errors import ImportRefused, ModelNotUsable, NotFound, RunError, SettingError, StoreError
from icm_engine.data.gold import load_gold
from icm_engine.notebook import import_frame
from icm_engine.runs import control
from icm_engine.store.store import Store
from tests.support.paths import ROOT
from tests.support.stores import add_run

OURS = ["icm_id", "icm_label", "icm_probability", "icm_last_change_step", "icm_flips", "icm_run"]
CLAIMS = pandas.DataFrame(
    {"question": [f"Q{k // 2}" for k in range(12)], "claim": [f"claim {k}" for k in range(12)], "label": [1, 0] * 6},
    index=[f"row {k}" for k in range(12)],
)
PAIRS = pandas.DataFrame(
    {"query": ["q"] * 4, "response_a": ["a", "a", "b", "c"], "response_b": ["b", "b", "a", "d"]}, index=[7, 7, 8, 9]
)


def claims(**options: object) -> pandas.DataFrame:
    given = {"task": "truthfulness", "model": "fake", "seed": 0, "progress": False, **options}
    return icm.label(CLAIMS, **given)  # type: ignore[arg-type]


def run_of(frame: pandas.DataFrame) -> str:
    (name,) = set(frame["icm_run"])
    return str(name)


# -- a frame and its labels


def test_a_frame_comes_back_labelled(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    labelled = claims()
    assert list(labelled.columns) == [*CLAIMS.columns, *OURS]
    assert labelled[list(CLAIMS.columns)].equals(CLAIMS)
    assert labelled.index.equals(CLAIMS.index)
    assert set(labelled["icm_label"]) <= {"True", "False"}
    reading = load(store, run_of(labelled))
    assert reading.labeling
    assert {reading.run.codec.index(i): y for i, y in zip(labelled.icm_id, labelled.icm_label, strict=True)} == dict(
        reading.labeling
    )
    assert "Column 'label' was set apart as gold" in capsys.readouterr().err
    assert load_gold(store, reading.run.spec.dataset).labels[labelled.icm_id.iloc[0]] == "True"
    assert "icm_label" not in CLAIMS.columns  # the frame given stays as it was


@pytest.mark.usefixtures("workers_here")
def test_the_same_call_finds_its_run_and_another_one_does_not(store: Store) -> None:
    first = claims()
    assert claims().equals(first)
    assert icm.label(first, "truthfulness", "fake", seed=0, progress=False).equals(first)  # our columns are replaced
    assert store.run_names() == [run_of(first)]
    others = [claims(seed=1), claims(fresh=True), claims(settings={"alpha": 20}), claims(steps=5), claims(limit=4)]
    assert len({run_of(frame) for frame in [first, *others]}) == 6
    assert len(store.dataset_names()) == 1
    assert others[1].drop(columns="icm_run").equals(first.drop(columns="icm_run"))  # the same spec, the same labels
    assert run_of(claims(steps=48)) == run_of(others[1])  # 4 x 12 is what is taken without a number; the newest run


@pytest.mark.usefixtures("workers_here")
def test_another_frame_is_another_data_set(store: Store) -> None:
    other = CLAIMS.assign(claim="other")
    names = {run_of(icm.label(f, "truthfulness", "fake", steps=1, progress=False)) for f in (CLAIMS, other)}
    assert len(names) == len(store.dataset_names()) == 2


@pytest.mark.usefixtures("workers_here")
def test_a_name_belongs_to_its_rows(store: Store) -> None:
    assert run_of(claims(name="mine", steps=1)) == run_of(claims(name="mine", steps=1)) == "mine-1"
    with pytest.raises(StoreError, match="'mine' exists already and has other rows"):
        icm.label(CLAIMS[:4], "truthfulness", "fake", name="mine", progress=False)


WIDE = {
    "Question": ["Do rivers always flow south?", "What is 2 + 2?"],
    "Best Answer": ["No, they flow downhill", "4"],
    "Correct Answers": ["No, they flow downhill; Some flow north", "4; four"],
    "Incorrect Answers": ["Yes; Only in the north", "5; 22"],
}


def test_a_frame_with_several_answers_a_row_is_refused_before_anything_is_stored(store: Store) -> None:
    with pytest.raises(
        ImportRefused, match="has 2 rows, and would become 8 examples: bring it into one answer per row"
    ):
        icm.label(pandas.DataFrame(WIDE), "truthfulness", "fake", db=store.path)
    assert store.dataset_names() == []
    assert store.run_names() == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"preset": "none"}, "preset 'none' does not exist"),
        ({"settings": {"alpha": "x"}}, "alpha"),
        ({"precision": "float32"}, "argument 'precision' does not exist"),
        ({"model": "http://user:secret@host/v1"}, "secret|password"),
    ],
)
def test_what_is_asked_wrong_is_refused_before_anything_is_stored(store: Store, wrong: Any, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        icm.label(CLAIMS, **{"task": "truthfulness", "model": "fake", "db": store.path, **wrong})
    assert store.dataset_names() == []


@pytest.mark.usefixtures("workers_here")
def test_rows_beyond_the_limit_have_no_label(store: Store) -> None:
    labelled = claims(limit=5, rule="exclusive")  # two whole groups of two
    assert list(labelled["icm_label"].notna()) == [True] * 4 + [False] * 8
    assert labelled["icm_id"].is_unique


@pytest.mark.usefixtures("workers_here")
def test_pairs_get_their_twins_in_the_run_and_not_in_the_frame(store: Store) -> None:
    """Rows 0 and 2 are twins of each other; rows 1 and 3 get one made, so the run has six examples."""
    labelled = icm.label(PAIRS, "preference", "fake", progress=False)
    run = icm.open_run(run_of(labelled))
    assert len(run.labels) == 6
    assert list(labelled.index) == [7, 7, 8, 9]
    by_id = run.labels.set_index("icm_id")
    for column in ("response_a", "response_b"):
        assert by_id.loc[labelled["icm_id"], column].tolist() == labelled[column].tolist()
    assert labelled["icm_id"].is_unique
    assert by_id.loc[labelled["icm_id"].iloc[2], "icm_twin_of"] == labelled["icm_id"].iloc[0]


@pytest.mark.usefixtures("workers_here")
def test_ids_of_a_column_are_kept(store: Store) -> None:
    named = PAIRS.assign(id=["x", "y", "y~swapped", 3])  # a name that the importer would give a twin
    labelled = icm.label(named, "preference", "fake", steps=1, progress=False)
    assert labelled["icm_id"].tolist() == ["x", "y", "y~swapped", "3"]
    mapped = icm.label(
        named.rename(columns={"id": "uid"}), "preference", "fake", columns={"id": "uid"}, steps=1, progress=False
    )
    assert mapped["icm_id"].tolist() == ["x", "y", "y~swapped", "3"]
    off = icm.label(named, "preference", "fake", columns={"id": ""}, steps=1, progress=False)
    assert off["icm_id"].is_unique
    assert "x" not in set(off["icm_id"])


@pytest.mark.usefixtures("workers_here")
def test_columns_rules_and_labels_are_those_of_the_importer(store: Store, tmp_path: Path) -> None:
    frame = pandas.DataFrame({"note": ["a", None, "c"], "when": pandas.to_datetime(["2020-01-01"] * 3), "n": [1, 2, 3]})
    labelled = icm.label(
        frame.dropna(), "classification", "fake", columns={"text": "note"}, labels=["x", "y", "z"],
        settings={"predictability": "mean_log_prob"}, progress=False,
    )  # fmt: skip
    assert set(labelled["icm_label"]) <= {"x", "y", "z"}
    (name,) = store.dataset_names()
    assert store.dataset(name).inputs[0] == {"note": "a", "when": "2020-01-01 00:00:00", "n": "1"}
    rule = tmp_path / "mine.py"
    rule.write_text(
        "from icm_engine.core.consistency import Exclusive\n\n\nclass Mine(Exclusive):\n    name = 'mine'\n"
    )
    ruled = claims(rule=str(rule), steps=1)
    assert store.dataset(store.spec(run_of(ruled)).dataset).task.rule.startswith(f"{rule}#sha256=")
    ruled = claims(rule="exactly-one", steps=1)
    assert store.dataset(store.spec(run_of(ruled)).dataset).task.rule == "exactly-one"


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.sampled_from("xyz")), min_size=1),
    ids=st.booleans(),
)
def test_every_row_finds_its_own_example(shared: Store, rows: list[tuple[str, str, str]], ids: bool) -> None:
    """However often a pair or its twin is in the frame, with ids of its own or without."""
    frame = pandas.DataFrame(rows, columns=["query", "response_a", "response_b"])
    if ids:
        frame["id"] = [f"{k // 2}~swapped" if k % 2 else str(k // 2) for k in range(len(rows))]
    made = import_frame(shared, frame, "preference")
    fields = {example.id: dict(example.fields) for example in shared.dataset(made.dataset).examples}
    assert [fields[name] for name in made.ids] == frame[["query", "response_a", "response_b"]].to_dict("records")
    assert len(set(made.ids)) == len(rows)
    if ids:
        assert list(made.ids) == list(frame["id"])


def test_cells_become_texts(store: Store) -> None:
    """As Python writes them; what is missing is empty, what is nested is JSON."""
    cells = {"n": 1.5, "none": None, "nan": float("nan"), "yes": True, "list": [1, {"a": "é"}], "when": pandas.NaT}
    frame = pandas.DataFrame([{"question": "q", "claim": "c", **cells}], dtype=object)
    (inputs,) = store.dataset(import_frame(store, frame, "truthfulness").dataset).inputs
    assert inputs == {
        "question": "q", "claim": "c", "n": "1.5", "none": "", "nan": "", "yes": "True", "list": '[1, {"a": "é"}]',
        "when": "",
    }  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("shared") / "icm.db") as made:
        yield made


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: icm.label(CLAIMS[:0], "truthfulness", "fake"), ImportRefused, "0 rows"),
        (lambda: icm.label(CLAIMS[["claim"]], "truthfulness", "fake"), ImportRefused, "needs a column question"),
        (lambda: icm.label(pandas.concat([CLAIMS, CLAIMS], axis=1), "truthfulness", "fake"), ImportRefused, "twice"),
        (lambda: claims(task="dance"), SettingError, "dance"),
        (lambda: claims(preset="none"), SettingError, "preset 'none' does not exist"),
        (lambda: claims(settings={"alpa": 3}), SettingError, "alpa"),
        (lambda: claims(quantisation="nf4"), SettingError, "'quantisation' does not exist"),
        (lambda: claims(limit=1, rule="exclusive"), SettingError, "limit 1 leaves no whole group"),
        (lambda: icm.open_run("moon-1"), NotFound, "moon-1"),
    ],
)
def test_errors_are_the_projects_own(
    store: Store, call: Callable[[], object], error: type[icm.IcmError], words: str
) -> None:
    with pytest.raises(error, match=words):
        call()
    assert store.run_names() == []


# -- what happens meanwhile


@pytest.mark.slow
def test_a_run_that_fails_says_why_and_is_gone_on_with(store: Store) -> None:
    for _ in range(2):
        with pytest.raises(RunError, match="/no/model"):
            claims(model="/no/model", steps=3)
    (run,) = store.run_names()
    assert [event.body["error"] for event in store.read_after(run, kinds=("failed",))] == [ModelNotUsable.__name__] * 2


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C interrupts, also where a shell started the tests in the background, deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_pauses_and_the_same_call_goes_on(store: Store) -> None:
    """Ctrl-C as soon as there are steps: the run pauses, nothing is lost, and no half of it is returned."""

    def interrupt() -> None:
        with Store(store.path) as own:
            while not (own.run_names() and control.status(own, own.run_names()[0]).steps):
                control.wait()
        _thread.interrupt_main()

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    with pytest.raises(KeyboardInterrupt, match=r"is paused at step .* the same call continues it"):
        claims(steps=20_000)
    watcher.join()
    (run,) = store.run_names()
    paused = control.status(store, run)
    assert paused.phase == "paused"
    assert 0 < paused.steps < 20_000
    control.step(store, run, 2)
    assert control.wait_until_settled(store, run).steps == paused.steps + 2
    icm.open_run(run).pause()
    control.stop(store, run)
    assert control.wait_until_settled(store, run).phase == "stopped"
    assert run_of(claims(steps=20_000)) == run  # a person's stop is an end: its labels, and no more steps
    assert control.status(store, run).steps == paused.steps + 2


@pytest.mark.slow
def test_a_dead_kernel_loses_nothing(store: Store, tmp_path: Path) -> None:
    """The process that asked is killed; its run goes on, and the same call from another one finds it."""
    CLAIMS.to_pickle(tmp_path / "claims.pickle")
    code = (
        "import sys, pandas, icm_engine as icm\n"
        "icm.label(pandas.read_pickle(sys.argv[1]), 'truthfulness', 'fake', seed=0, steps=1500, progress=False)"
    )
    kernel = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "claims.pickle")], cwd=ROOT)
    while not (store.run_names() and control.status(store, store.run_names()[0]).steps):
        assert kernel.poll() is None
        control.wait()
    kernel.kill()
    kernel.wait()
    (run,) = store.run_names()
    assert run_of(claims(steps=1500)) == run
    assert control.status(store, run).phase == "finished"
    assert [event.body["verb"] for event in store.read_after(run, kinds=("control",))] == ["start"]


def test_a_paused_run_is_gone_on_with(store: Store) -> None:
    made = claims(steps=30)
    run = control.create_run(store, store.spec(run_of(claims(steps=31))))
    control.step(store, run, 3)
    control.wait_until_settled(store, run)
    assert run_of(claims(steps=31)) == run  # the newest of this spec
    assert control.status(store, run).phase == "finished"
    assert run_of(made) != run


# -- stored runs as frames


def test_a_stored_run_is_read_as_frames(store: Store) -> None:
    name = add_run(store, "finished", 60)
    run, reading = icm.open_run(name), load(store, name)
    proposed = run.steps["delta"].notna()
    assert run.steps["delta"][proposed].tolist() == [s.delta for s in reading.steps if s.delta is not None]
    assert run.steps["step"].tolist() == list(range(1, 61))
    assert run.steps["accepted"].dtype == bool
    assert int(run.steps["accepted"].sum()) == reading.accepted
    assert len(run.flips) == sum(change.flips + 1 for change in reading.changes.values())
    assert run.labels["icm_label"].notna().sum() == reading.tally.labelled
    assert not [column for column in map(str, run.labels) if "gold" in column]
    assert run.gold["icm_gold"].tolist() == list(reading.gold.values())
    assert run.summary["utility"] == reading.trajectory.last.utility  # type: ignore[union-attr]
    assert run.spec == store.spec(name).to_json()
    assert icm.list_runs()["run"].tolist() == [name]


def test_a_stored_run_is_exported(store: Store, tmp_path: Path) -> None:
    run = icm.open_run(add_run(store, "finished", 30), db=store.path)
    assert run.export(tmp_path / "sft.jsonl", "sft").rows == len((tmp_path / "sft.jsonl").read_text().splitlines())


def test_a_run_is_resumed(store: Store) -> None:
    run = icm.open_run(add_run(store, "paused", 5))
    run.resume(progress=False)
    assert run.summary["status"] == "finished"
    assert len(run.steps) == 20


# -- the package


def test_importing_the_package_loads_nothing_of_it() -> None:
    code = "import icm_engine as icm, sys; print(*sys.modules); assert callable(icm.label) and 'label' in dir(icm)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "icm_engine" in loaded
    assert not [module for module in loaded if module.startswith(("icm_engine.", "pandas", "torch"))]


def test_a_notebook_loads_no_model_runtime() -> None:
    code = "import sys, icm_engine as icm; icm.label; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "icm_engine.notebook" in done.stdout.split()
    assert not {"torch", "transformers", "streamlit"} & set(done.stdout.split())


def test_what_the_package_does_not_have() -> None:
    with pytest.raises(AttributeError, match="'lable'"):
        icm.lable  # noqa: B018
