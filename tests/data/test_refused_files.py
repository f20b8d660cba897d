"""Files that are refused: what the message says, and that nothing is left behind."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icm_engine.core.errors import ImportRefused, NotFound, SettingError, StoreError
from icm_engine.data import importing
from icm_engine.data.importing import import_file
from icm_engine.store.store import Store
from tests.support.data_files import CLAIMS, PAIRS, csv_import, json_import, refusal


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("question,claim\n", "no rows"),
        ("question,claim,question\nq,c,q\n", "column 'question' twice"),
        ("question,claim\nq,c\nq\n", "row 2 (line 3) has 1 cells, the header has 2"),
        ("question,claim\nq,c,d\n", "row 1 (line 2) has 3 cells"),
        ("question,reply\nq,c\n", "needs a column claim or choice"),
        ('question,claim\nq,"two\nlines"\nq,  \n', "row 2 (line 4), column 'claim' has no text"),
        ("question,claim,gold\nq,c,1\nq,d,maybe\n", "row 2 (line 3), column 'gold' has the value 'maybe'"),
        ("question,claim,human\nq,c,maybe\n", "--map human="),
        ("question,claim,group\nq,c,\n", "row 1 (line 2), column 'group' has no group"),
        ("id,question,claim\n,q,c\n", "row 1 (line 2), column 'id' has no id"),
        ('question,claim\nq,"c\n', "not valid CSV"),
        ("question,claim\nq,c\0\n", "row 1 (line 2), column 'claim' has a NUL"),
        ("question,claim,icm_label\nq,c,True\n", "'icm_label' has a name that our exports use"),
    ],
)
def test_refused_csv(store: Store, text: str, said: str) -> None:
    assert said in refusal(store, text)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{}", "the file has none"),
        (b"3", "not an array of objects"),
        (b'{\n"question": "q"}', "not an array of objects"),
        (b"[]", "no rows"),
        (b"[1]", "row 1 is not an object"),
        (b'[{"question": "q", "claim": "c"},\n {"question"]', "line 2 is not valid JSON"),
        (b'[{"question": "q", "claim": ["c"]}]', "row 1, column 'claim' has a nested value"),
        (b'[{"question": "q", "claim": {"a": 1}}]', "row 1, column 'claim' has a nested value"),
        (b'[{"question": "q", "claim": "c", "claim": "d"}]', "row 1 has column 'claim' twice"),
        (b'[{"question": "q", "claim": NaN}]', "row 1, column 'claim' has no text"),
        (b'[{"question": "q", "claim": null}]', "row 1, column 'claim' has no text"),
        (b'[{"question": "q", "claim": "\\ud800"}]', "row 1, column 'claim' has a character that UTF-8"),
        (b'[{"question": "q", "claim": "\\u0000"}]', "row 1, column 'claim' has a NUL"),
        (b'[{"question": "q", "claim": "c", "label": "NaN"}]', "column 'label' has the value 'NaN'"),
        (b"[" * 100_000, "nested too deeply"),
        (b'[{"question": ' + b"[" * 100_000, "line 1 is nested too deeply"),
        (b'[{"question": "q"}, ', "not valid JSON (Expecting value, character 21)"),
        (b'[{"question": "q"} {', "Expecting ',' or ']'"),
        (b'[{"question": "q"}] x', "Extra data"),
        (b'[{"question": "q", "claim": "\xe9"}]', "0xe9, which is not UTF-8"),
        ("[]".encode("utf-16"), "no rows"),
        ("[]".encode("utf-16-le"), "--encoding utf-16-le"),
    ],
)
def test_refused_json(store: Store, content: bytes, said: str) -> None:
    with pytest.raises(ImportRefused) as caught:
        import_file(store, "data.json", "truthfulness", content=content)
    assert said in str(caught.value)
    assert store.dataset_names() == []


def test_refused_files(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match=r"row 2 \(line 3\) is not an object"):
        import_file(store, "d.jsonl", "truthfulness", content=b'{"question": "q", "claim": "c"}\n\n3\n')
    with pytest.raises(ImportRefused, match=r"'\.xlsx' is not one of"):
        import_file(store, tmp_path / "d.xlsx", "truthfulness")
    with pytest.raises(ImportRefused, match="cannot be read"):
        import_file(store, tmp_path / "missing.csv", "truthfulness")


def test_unknown_task_rule_and_name(store: Store) -> None:
    with pytest.raises(SettingError, match="task 'magic' does not exist"):
        csv_import(store, PAIRS, "magic")
    with pytest.raises(SettingError, match="rule 'magic' does not exist"):
        csv_import(store, PAIRS, "preference", rule="magic")
    with pytest.raises(SettingError, match="reads claims"):
        csv_import(store, PAIRS, "preference", rule="same-answer")
    with pytest.raises(SettingError, match="data set name"):
        csv_import(store, PAIRS, "preference", name=" ")


def test_a_name_that_is_taken_is_refused(store: Store) -> None:
    json_import(store, CLAIMS)
    with pytest.raises(StoreError, match="exists already"):
        json_import(store, CLAIMS)


def test_all_or_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise NotFound("a fault in the middle")

    monkeypatch.setattr(importing, "count_labels", fail)
    with pytest.raises(NotFound):
        csv_import(store, "question,claim,gold,crowd\nq,c,1,0\n")
    assert store.dataset_names() == []
    assert store.db.execute("select count(*) from gold").fetchone()[0] == 0


ANY_BYTES = st.one_of(st.binary(), st.binary().map(lambda content: b"question,claim\n" + content))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=ANY_BYTES, kind=st.sampled_from(["csv", "json", "jsonl"]))
def test_any_bytes_import_or_are_refused(store: Store, content: bytes, kind: str) -> None:
    name = f"d{len(store.dataset_names())}"
    try:
        report = import_file(store, f"d.{kind}", "truthfulness", name, content=content)
    except ImportRefused:
        assert not store.has_dataset(name)
    else:
        assert len(store.dataset(name).examples) == report.examples > 0
