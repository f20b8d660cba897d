"""Files out: every input column, what the run says of each example, and back in again."""

import csv
import io
import json
import math
import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icm_engine.core.errors import NotFound, SettingError
from icm_engine.core.labeling import Labeling
from icm_engine.core.objective import Objective
from icm_engine.core.prompting import Prompt
from icm_engine.core.scoring import TableScorer, agreeable_belief
from icm_engine.core.search import State, initialize, step
from icm_engine.core.settings import SearchConfig
from icm_engine.data import export_files
from icm_engine.data.export import csv_bytes, export_run, labelled_rows
from icm_engine.data.export_files import as_text, defused, rows_to_frame
from icm_engine.data.gold import load_gold, load_human
from icm_engine.data.importing import import_file
from icm_engine.data.readers.source import strange
from icm_engine.data.spellings import known_names, plain
from icm_engine.data.tasks import TASKS
from icm_engine.store.events import Cost, RunSpec
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store

ADDED = ["icm_id", "icm_twin_of", "icm_label", "icm_probability", "icm_last_change_step", "icm_flips", "icm_pinned"]
CLAIMS = [{"topic": f"t{k // 2}", "claim": f"claim {k}", "gold": k % 2, "question": f"q{k // 2}"} for k in range(12)]

# a text that is no half of a surrogate pair, has no NUL, and is not blank
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip)
CELLS = st.one_of(TEXTS, st.builds(str.__add__, st.sampled_from("=+-@'\t\r\n,\" "), TEXTS))


def json_import(store: Store, rows: object, task: str = "truthfulness", name: str = "d") -> None:
    import_file(store, "d.json", task, name, content=json.dumps(rows).encode())


def searched(
    store: Store,
    dataset: str = "d",
    steps: int = 20,
    limit: int | None = None,
    belief: Callable[[Prompt], tuple[float, ...]] = agreeable_belief,
) -> tuple[str, list[State]]:
    """A run of the real search with a fake model: its name, and the state after every event."""
    run = store.add_run(RunSpec(dataset, "fake", limit=limit, search=SearchConfig(seed=1)))
    opened = open_run(store, run)
    config, scorer = opened.spec.search, TableScorer(belief)
    objective = Objective(opened.dataset.examples, opened.dataset.task, opened.rule, scorer)
    state, first = initialize(objective, config)
    store.append(run, "initial", opened.codec.encode_initial(first, Cost(scorer.usage)))
    states = [state]
    for _ in range(steps):
        before = state.labeling
        state, info = step(state, objective, config)
        store.append(run, "step", opened.codec.encode_step(info, Cost(scorer.usage), before))
        states.append(state)
    return run, states


def read_csv(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One database for the many examples of a property."""
    with Store(tmp_path_factory.mktemp("shared") / "icm.db") as made:
        yield made


# -- what is in a row


def test_columns_are_the_inputs_in_their_order_then_ours(store: Store) -> None:
    json_import(store, CLAIMS)
    run, _ = searched(store)
    rows = labelled_rows(store, run)
    assert list(rows[0]) == ["topic", "claim", "question", *ADDED, "icm_gold", "icm_run"]
    assert [row["icm_gold"] for row in rows[:2]] == ["False", "True"]
    assert {row["icm_run"] for row in rows} == {run}


def test_rows_say_what_the_search_reached(store: Store) -> None:
    json_import(store, CLAIMS)
    run, states = searched(store, steps=40)
    last = states[-1]
    for i, row in enumerate(labelled_rows(store, run)):
        history = [state.labeling.get(i) for state in states]
        changes = [n for n, label in enumerate(history) if label != (history[n - 1] if n else None)]
        assert row["icm_label"] == last.labeling.get(i)
        assert row["icm_last_change_step"] == (changes[-1] if changes else None)
        assert row["icm_flips"] == (len(changes) - 1 if changes else None)
        if i in last.labeling:
            probabilities = [math.exp(p) for p in last.evaluation.scores[i].normalized]
            assert row["icm_probability"] == probabilities[("True", "False").index(last.labeling[i])]
            assert math.isclose(sum(probabilities), 1)


def test_flips_are_counted_and_rejected_steps_are_not(store: Store) -> None:
    """A model without a will of its own: the search wanders, so some labels flip and some proposals are rejected."""
    json_import(store, [{"question": f"q{k}", "claim": "c"} for k in range(4)])
    coin = random.Random(0)
    run, states = searched(store, steps=60, belief=lambda _: (-0.5, -1.0) if coin.random() < 0.5 else (-1.0, -0.5))
    rejected = [e for e in store.read_after(run, kinds=("step",)) if e.body["verdict"] == "rejected"]
    flips = sum(int(row["icm_flips"] or 0) for row in labelled_rows(store, run))
    counted = sum(
        sum(i in before.labeling and before.labeling[i] != y for i, y in after.labeling.items())
        for before, after in pairwise(states)
    )
    assert flips == counted > 0
    assert rejected


def test_before_the_first_label_every_label_is_empty(store: Store) -> None:
    json_import(store, CLAIMS)
    run = store.add_run(RunSpec("d", "fake"))
    rows = read_csv(csv_bytes(store, run))
    assert len(rows) == 12
    assert {(row["icm_label"], row["icm_probability"], row["icm_flips"]) for row in rows} == {("", "", "")}


def test_only_the_examples_of_the_run(store: Store) -> None:
    json_import(store, CLAIMS)
    run, states = searched(store, limit=7)
    assert len(read_csv(csv_bytes(store, run))) == 7  # the rule ties nothing: every row is its own group
    assert isinstance(states[-1].labeling, Labeling)


def test_twins_are_rows_with_swapped_responses(store: Store) -> None:
    json_import(store, [{"id": "p", "query": "q", "response_a": "x", "response_b": "y", "crowd": "A"}], "preference")
    run, _ = searched(store, steps=5)
    first, twin = read_csv(csv_bytes(store, run))
    assert (first["id"], first["response_a"], first["response_b"], first["icm_twin_of"]) == ("p", "x", "y", "")
    assert (twin["id"], twin["response_a"], twin["response_b"], twin["icm_twin_of"]) == ("p~swapped", "y", "x", "p")
    assert (first["icm_human_crowd"], twin["icm_human_crowd"]) == ("True", "False")
    assert "icm_gold" not in first


def test_a_run_that_does_not_exist(store: Store) -> None:
    with pytest.raises(NotFound):
        csv_bytes(store, "moon-1")


# -- cells


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "'", "\t", "\r"])
def test_formulas_are_defused(start: str) -> None:
    assert defused(f"{start}1+1") == f"'{start}1+1"


@pytest.mark.parametrize("number", ["-5", "+3.25", "-.5", "-1e-7", "12", ""])
def test_numbers_are_left_alone(number: str) -> None:
    assert defused(number) == number


@pytest.mark.parametrize("text", ["-5 apples", "-1,000", "--5", "+49 30 1234", "-inf", "-١"])
def test_what_only_looks_like_a_number_is_text(text: str) -> None:
    assert defused(text) == f"'{text}"


def test_values_that_are_numbers_are_never_text() -> None:
    assert (defused(-0.5), defused(-3), defused(None)) == ("-0.5", "-3", "")


def test_headers_are_defused_too(store: Store) -> None:
    json_import(store, [{"=1+1": "x", "question": "q", "claim": "c"}])
    run = store.add_run(RunSpec("d", "fake"))
    content = csv_bytes(store, run)
    assert content.startswith(b"'=1+1,question,claim,")
    import_file(store, "again.csv", "truthfulness", content=content)
    assert store.dataset("again").inputs == store.dataset("d").inputs


# -- files


def test_the_three_formats_say_the_same(store: Store, tmp_path: Path) -> None:
    json_import(store, [{**row, "claim": f'=claim, "{row["claim"]}"\r\né'} for row in CLAIMS])
    run, _ = searched(store)
    rows = labelled_rows(store, run)
    for kind in ("csv", "jsonl", "parquet"):
        assert export_run(store, run, tmp_path / f"out.{kind}", kind).rows == 12
    lines = (tmp_path / "out.jsonl").read_text().split("\n")
    assert [json.loads(line) for line in lines if line] == rows
    assert pandas.read_parquet(tmp_path / "out.parquet").equals(rows_to_frame(rows))
    written = read_csv((tmp_path / "out.csv").read_bytes())
    assert written == [{name: defused(cell) for name, cell in row.items()} for row in rows]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("out")) == [
        "out.csv", "out.jsonl", "out.parquet",
    ]  # fmt: skip


def test_a_frame_keeps_whole_numbers_whole(store: Store) -> None:
    json_import(store, CLAIMS)
    run, _ = searched(store, steps=0)
    frame = rows_to_frame(labelled_rows(store, run))
    assert str(frame["icm_flips"].dtype) == "Int64"
    assert frame["icm_label"].notna().sum() == 8


def test_a_failed_export_leaves_the_old_file(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    json_import(store, CLAIMS)
    run, _ = searched(store, steps=0)
    (tmp_path / "out.csv").write_text("old")
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SettingError, match="No space left"):
        export_run(store, run, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "old"
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".part"]


def test_impossible_outputs(store: Store, tmp_path: Path) -> None:
    json_import(store, CLAIMS)
    run = store.add_run(RunSpec("d", "fake"))
    with pytest.raises(SettingError, match="format 'xlsx' does not exist"):
        export_run(store, run, tmp_path / "out.xlsx", "xlsx")
    with pytest.raises(SettingError, match="cannot be written"):
        export_run(store, run, tmp_path / "missing" / "out.csv")


# -- what is exported imports again


def test_a_label_of_ours_is_not_taken_for_gold(store: Store) -> None:
    json_import(store, [{k: v for k, v in row.items() if k != "gold"} for row in CLAIMS])
    run, _ = searched(store)
    report = import_file(store, "again.csv", "truthfulness", content=csv_bytes(store, run))
    assert report.gold_column is None
    assert not load_gold(store, "again")
    assert not load_human(store, "again")
    assert store.dataset("again").columns == ("topic", "claim", "question")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_pairs_come_back_without_new_twins(store: Store, tmp_path: Path, kind: str) -> None:
    rows = [
        {"query": "q", "response_a": f"'=a{k}", "response_b": "b", "a_is_better": k % 2, "crowd": ""} for k in range(3)
    ]
    json_import(store, rows, "preference")
    run, _ = searched(store)
    export_run(store, run, tmp_path / f"again.{kind}", kind)
    report = import_file(store, tmp_path / f"again.{kind}", "preference")
    before, after = store.dataset("d"), store.dataset("again")
    assert (report.examples, report.constraints) == (6, 3)
    assert (before.examples, before.inputs, before.columns) == (after.examples, after.inputs, after.columns)
    assert load_gold(store, "again").labels == load_gold(store, "d").labels


KNOWN = {name for task in TASKS.values() for names in known_names(task).values() for name in names}
ROWS = st.lists(st.tuples(CELLS, CELLS, CELLS | st.just(""), st.sampled_from(["0", "1", ""])), min_size=1, max_size=5)


NAMES = CELLS.filter(lambda name: not strange(name) and plain(name) not in KNOWN and not plain(name).startswith("icm_"))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@settings(max_examples=75, deadline=None)
@given(rows=ROWS, column=NAMES)
def test_any_text_goes_out_and_comes_back(shared: Store, kind: str, rows: list[tuple[str, ...]], column: str) -> None:
    number = len(shared.dataset_names())
    name, again = f"d{number}", f"d{number + 1}"
    json_import(shared, [dict(zip(("question", "claim", column, "gold"), row, strict=True)) for row in rows], name=name)
    run, states = searched(shared, name, steps=2)
    out = shared.path.parent / f"out.{kind}"
    export_run(shared, run, out, kind)
    import_file(shared, out, "truthfulness", again)
    before, after = shared.dataset(name), shared.dataset(again)
    assert (list(before.examples), before.columns) == (list(after.examples), after.columns)
    assert list(before.inputs) == list(after.inputs)
    assert load_gold(shared, name).labels == load_gold(shared, again).labels
    labels = [states[-1].labeling.get(i) for i in range(len(rows))]
    assert [row["icm_label"] or None for row in read_back(out)] == labels
    if kind == "csv":
        cells = [cell for row in read_csv(out.read_bytes()) for cell in row.values()]
        assert not any(cell.startswith(tuple("=@\t\r")) for cell in cells)


def read_back(path: Path) -> list[dict[str, Any]]:
    """The rows of an exported file, as other programs read them."""
    if path.suffix == ".csv":
        return list(read_csv(path.read_bytes()))
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_table(path).to_pylist()  # type: ignore[no-any-return]
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_a_large_export_is_written_in_batches(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve rows, five a batch: three row groups, and the rows of one batch."""
    json_import(store, CLAIMS)
    run, _ = searched(store)
    monkeypatch.setattr(export_files, "BATCH", 5)
    export_run(store, run, tmp_path / "out.parquet", "parquet")
    assert pyarrow.parquet.ParquetFile(tmp_path / "out.parquet").num_row_groups == 3
    assert pandas.read_parquet(tmp_path / "out.parquet").equals(rows_to_frame(labelled_rows(store, run)))


# -- columns that look like labels


def test_columns_that_look_like_labels_leave_only_with_gold(store: Store, tmp_path: Path) -> None:
    rows = [
        {**row, "pred": 1, "score": 0.5, "Predicted Label": "x", "wahr": str(k % 2 == 0)}
        for k, row in enumerate(CLAIMS)
    ]
    json_import(store, rows)
    assert any("'pred', 'score', 'Predicted Label'" in note for note in store.dataset_info("d").notes)
    run, _ = searched(store, steps=0)
    kept, apart = ["topic", "claim", "question"], ["pred", "score", "Predicted Label", "wahr"]
    made = export_run(store, run, tmp_path / "apart", "datasets")
    assert made.withheld == tuple(apart)
    frame = pandas.read_parquet(tmp_path / "apart" / "labels" / "train.parquet")
    assert [c for c in map(str, frame) if not c.startswith("icm_")] == kept
    assert export_run(store, run, tmp_path / "asked", "datasets", gold=True).withheld == ()
    asked = pandas.read_parquet(tmp_path / "asked" / "labels" / "train.parquet")
    assert [c for c in map(str, asked) if not c.startswith("icm_")] == ["topic", "claim", "question", *apart]
    assert list(read_csv(csv_bytes(store, run, gold=False))[0])[:3] == kept
    assert "pred" in read_csv(csv_bytes(store, run))[0]


def test_a_text_of_the_prompt_is_never_left_out(store: Store, tmp_path: Path) -> None:
    json_import(store, [{"question": f"q{k}", "answer": f"It is {k}."} for k in range(3)])
    run, _ = searched(store, steps=0)
    assert export_run(store, run, tmp_path / "folder", "datasets").withheld == ()


# -- for Excel

READ_OTHERWISE = [
    "007", "7", "12345678901234567890", "1-2", "3-4", "1e5", "1E5", "-5", "5 May", "MAR1", "Jan 5", "5. Mai", "1/2",
    "10%", "$5", "1,000", "2,5 €", "12:30", "3:30 PM", "2020-01-01", "2020-01-01T00:00:00", "1.2.3", "TRUE", "False",
    "(5)", " 7",
]  # fmt: skip
TEXTS_ANYWAY = ["row-12", "q12", "May I?", "Yes", "5 apples", "a1", "1a2f", "0x10", "", "abc", "May", "Section 3-4"]


@pytest.mark.parametrize("text", READ_OTHERWISE)
def test_what_a_spreadsheet_would_read_otherwise_stays_a_text(text: str) -> None:
    assert as_text(text) == "'" + text


@pytest.mark.parametrize("text", TEXTS_ANYWAY)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert as_text(text) == text


def test_numbers_of_ours_and_labels_stay_as_they_are() -> None:
    assert [as_text(value) for value in (0.25, 3, None)] == ["0.25", "3", ""]
    assert [as_text(label, "icm_label") for label in ("True", "1", "01", "1-2")] == ["True", "1", "'01", "'1-2"]


LEAD = [
    {"id": "007", "question": "Is it so – really?", "claim": "Yes, it’s so.", "label": 1},
    {"id": "12345678901234567890", "question": "Ça va?", "claim": "Oui", "label": 0},
    {"id": "1-2", "question": "When?", "claim": "3-4", "label": 1},
    {"id": "1e5", "question": "=1+1", "claim": "'quoted'", "label": 0},
]


def test_an_export_for_excel_comes_back_as_it_was(store: Store, tmp_path: Path) -> None:
    json_import(store, LEAD)
    run, _ = searched(store)
    export_run(store, run, tmp_path / "x.csv", excel=True)
    content = (tmp_path / "x.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbfid,question,claim,icm_id,")
    assert content == csv_bytes(store, run, excel=True)
    cells = [row["id"] for row in csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))]
    assert cells == ["'007", "'12345678901234567890", "'1-2", "'1e5"]
    for name, back in (("as it is", content), ("saved by a spreadsheet", content.replace(b",", b";"))):
        if b", it" not in back:  # the one comma amid a text
            back = back.replace(b'"Yes; it', b'"Yes, it')
        import_file(store, "x.csv", "truthfulness", name, content=back)
        examples = store.dataset(name).examples
        assert [(e.id, e.fields["question"], e.fields["claim"]) for e in examples] == [
            (row["id"], row["question"], row["claim"]) for row in LEAD
        ]


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.one_of(st.sampled_from(READ_OTHERWISE), TEXTS), min_size=1, max_size=4))
def test_any_text_comes_back_from_an_export_for_excel(shared: Store, texts: list[str]) -> None:
    name = f"x{len(shared.dataset_names())}"
    json_import(shared, [{"question": text, "claim": "c"} for text in texts], name=name)
    run = shared.add_run(RunSpec(name, "fake"))
    import_file(shared, "x.csv", "truthfulness", f"{name} back", content=csv_bytes(shared, run, excel=True))
    assert [e.fields["question"] for e in shared.dataset(f"{name} back").examples] == texts


def test_excel_goes_with_csv_alone(store: Store, tmp_path: Path) -> None:
    json_import(store, CLAIMS)
    run = store.add_run(RunSpec("d", "fake"))
    for form in ("jsonl", "datasets"):
        with pytest.raises(SettingError, match=r"excel needs format csv, not .*\(--excel, --format\)"):
            export_run(store, run, tmp_path / "x", form, excel=True)
