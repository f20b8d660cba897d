"""Files whose columns have other names than the task's, and are evident to a reader all the same."""

from pathlib import Path

import pytest

from icm_engine.core.errors import ImportRefused
from icm_engine.data.gold import load_gold
from icm_engine.data.importing import ImportReport, import_file
from icm_engine.store.store import Store

GOOD, BAD = "a good day", "such a bad day"
SENTIMENT = "Column 'sentiment' has nothing but labels: if it is not gold, leave gold out (--map gold=)."


def imported(store: Store, text: str, task: str = "classification", **more: object) -> ImportReport:
    options = {"labels": ("pos", "neg"), **more}
    return import_file(store, "file.csv", task, "x", content=text.encode(), **options)  # type: ignore[arg-type]


def taken(column: str) -> str:
    return f"Column {column!r} was taken as the text: none is called text (--map text=COLUMN)."


@pytest.mark.parametrize(
    ("header", "rows", "column"),
    [
        ('"text, raw";label', f"{GOOD};pos\n{BAD};neg", "text, raw"),
        ("sentence,label", f"{GOOD},pos\n{BAD},neg", "sentence"),
        ("id,sentence,label", f"7,{GOOD},pos\n8,{BAD},neg", "sentence"),
        ("content,label,source,url", f"{GOOD},pos,web,http://a.b/c\n{BAD},neg,tv,http://a.b/d", "content"),
        ("title,content,label", f"On Monday we,{GOOD},pos\nA second title,{BAD},neg", "content"),
        ("review_title,label", f"{GOOD},pos\n{BAD},neg", "review_title"),
        ("date,tweet,score,label", f"2020-01-01 10:00,{GOOD},3.5,pos\n2020-01-02 10:00,{BAD},-2,neg", "tweet"),
        ("sentence,label", "good,pos\nbad,neg", "sentence"),  # single words
        ("word,lang,label", "good,en,pos\nbad,en,neg", "word"),
        ("评论,label", "这个产品非常好用我很喜欢,pos\n质量太差了完全不推荐购买,neg", "评论"),
        ("what they said,label", f"{GOOD},pos\n{BAD},neg", "what they said"),
        ("answer,label", f"{GOOD},pos\n{BAD},neg", "answer"),
        ("sentence,label_text,label", f"{GOOD},rather positive,pos\n{BAD},rather negative,neg", "sentence"),
    ],
)
def test_the_one_column_that_is_text_is_the_text(store: Store, header: str, rows: str, column: str) -> None:
    report = imported(store, f"{header}\n{rows}\n")
    assert report.fields == {"text": column}
    if GOOD in rows:
        assert [example.fields["text"] for example in store.dataset("x").examples] == [GOOD, BAD]
    assert taken(column) in report.notes
    names = [example.id for example in store.dataset("x").examples]
    assert dict(load_gold(store, "x").labels) == dict(zip(names, ("pos", "neg"), strict=True))


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("sentence1,sentence2,label", f"{GOOD},{BAD},pos\n{BAD},{GOOD},neg"),  # which of them?
        ("premise,hypothesis,label", f"{GOOD},{BAD},pos\n{BAD},{GOOD},neg"),
        ("number,label", "1,pos\n2,neg"),
        ("prediction,label", "pos,pos\nneg,neg"),
        ("gold_text,label", f"{GOOD},pos\n{BAD},neg"),  # its name says that it is no input
    ],
)
def test_several_or_none_are_refused_with_the_remedy(store: Store, header: str, rows: str) -> None:
    with pytest.raises(ImportRefused, match=r"needs a column text, the file has .* \(--map text=COLUMN\)"):
        imported(store, f"{header}\n{rows}\n")
    assert store.dataset_names() == []


def test_a_named_text_is_taken_without_a_word(store: Store) -> None:
    report = imported(store, f"text,sentence,label\n{GOOD},{BAD},pos\n")
    assert report.fields == {"text": "text"}
    assert not any("was taken as the text" in note for note in report.notes)


def test_a_mapped_text_is_not_guessed(store: Store) -> None:
    assert imported(store, f"a,b,label\n{GOOD},{BAD},pos\n", mapping={"text": "b"}).fields == {"text": "b"}


def test_tasks_with_several_texts_are_not_guessed(store: Store) -> None:
    with pytest.raises(ImportRefused, match="needs a column"):
        imported(store, f"question,remark,label\n{GOOD},{BAD},1\n", "truthfulness", labels=())


def test_a_task_of_ones_own(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "mood.toml"
    file.write_text('template = "{utterance}\\nThis is"\nlabels = ["glad", "sad"]\n')
    report = imported(store, f"what,mood\n{GOOD},glad\n{BAD},sad\n", str(file), labels=())
    assert report.fields == {"utterance": "what"}
    assert report.gold_column == "mood"


# -- gold without a known name


@pytest.mark.parametrize("text", ["content", "text"])
def test_the_one_column_of_nothing_but_labels_is_offered_as_gold(store: Store, text: str) -> None:
    report = imported(store, f"{text},sentiment,stars\n{GOOD},Pos,5\n{BAD},neg,1\n{BAD} too,,2\n")
    assert report.gold_column == "sentiment"
    assert SENTIMENT in report.notes
    assert "Column 'sentiment' was set apart as gold: it is only compared with results, never used by the search." in (
        report.notes
    )
    names = [example.id for example in store.dataset("x").examples]
    assert dict(load_gold(store, "x").labels) == {names[0]: "pos", names[1]: "neg"}
    assert all("sentiment" not in row for row in store.dataset("x").inputs)


def test_a_column_that_is_not_gold_is_left_out(store: Store) -> None:
    report = imported(store, f"text,sentiment\n{GOOD},pos\n{BAD},neg\n", mapping={"gold": ""})
    assert report.gold_column is None
    assert dict(load_gold(store, "x").labels) == {}
    assert "Column 'sentiment' looks like labels and was left out, since it was not mapped." in report.notes
    assert all("sentiment" not in row for row in store.dataset("x").inputs)


def test_a_known_name_comes_first(store: Store) -> None:
    assert imported(store, f"text,sentiment,label\n{GOOD},pos,neg\n").gold_column == "label"
    assert all("sentiment" not in row for row in store.dataset("x").inputs)  # it may be a copy of gold


def test_of_two_such_columns_none_is_gold_and_both_stay_out(store: Store) -> None:
    report = imported(store, f"text,first,second\n{GOOD},pos,neg\n{BAD},neg,neg\n")
    assert report.gold_column is None
    for column in ("first", "second"):
        assert f"Column {column!r} looks like labels and was left out, since it was not mapped." in report.notes


@pytest.mark.parametrize(
    ("header", "cell"), [("prediction", "pos"), ("model_output", "neg"), ("sentiment", "mixed"), ("sentiment", "1")]
)
def test_guesses_and_other_values_are_not_offered(store: Store, header: str, cell: str) -> None:
    assert imported(store, f"text,{header}\n{GOOD},{cell}\n{BAD},neg\n").gold_column is None


def test_true_and_false_are_evidence_only_where_a_person_named_them(store: Store) -> None:
    """Many columns that are not gold have them."""
    rows = "question,claim,has_image\nOne?,It is 1.,True\nTwo?,It is 3.,False\n"
    assert imported(store, rows, "truthfulness", labels=()).gold_column is None
    text = "text,toxic\none day,yes\ntwo days,no\n"
    report = import_file(store, "y.csv", "classification", "y", labels=("yes", "no"), content=text.encode())
    assert report.gold_column == "toxic"
