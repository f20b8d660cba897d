"""JSON as programs write it: under a key, by column, with labels in lists, as annotation programs export it."""

import json
from pathlib import Path
from typing import Any

import pytest

from icm_engine.core.errors import ImportRefused, SettingError
from icm_engine.data.gold import load_gold, load_human
from icm_engine.data.importing import ImportReport, import_file
from icm_engine.data.readers.formats import open_source
from icm_engine.store.store import Store

DAYS = [{"text": "good day", "label": "pos"}, {"text": "bad day", "label": "neg"}]


def rows(content: object, name: str = "d.json", split: str | None = None) -> list[dict[str, str]]:
    text = content if isinstance(content, str) else json.dumps(content)
    return [dict(record.cells) for record in open_source(name, text.encode(), split=split).records()]


def refused(content: object, name: str = "d.json", split: str | None = None) -> str:
    with pytest.raises(ImportRefused) as caught:
        rows(content, name, split)
    return str(caught.value)


def taken(store: Store, content: object, name: str = "d.json", **options: Any) -> ImportReport:
    text = content if isinstance(content, str) else json.dumps(content)
    return import_file(store, name, "classification", labels=("pos", "neg"), content=text.encode(), **options)


def gold(store: Store) -> dict[str, str]:
    """Gold by text."""
    labels = load_gold(store, "d").labels
    return {
        example.fields["text"]: labels[example.id] for example in store.dataset("d").examples if example.id in labels
    }


# -- where the rows lie


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    "content",
    [
        {"version": "1.0", "data": DAYS},
        {"data": DAYS, "labels": ["pos", "neg"], "meta": {"by": [1, {"x": 2}]}},
        {"text": {"0": "good day", "1": "bad day"}, "label": {"0": "pos", "1": "neg"}},
        {"text": ["good day", "bad day"], "label": ["pos", "neg"]},
        {"0": DAYS[0], "1": DAYS[1]},
    ],
)
def test_rows_of_a_file_that_is_one_object(store: Store, content: object, indent: int | None) -> None:
    assert rows(json.dumps(content, indent=indent)) == DAYS
    taken(store, json.dumps(content, indent=indent))
    assert gold(store) == {"good day": "pos", "bad day": "neg"}


def test_what_was_left_out_is_said() -> None:
    source = open_source("d.json", json.dumps({"version": "1.0", "data": DAYS}).encode())
    assert source.notes == ("The rows are the objects under 'data'; 'version' was left out.",)


def test_of_several_lists_one_is_named() -> None:
    content = {"train": DAYS[:1], "test": DAYS[1:]}
    assert "has lists of objects under train, test: name one (--split train)" in refused(content)
    assert "but none under 'dev'" in refused(content, split="dev")
    assert rows(content, split="test") == DAYS[1:]
    with pytest.raises(SettingError, match=r"has one list of rows: leave it out \(--split\)"):
        rows(DAYS, split="test")


def test_objects_that_are_rows_stay_rows() -> None:
    assert rows('{"text": "good day", "label": "pos"}\n{"text": "bad day", "label": "neg"}\n') == DAYS
    assert rows('{"text": "good day", "label": "pos"}\n') == DAYS[:1]
    assert rows('{"text": "x", "turns": [{"a": 1}]}', "d.jsonl") == [{"text": "x", "turns": '[{"a": 1}]'}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"text": ["a"], "label": ["x", "y"]}, "different numbers of cells (text 1, label 2)"),
        (
            {"text": {"0": "a", "1": "b"}, "label": {"0": "x", "2": "y"}},
            "row 2 has different keys",
        ),
        ('{\n"version": 1,\n"data": [\n{"text": bad}]}', "line 4 is not valid JSON (Expecting value, character 10)"),
        ('{\n"data": [{"text": "a"}],\n"data": []}', "has key 'data' twice"),
        ('{\n"data": [{"text": "a"}]\n', "line 3 is not valid JSON"),
        ('{"text": "a",\n"more": {"x": [1]}}', "not an array of objects"),
        ({"data": [{"a": 1}, 2]}, "row 2 is not an object"),
    ],
)
def test_what_cannot_be_rows_is_refused(content: object, said: str) -> None:
    assert said in refused(content)


def test_a_list_under_a_key_is_held_an_item_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a few characters cut the file at every place."""
    from icm_engine.data.readers import json_layout

    for piece in (1, 7, 50):
        monkeypatch.setattr(json_layout, "PIECE", piece)
        assert rows({"version": [1, 2], "data": DAYS, "end": None}) == DAYS
        assert rows({"text": ["good day", "bad day"], "label": ["pos", "neg"]}) == DAYS


# -- labels in lists


def test_a_list_of_one_label_is_the_label(store: Store) -> None:
    lines = (
        '{"id": 1, "text": "good day", "label": ["pos"], "Comments": []}\n{"id": 2, "text": "bad day", "label": []}\n'
    )
    report = taken(store, lines, "d.jsonl")
    assert load_gold(store, "d").labels == {"1": "pos"}
    assert report.rows == 2
    assert store.dataset("d").inputs[0]["Comments"] == "[]"


def test_human_labels_in_lists(store: Store) -> None:
    taken(store, [{"text": "good day", "human_1": ["pos"], "human_2": ["neg"]}])
    assert {source: list(said.labels.values()) for source, said in load_human(store, "d").items()} == {
        "human_1": ["pos"], "human_2": ["neg"],
    }  # fmt: skip


def test_numbers_in_lists_are_labels_too(store: Store) -> None:
    content = json.dumps([{"question": "q", "claim": f"c{k}", "label": [k]} for k in (0, 1)]).encode()
    import_file(store, "d.json", "truthfulness", content=content)
    assert list(load_gold(store, "d").labels.values()) == ["False", "True"]


def test_several_labels_are_refused_with_the_way_out(store: Store) -> None:
    content = [{"text": "good day", "label": ["pos", "neg"]}]
    with pytest.raises(ImportRefused, match=r"row 1, column 'label' has 2 labels \(pos, neg\): .*--map gold="):
        taken(store, content)
    assert taken(store, content, mapping={"gold": ""}).gold_labels == 0


# -- Label Studio


def judged(by: object, *choices: str, **more: object) -> dict[str, object]:
    result = {"from_name": "mood", "to_name": "text", "type": "choices", "value": {"choices": list(choices)}}
    return {"id": 1, "completed_by": by, "result": [result] if choices else [], **more}


def task(identity: int, text: str, *annotations: dict[str, object]) -> dict[str, object]:
    return {"id": identity, "annotations": list(annotations), "predictions": [], "data": {"text": text}}


def test_an_export_of_label_studio(store: Store) -> None:
    report = taken(store, [task(7, "good day", judged(1, "pos")), task(8, "bad day")])
    assert load_gold(store, "d").labels == {"7": "pos"}
    assert [example.fields["text"] for example in store.dataset("d").examples] == ["good day", "bad day"]
    assert "The file is an export of Label Studio: its label 'mood' became column 'label'." in report.notes


def test_several_people_of_label_studio(store: Store) -> None:
    content = [
        task(1, "agreed", judged(1, "pos"), judged({"id": 2, "email": "x"}, "pos")),
        task(2, "disputed", judged(1, "pos"), judged(2, "neg")),
        task(3, "settled", judged(1, "pos"), judged(2, "neg", ground_truth=True)),
        task(4, "cancelled", judged(1, "pos", was_cancelled=True)),
        task(5, "single", judged(2, "neg")),
    ]
    report = taken(store, content)
    assert gold(store) == {"agreed": "pos", "settled": "neg", "single": "neg"}
    human = {source: said.labels for source, said in load_human(store, "d").items()}
    assert human == {
        "human_1": {"1": "pos", "2": "pos", "3": "pos"},
        "human_2": {"1": "pos", "2": "neg", "3": "neg", "5": "neg"},
    }
    assert "Rows with labels of several people: 3; they disagree in 1, which have no label." in report.notes


def test_several_choices_of_label_studio_are_refused(store: Store) -> None:
    with pytest.raises(ImportRefused, match=r"row 1, column 'label' has 2 labels \(pos, neg\)"):
        taken(store, [task(1, "both", judged(1, "pos", "neg"))])


def test_other_annotations_are_counted() -> None:
    span = {"from_name": "part", "type": "labels", "value": {"start": 0, "end": 3, "labels": ["x"]}}
    both = {**judged(1, "pos"), "result": [*judged(1, "pos")["result"], span]}  # type: ignore[misc]
    source = open_source("d.json", json.dumps([task(1, "day", both)]).encode())
    assert [record.cells["label"] for record in source.records()] == ["pos"]
    assert source.notes[1] == "Annotations other than a choice of labels were left out (1)."


def least(identity: int, text: str, mood: object, annotator: int = 1) -> dict[str, object]:
    return {"text": text, "id": identity, "mood": mood, "annotator": annotator, "annotation_id": annotator + identity,
            "created_at": "2024-01-01T00:00:00Z", "updated_at": "2024-01-01T00:00:00Z", "lead_time": 3.5}  # fmt: skip


def test_the_short_export_of_label_studio(store: Store) -> None:
    report = taken(store, [least(7, "good day", "pos"), least(8, "bad day", {"choices": ["neg"]})])
    assert load_gold(store, "d").labels == {"7": "pos", "8": "neg"}
    assert "mood" not in report.columns
    assert rows([{"id": 7, "text": "x", "mood": "pos", "annotator": 1, "annotation_id": 2}])[0]["label"] == "pos"


def test_the_short_export_with_several_people(store: Store) -> None:
    taken(store, [least(7, "good day", "pos"), least(7, "good day", "neg", 2), least(8, "bad day", "neg")])
    assert load_gold(store, "d").labels == {"8": "neg"}
    assert load_human(store, "d")["human_2"].labels == {"7": "neg"}


# -- doccano


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"label": ["pos"]}, {"label": []}),
        ({"labels": ["pos"]}, {"labels": []}),
        ({"annotations": [{"label": "pos", "user": 1}]}, {"annotations": []}),
        ({"annotations": [{"label": "pos", "user": 1}, {"label": "pos", "user": 2}]}, {"annotations": []}),
    ],
)
def test_an_export_of_doccano(store: Store, first: dict[str, Any], second: dict[str, Any]) -> None:
    lines = [{"id": 1, "text": "good day", **first}, {"id": 2, "text": "bad day", **second}]
    report = taken(store, "\n".join(map(json.dumps, lines)), "d.jsonl")
    assert (report.rows, load_gold(store, "d").labels) == (2, {"1": "pos"})


def test_spans_of_doccano_are_no_labels_of_a_text() -> None:
    line = {"id": 1, "text": "good day", "annotations": [{"label": 1, "start_offset": 0, "end_offset": 4, "user": 1}]}
    source = open_source("d.jsonl", json.dumps(line).encode())
    assert [dict(record.cells) for record in source.records()] == [{"id": "1", "text": "good day"}]
    assert "were left out (1)" in source.notes[1]


def test_a_packed_export(store: Store, tmp_path: Path) -> None:
    import gzip

    (tmp_path / "d.json.gz").write_bytes(gzip.compress(json.dumps({"data": DAYS}).encode()))
    report = import_file(store, tmp_path / "d.json.gz", "classification", labels=("pos", "neg"))
    assert (report.dataset, report.gold_labels) == ("d", 2)
