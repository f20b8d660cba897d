"""Labels as files to train on: what a row is, how twins are merged, what is left out, and that all load."""

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Flip, Label, Task
from icm_engine.core.objective import Evaluation
from icm_engine.core.scoring import LabelLogProbs, Usage
from icm_engine.core.search import InitialInfo
from icm_engine.data.export import FORMATS, export_run
from icm_engine.data.gold import add_gold, add_human
from icm_engine.data.label_export import preference, read_labels, sft
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import Cost, RunSpec
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store
from tests.support.stores import HOSTILE

CLAIM = "Question: {question}\nClaim: {claim}\nI think this claim is"
PAIR = "Query: {query}\nA: {response_a}\nB: {response_b}\nI think A is better:"


def labelled(store: Store, dataset: Dataset, labels: Mapping[str, Label]) -> str:
    """A run whose initial labels are these, by example id."""
    store.add_dataset(dataset)
    run = store.add_run(RunSpec(dataset.name, "fake"))
    codec = open_run(store, run).codec
    flips = tuple(Flip(codec.index(name), None, label, "initial") for name, label in labels.items())
    scores = {flip.example: LabelLogProbs((-0.5,) * len(dataset.task.labels)) for flip in flips}
    info = InitialInfo(tuple((f.example, str(f.new)) for f in flips), (), flips, Evaluation(0.0, 0.0, 0.0, (), scores))
    store.append(run, "initial", codec.encode_initial(info, Cost(Usage())))
    return run


def dataset(task: Task, *examples: Example) -> Dataset:
    return Dataset("d", task, examples, tuple(dict(e.fields) for e in examples), task.fields, "d.csv")


def claims(*texts: tuple[str, str]) -> Dataset:
    """Claims c0, c1, ... of these questions and texts."""
    made = [Example(f"c{k}", {"question": q, "claim": c}, q) for k, (q, c) in enumerate(texts)]
    return dataset(Task("truthfulness", CLAIM, fields=("question", "claim")), *made)


def pairs(*texts: tuple[str, str], query: str | None = "q") -> Dataset:
    """Pairs p0, p1, ... of these responses, each with its twin p0~swapped, ..."""
    made = []
    for k, (a, b) in enumerate(texts):
        asked = {} if query is None else {"query": query}
        made.append(Example(f"p{k}", {**asked, "response_a": a, "response_b": b}, f"p{k}"))
        made.append(Example(f"p{k}~swapped", {**asked, "response_a": b, "response_b": a}, f"p{k}", None, f"p{k}"))
    template = PAIR if query is not None else PAIR.split("\n", 1)[1]
    return dataset(Task("preference", template, rule="asymmetry", fields=tuple(made[0].fields)), *made)


# -- what is in a row


def test_sft_is_the_template_and_the_label_after_one_space(store: Store) -> None:
    run = labelled(store, claims(("Q", "yes"), ("Q", "no"), ("R", "so")), {"c1": "False", "c0": "True"})
    made = sft(read_labels(store, run))
    assert made.rows == (
        {"prompt": "Question: Q\nClaim: yes\nI think this claim is", "completion": " True"},
        {"prompt": "Question: Q\nClaim: no\nI think this claim is", "completion": " False"},
    )
    assert made.left_out == {"unlabelled": 1, "contradicting_twins": 0}


def test_a_pair_and_its_twin_are_one_row(store: Store) -> None:
    run = labelled(
        store,
        pairs(("a", "b"), ("c", "d"), ("e", "f"), ("g", "h"), ("i", "j")),
        {
            "p0": "False", "p0~swapped": "True",  # they agree: b is better
            "p1~swapped": "True",  # the twin alone: d is better than c
            "p2": "True", "p2~swapped": "True",  # both orders True
            "p3": "False", "p3~swapped": "False",  # both orders False
        },
    )  # fmt: skip
    read = read_labels(store, run)
    assert preference(read).rows == (
        {"prompt": "q", "chosen": "b", "rejected": "a"},
        {"prompt": "q", "chosen": "d", "rejected": "c"},
    )
    assert preference(read).left_out == {"unlabelled": 1, "contradicting_twins": 2, "identical_texts": 0}
    assert sft(read).rows == (
        {"prompt": "Query: q\nA: a\nB: b\nI think A is better:", "completion": " False"},
        {"prompt": "Query: q\nA: d\nB: c\nI think A is better:", "completion": " True"},
    )
    assert sft(read).left_out == {"unlabelled": 1, "contradicting_twins": 2}


@settings(max_examples=100, deadline=None)
@given(said=st.lists(st.tuples(*[st.sampled_from(["True", "False", None])] * 2), min_size=1, max_size=6))
def test_every_judgement_is_a_row_or_counted(said: list[tuple[str | None, str | None]]) -> None:
    """Of a pair and its twin: nothing said, the same said of both orders, or one row."""
    labels = {f"p{k}{end}": y for k, ys in enumerate(said) for end, y in zip(("", "~swapped"), ys, strict=True) if y}
    with TemporaryDirectory() as place, Store(Path(place) / "icm.db") as store:
        made = sft(read_labels(store, labelled(store, pairs(*[("a", "b")] * len(said)), labels)))
    assert made.left_out == {
        "unlabelled": said.count((None, None)),
        "contradicting_twins": said.count(("True", "True")) + said.count(("False", "False")),
    }
    assert len(made.rows) == len(said) - sum(made.left_out.values())


def test_pairs_without_a_query_have_no_prompt(store: Store) -> None:
    run = labelled(store, pairs(("a", "b"), query=None), {"p0": "True"})
    assert preference(read_labels(store, run)).rows == ({"chosen": "a", "rejected": "b"},)


def test_equal_responses_are_no_preference(store: Store) -> None:
    run = labelled(store, pairs(("a", "a"), ("a", "b")), {"p0": "True", "p1": "True"})
    made = preference(read_labels(store, run))
    assert made.rows == ({"prompt": "q", "chosen": "a", "rejected": "b"},)
    assert made.left_out["identical_texts"] == 1


def test_claims_of_one_question_are_chosen_over_each_other(store: Store) -> None:
    """Q has one True and three False claims, hence 3 rows; R has two True ones and S one claim: none of them pairs."""
    texts = (("Q", "t"), ("R", "r1"), ("Q", "f1"), ("Q", "f2"), ("R", "r2"), ("Q", "f3"), ("S", "s"), ("Q", "u"))
    labels = {"c0": "True", "c1": "True", "c2": "False", "c3": "False", "c4": "True", "c5": "False", "c6": "False"}
    made = preference(read_labels(store, labelled(store, claims(*texts), labels)))
    assert made.rows == tuple({"prompt": "Q", "chosen": "t", "rejected": f"f{k}"} for k in (1, 2, 3))
    assert made.left_out == {"unlabelled": 1, "one_sided_claims": 3, "identical_texts": 0}


def test_the_label_that_means_true_is_the_chosen_one(store: Store) -> None:
    task = Task("reviews", "{question}: {claim} is", ("bad", "good"), "good", fields=("question", "claim"))
    made = [Example(f"c{k}", {"question": "Q", "claim": text}, "Q") for k, text in enumerate(("x", "y"))]
    run = labelled(store, dataset(task, *made), {"c0": "bad", "c1": "good"})
    assert preference(read_labels(store, run)).rows == ({"prompt": "Q", "chosen": "y", "rejected": "x"},)


def test_texts_alone_give_no_preferences(store: Store, tmp_path: Path) -> None:
    task = Task("topics", "{text}:", ("a", "b"), "a", fields=("text",))
    run = labelled(store, dataset(task, Example("t", {"text": "x"}, "t")), {"t": "a"})
    with pytest.raises(SettingError, match=r"'topics' .* preferences need"):
        export_run(store, run, tmp_path / "out.jsonl", "preference")
    assert export_run(store, run, tmp_path / "out.jsonl", "sft").rows == 1


def test_nothing_to_train_on_is_refused(store: Store, tmp_path: Path) -> None:
    run = labelled(store, claims(("Q", "yes")), {})
    with pytest.raises(SettingError, match=r"no row of format 'sft' .*1 unlabelled"):
        export_run(store, run, tmp_path / "out.jsonl", "sft")
    assert not (tmp_path / "out.jsonl").exists()


# -- never gold


def test_gold_and_human_labels_are_only_where_they_were_asked_for(store: Store, tmp_path: Path) -> None:
    run = labelled(store, claims(("Q", "yes"), ("Q", "no")), {"c0": "True", "c1": "False"})
    add_gold(store, "d", {"c0": "False", "c1": "True"})
    add_human(store, "d", "crowd", {"c0": "False"})
    for name in ("sft", "preference"):
        export_run(store, run, tmp_path / name, name)
        assert set(load_jsonl(tmp_path / name)[0]) == (
            {"prompt", "completion"} if name == "sft" else {"prompt", "chosen", "rejected"}
        )
        with pytest.raises(SettingError, match="cannot hold gold"):
            export_run(store, run, tmp_path / "out", name, gold=True)
    export_run(store, run, tmp_path / "apart", "datasets")
    export_run(store, run, tmp_path / "asked", "datasets", gold=True, human=True)
    assert not [c for c in load(tmp_path / "apart").column_names if "gold" in c or "human" in c]
    asked = load(tmp_path / "asked")
    assert asked["icm_gold"] == ["False", "True"]
    assert asked["icm_human_crowd"] == ["False", None]
    assert "gold (`icm_gold`) and human labels" in (tmp_path / "asked" / "README.md").read_text()
    assert set(load(tmp_path / "asked", "sft").column_names) == {"prompt", "completion"}


# -- each file loads as it is


TEXTS = ("a\u2028b\x85c\r\n\td", '"quoted", \\ and {braces}', HOSTILE, "2020-01-01", "1e5", "null", "", "naïve 日本 🙂")


def load_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def load(path: Path, *names: str, **options: Any) -> Any:
    """What `datasets.load_dataset` makes of a file or folder, its cache beside it."""
    import datasets

    datasets.disable_progress_bars()
    cache = str(path.parent / "cache")
    return datasets.load_dataset(str(path), *names, split="train", cache_dir=cache, **options)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here may ask the hub."""
    pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("name", ["sft", "preference", "jsonl"])
def test_jsonl_loads_as_it_is(store: Store, tmp_path: Path, name: str) -> None:
    run = labelled(store, pairs(*((text, "other") for text in TEXTS)), {f"p{k}": "True" for k in range(len(TEXTS))})
    export_run(store, run, tmp_path / "out.jsonl", name)
    import datasets

    datasets.disable_progress_bars()
    loaded = datasets.load_dataset(
        "json", data_files=str(tmp_path / "out.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert list(loaded) == load_jsonl(tmp_path / "out.jsonl")
    if name == "preference":
        assert loaded["chosen"] == list(TEXTS)


def test_a_folder_loads_as_it_is_and_its_card_says_where_it_is_from(store: Store, tmp_path: Path) -> None:
    run = labelled(store, pairs(*((text, text + "!") for text in TEXTS)), {"p0": "True", "p0~swapped": "False"})
    store.append(run, "model", {"model": "fake | `odd`", "torch": "9.9"})
    assert export_run(store, run, tmp_path / "folder", "datasets").rows == 2 * len(TEXTS)
    labels = load(tmp_path / "folder")
    assert labels["icm_label"] == ["True", "False", *[None] * (2 * len(TEXTS) - 2)]
    assert labels["response_a"][0::2] == list(TEXTS)
    assert list(load(tmp_path / "folder", "sft")) == list(sft(read_labels(store, run)).rows)
    assert list(load(tmp_path / "folder", "preference")) == list(preference(read_labels(store, run)).rows)
    card, facts = (
        (tmp_path / "folder" / "README.md").read_text(),
        json.loads((tmp_path / "folder" / "run.json").read_text()),
    )
    assert facts["label_balance"] == {"True": 1, "False": 1}
    assert facts["spec"] == store.spec(run).to_json()
    for line in (
        "2 of 16 examples of data set `d` were labelled", "| `run` | `d-1` |", "| `source` | `d.csv` |",
        "| `preset` | `default` |", "| `predictability` | `mean_log_odds` |", "| `seed` | `0` |",
        "| `alpha` | `50.0` |", "| `True` | `1` |",
        "| `(none)` | `14` |", "| `model` | `` fake \\| `odd` `` |", "| `torch` | `9.9` |",
        "| `icm-workbench` | `0.1.0` |", "7 unlabelled left out, 0 contradicting twins left out",
    ):  # fmt: skip
        assert line in card, line


def test_a_card_keeps_the_directories_of_this_machine_to_itself(store: Store, tmp_path: Path) -> None:
    store.add_dataset(claims(("Q", "yes")))
    run = store.add_run(RunSpec("d", "/home/somebody/models/llama"))
    store.append(run, "model", {"model": "/home/somebody/models/llama"})
    export_run(store, run, tmp_path / "folder", "datasets")
    written = [path.read_text() for path in (tmp_path / "folder").iterdir() if path.is_file()]
    assert len(written) == 2
    assert not [text for text in written if "somebody" in text or "llama" not in text]


def test_columns_of_nothing_but_dates_stay_text_in_a_folder(store: Store, tmp_path: Path) -> None:
    run = labelled(store, pairs(("2020-01-01", "2021-01-01")), {"p0": "True"})
    export_run(store, run, tmp_path / "folder", "datasets")
    assert load(tmp_path / "folder", "preference")[0]["chosen"] == "2020-01-01"


def test_a_folder_that_holds_anything_is_refused(store: Store, tmp_path: Path) -> None:
    run = labelled(store, claims(("Q", "yes")), {"c0": "True"})
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").write_text("mine")
    with pytest.raises(SettingError, match="exists already"):
        export_run(store, run, tmp_path / "folder", "datasets")
    with pytest.raises(SettingError, match="cannot be written"):
        export_run(store, run, tmp_path / "missing" / "folder", "datasets")
    assert (tmp_path / "folder" / "mine.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_the_formats_are_those_of_the_command_line() -> None:
    assert FORMATS == ("csv", "jsonl", "parquet", "sft", "preference", "datasets")
