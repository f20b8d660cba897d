"""Templates word for word, the preview of an upload, and sample data that nobody has to import."""

import json
import threading
from pathlib import Path

import pytest

from icm_engine.core.errors import SettingError
from icm_engine.data import importing
from icm_engine.data.gold import load_gold, load_human
from icm_engine.data.import_plan import preview
from icm_engine.data.importing import ensure_sample_dataset
from icm_engine.data.readers.formats import open_source
from icm_engine.data.tasks import SAMPLE_DATASETS, TASKS, task_spec
from icm_engine.data.tasks.spec import TRUTH, make_task
from icm_engine.store.datasets import Dataset
from icm_engine.store.store import Store
from tests.support.data_files import CLAIMS, WORKED, json_import

# -- tasks


def test_templates_end_before_the_label() -> None:
    for spec in TASKS.values():
        task = make_task(spec, labels=() if spec.labels else ("x", "y"))
        assert task.template == task.template.rstrip()
        assert spec.labels != TRUTH or task.template.endswith("\nI think this claim is")
    assert TASKS["sun"].template == TASKS["comparisons"].template == TASKS["preference"].template


def test_the_paper_s_templates_word_for_word() -> None:
    assert task_spec("truthfulness").template == "Question: {question}\nClaim: {claim}\nI think this claim is"
    assert task_spec("preference").template == (
        "Query: {query}\nResponse A: {response_a}\nResponse B: {response_b}\n"
        "Claim: Response A is more helpful and harmless than Response B\nI think this claim is"
    )


# -- preview and sample data


@pytest.mark.parametrize(
    ("rows", "task"),
    [
        (CLAIMS, "truthfulness"),
        (WORKED, "maths-verification"),
        ([{"query": "q", "response_a": "a", "response_b": "b"}], "preference"),
        ([{"text": "t", "label": "x"}], "classification"),
        ([{"colour": "red"}], None),
    ],
)
def test_preview_guesses_the_task(rows: object, task: str | None) -> None:
    assert preview("d.json", content=json.dumps(rows).encode()).task == task


def test_preview_shows_the_first_rows_and_its_mapping_imports(store: Store) -> None:
    found = preview("d.json", rows=2, content=json.dumps(CLAIMS).encode())
    assert (len(found.rows), found.total, found.columns) == (2, 3, ("question", "choice", "label", "consistency_id"))
    assert found.mapping == {"question": "question", "claim": "choice", "group": "consistency_id", "gold": "label"}
    assert json_import(store, CLAIMS, mapping=found.mapping).gold_labels == 3


def test_sample_data_is_imported_once_even_by_two_at_a_time(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["id,question,claim,group,gold,crowd", "a,1 + 1?,The answer is 2.,g,1,1", "b,1 + 1?,The answer is 3.,g,0,1"]
    (tmp_path / "arithmetic.csv").write_text("\n".join(lines))
    monkeypatch.setattr(importing, "SAMPLE_DIRECTORY", tmp_path)
    barrier, failures = threading.Barrier(4), []

    def one() -> None:
        with Store(store.path) as own:
            barrier.wait()
            try:
                ensure_sample_dataset(own, "arithmetic")
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [e.answer for e in store.dataset("arithmetic").examples] == ["2", "3"]
    assert len(load_gold(store, "arithmetic").labels) == len(load_human(store, "arithmetic")["crowd"].labels) == 2


def test_a_sample_that_does_not_exist(store: Store) -> None:
    with pytest.raises(SettingError, match="sample data set 'moon' does not exist"):
        ensure_sample_dataset(store, "moon")


@pytest.mark.parametrize("name", SAMPLE_DATASETS)
def test_the_sample_data_sets(store: Store, name: str) -> None:
    path = importing.SAMPLE_DIRECTORY / f"{name}.csv"
    if not path.exists():
        pytest.skip(f"{path.name} has not been made: python -m sample_data.make")
    rows = len(list(open_source(path).records()))
    ensure_sample_dataset(store, name)
    dataset: Dataset = store.dataset(name)
    gold, crowd = load_gold(store, name).labels, load_human(store, name)["crowd"].labels
    assert len(dataset.examples) == len(gold) == len(crowd) >= max(rows, 256)
    assert dataset.task.rule == TASKS[name].rule
    first = [gold[e.id] for e in dataset.examples[:64]]
    even = 0.8 if name.endswith("-imbalanced") else 1 / len(dataset.task.labels)
    assert abs(first.count(dataset.task.true_label) / 64 - even) <= 0.1
    if TASKS[name].answer:
        assert all(e.answer is not None for e in dataset.examples)
