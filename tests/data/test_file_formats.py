"""The forms a file may have: tables, JSON, Parquet, what `datasets` saves, encodings; each read or refused plainly."""

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icm_engine.core.errors import HubError, ImportRefused, SettingError
from icm_engine.data.gold import load_gold
from icm_engine.data.importing import import_file
from icm_engine.data.readers import encoding, json_layout
from icm_engine.data.readers.formats import open_source
from icm_engine.data.readers.json_layout import Window
from icm_engine.store.store import Store
from tests.support.data_files import json_import


def rows(path: Path | str, content: bytes | None = None, **options: Any) -> list[dict[str, str]]:
    return [dict(record.cells) for record in open_source(path, content, **options).records()]


def refused(path: Path | str, content: bytes | None = None, **options: Any) -> str:
    with pytest.raises(ImportRefused) as caught:
        rows(path, content, **options)
    return str(caught.value)


# -- tables of text


@pytest.mark.parametrize("ending", ["tsv", "tab"])
def test_tabs(ending: str) -> None:
    assert rows(f"d.{ending}", b'a\tb\n1,2\t"x\ty"\n') == [{"a": "1,2", "b": "x\ty"}]
    assert "line 2 is not valid TSV" in refused(f"d.{ending}", b'a\tb\n"1\t2\n')


def test_semicolons_are_found_and_said() -> None:
    source = open_source("d.csv", b"a;b\n1,5;x\n")
    assert next(source.records()).cells == {"a": "1,5", "b": "x"}
    assert source.notes == ("The cells of the file are separated by semicolons.",)
    assert rows("d.csv", b"a,b;c\n1,2\n") == [{"a": "1", "b;c": "2"}]
    assert "quote cells that contain semicolons" in refused("d.csv", b"a;b\n1;2;3\n")


# -- encodings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_says_the_encoding(encoding: str) -> None:
    text = "frage,antwort\nwö?,dü — 日本\n"
    assert rows("d.csv", text.encode(encoding)) == [{"frage": "wö?", "antwort": "dü — 日本"}]
    assert rows("d.jsonl", '{"a": "é"}\r\n'.encode(encoding)) == [{"a": "é"}]


def test_other_encodings_are_named_and_never_guessed() -> None:
    content = "a,b\n1,2\nsmörgås,x\n".encode("cp1252")
    assert "line 3 has the byte 0xf6, which is not UTF-8: save the file as UTF-8, or name" in refused("d.csv", content)
    assert rows("d.csv", content, encoding="cp1252")[1] == {"a": "smörgås", "b": "x"}
    assert "--encoding utf-16-le" in refused("d.csv", "a,b\n".encode("utf-16-le"))
    assert rows("d.csv", "a\né\n".encode("utf-16-be"), encoding="utf-16-be") == [{"a": "é"}]
    assert "is not UTF-16-LE" in refused("d.csv", b"a\0\n\0b", encoding="utf-16-le")
    for name in ("magic", "base64", "utf-8\0"):
        with pytest.raises(SettingError, match="does not exist: use utf-8"):
            open_source("d.csv", b"a\n1\n", encoding=name)


def test_the_line_of_a_wrong_byte_deep_in_a_file() -> None:
    content = b"a\n" + b"word\n" * 50_000 + b"w\xffrd\n"
    assert "line 50002 has the byte 0xff" in refused("d.csv", content)
    assert "has an end amid a character" in refused("d.csv", b"a\nb\xe2\x82")


def test_characters_that_nobody_sees_are_kept_and_said(store: Store) -> None:
    report = json_import(
        store,
        [{"id": "x", "question": "q\u202e", "claim": "bell \x07"}, {"id": "y", "question": "q", "claim": "naïve\n"}],
    )
    assert store.dataset("data").examples[0].fields == {"question": "q\u202e", "claim": "bell \x07"}
    assert [note for note in report.notes if "writing direction" in note and "1 example (x)" in note]
    with pytest.raises(ImportRefused, match="row 1, column 'id' has an id with an invisible character"):
        json_import(store, [{"id": "x\u200f", "question": "q", "claim": "c"}], name="other")


# -- JSON


def test_objects_one_a_line_in_a_file_called_json() -> None:
    assert rows("d.json", b'{"a": 1}\n\n{"b": [2.50, {"c": null}]}\n') == [
        {"a": "1", "b": ""}, {"a": "", "b": '[2.50, {"c": null}]'},
    ]  # fmt: skip
    assert "not an array of objects" in refused("d.json", b'{\n  "a": 1\n}')


def test_a_nested_value_stays_beside_its_example(store: Store) -> None:
    json_import(store, [{"question": "q", "claim": "c", "sources": ["a", {"b": 1.0}]}])
    assert store.dataset("data").inputs[0]["sources"] == '["a", {"b": 1.0}]'
    for column in ("id", "group", "gold", "human"):
        with pytest.raises(ImportRefused, match=f"column '{column}' has a nested value"):
            json_import(store, [{"question": "q", "claim": "c", column: {"x": 1}}], name="other")


TEXTS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)
CELLS = st.one_of(TEXTS, st.integers(), st.booleans(), st.none())


@settings(max_examples=200, deadline=None)
@given(
    objects=st.lists(st.dictionaries(TEXTS, CELLS, min_size=1, max_size=4), min_size=1, max_size=6),
    indent=st.sampled_from([None, 0, 3]),
    piece=st.integers(1, 40),
)
def test_an_array_is_read_the_same_through_any_window(objects: Any, indent: int | None, piece: int) -> None:
    """Pieces of a few characters cut the file at every possible place."""
    text = json.dumps(objects, indent=indent)
    before, json_layout.PIECE = json_layout.PIECE, piece
    try:
        source = open_source("d.json", text.encode())
        got = [{c: t for c, t in r.cells.items() if c in o} for r, o in zip(source.records(), objects, strict=True)]
    finally:
        json_layout.PIECE = before
    assert got == [{c: "" if v is None else str(v) for c, v in o.items()} for o in objects]


def test_a_window_knows_its_place() -> None:
    window = Window(io.StringIO('  [1,\n "two",\nthree'))
    assert (window.sign(), window.place(window.at)) == ("[", (1, 3))
    window.at += 1
    assert (window.value(), window.sign()) == ("1", ",")
    window.at += 1
    assert (window.sign(), window.place(window.at), window.value()) == ('"', (2, 2), "two")


# -- Parquet and Arrow


def parquet(table: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), out)
    return out.getvalue()


def test_values_of_a_parquet_file() -> None:
    table = {
        "text": ["a", None], "whole": [1, 2], "float": [1.0, float("nan")], "truth": [True, None],
        "list": [[1, 2], []], "record": [{"x": "é"}, None], "bytes": [b"caf\xc3\xa9", b"\xff"],
    }  # fmt: skip
    first, second = rows("d.parquet", parquet(table))
    assert list(first.values()) == ["a", "1", "1.0", "True", "[1, 2]", '{"x": "é"}', "café"]
    assert list(second.values()) == ["", "2", "", "", "[]", "", "<1 bytes>"]


def test_a_parquet_file_of_pandas_imports(store: Store, tmp_path: Path) -> None:
    frame = pd.DataFrame({"question": ["q"] * 5, "claim": list("abcde"), "label": [1, 0, None, 1, 0]})
    frame.to_parquet(tmp_path / "d.parquet")
    report = import_file(store, tmp_path / "d.parquet", "truthfulness")
    assert (report.rows, report.gold_labels) == (5, 4)  # pandas made 1.0, 0.0 and NaN of the labels
    assert list(load_gold(store, "d").labels.values()) == ["True", "False", "True", "False"]


def test_damaged_parquet_files() -> None:
    whole = parquet({"question": ["q"] * 100, "claim": [f"c{k}" for k in range(100)]})
    for damaged in (b"", b"PAR1", whole[:-20], whole[:200] + b"\0" * 50 + whole[250:]):
        with pytest.raises(ImportRefused):
            list(open_source("d.parquet", damaged).records())
    assert "cannot be read" in refused("d.arrow", b"nothing of the kind")
    assert "column 'a' twice" in refused("d.parquet", parquet(pa.Table.from_arrays([[1], [2]], names=["a", "a"])))


@pytest.mark.parametrize("ending", ["arrow", "feather"])
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_the_file_format_of_arrow(ending: str, compression: str | None) -> None:
    out, table = io.BytesIO(), pa.table({"text": [f"day {k}" for k in range(5000)], "label": ["pos", None] * 2500})
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(out, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=1500)
    source = open_source(f"d.{ending}", out.getvalue())
    assert (source.kind, source.total, source.head(1)[1][0].cells) == ("arrow", 5000, {"text": "day 0", "label": "pos"})
    assert [dict(record.cells) for record in source.records()][4999] == {"text": "day 4999", "label": ""}
    assert "cannot be read" in refused(f"d.{ending}", out.getvalue()[:-30])


@pytest.mark.parametrize("compression", ["lz4", "zstd", "uncompressed"])
def test_a_feather_file_of_pandas(store: Store, tmp_path: Path, compression: Any) -> None:
    frame = pd.DataFrame({"text": ["good day", "bad day"], "label": pd.Categorical(["pos", "neg"])})
    frame.to_feather(tmp_path / "d.feather", compression=compression)
    import_file(store, tmp_path / "d.feather", "classification", labels=("pos", "neg"))
    assert list(load_gold(store, "d").labels.values()) == ["pos", "neg"]


def test_the_first_version_of_feather_is_named() -> None:
    assert "version 1 of Feather: write it again" in refused("d.feather", b"FEA1" + bytes(100) + b"FEA1")


# -- packed


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("d.csv.gz", "text,label\nx,1\n"), ("D.TSV.GZ", "text\tlabel\nx\t1\n"), ("d.tab.gz", "text\tlabel\nx\t1\n"),
        ("d.json.gz", '[{"text": "x", "label": 1}]'), ("d.jsonl.gz", '{"text": "x", "label": 1}\n'),
        ("d.ndjson.gz", '{"text": "x", "label": 1}\n'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_texts_packed_by_gzip(name: str, text: str, encoding: str) -> None:
    assert rows(name, gzip.compress(text.encode(encoding))) == [{"text": "x", "label": "1"}]
    assert rows(name, text.encode()) == [{"text": "x", "label": "1"}]  # a browser may unpack what it downloads


def test_a_packed_file_is_a_data_set_of_its_own_name(store: Store, tmp_path: Path) -> None:
    (tmp_path / "claims.csv.gz").write_bytes(gzip.compress(b"question,claim\nq,c\n"))
    assert import_file(store, tmp_path / "claims.csv.gz", "truthfulness").dataset == "claims"


def test_damaged_packed_files() -> None:
    whole = gzip.compress("".join(f"{k},{k * k}\n" for k in range(5000)).encode())
    assert "is damaged or cut off" in refused("d.csv.gz", whole[:-10])
    assert "is damaged or cut off" in refused("d.csv.gz", whole[:5000] + bytes(40) + whole[5040:])
    assert "is damaged or cut off" in refused("d.csv.gz", whole[:2] + b"junk")
    assert "neither gzip nor text" in refused("d.csv.gz", bytes(4) + whole[4:])
    assert "only text is read packed by gzip: unpack it" in refused("d.parquet.gz", whole)


def test_a_packed_file_that_would_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "UNSUSPICIOUS", 1 << 17)
    for content in (b"x" * (2 << 20), b"1,2\n" * (1 << 18)):
        assert "unpacks to more than 200 times its size" in refused("d.csv.gz", gzip.compress(b"a,b\n" + content))
    text = "".join(f"{k},{k % 7}\n" for k in range(29_999)).encode()
    assert len(rows("d.csv.gz", gzip.compress(b"a,b\n" + text))) == 29_999


# -- what only looks like data


@pytest.mark.parametrize("name", ["d.csv", "d.csv.gz", "d.json", "d.parquet", "d.arrow", "d.feather"])
def test_a_pointer_of_git_lfs_is_named_as_that(name: str, tmp_path: Path) -> None:
    content = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
    (tmp_path / name).write_bytes(content)
    said = f"{name}: this is a git-LFS pointer, not the file itself: fetch it (git lfs pull), then import it"
    assert refused(name, content) == refused(tmp_path / name) == said


def test_a_folder_of_pointers(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_text("version https://git-lfs.github.com/spec/v1\n", encoding="utf-8")
    assert "train.parquet: this is a git-LFS pointer" in refused(tmp_path)


@pytest.mark.parametrize("ending", ["xlsx", "xls", "ods"])
def test_a_spreadsheet_says_what_to_do(ending: str) -> None:
    said = refused(f"d.{ending}", b"PK\x03\x04")
    assert f"'.{ending}' is not one of" in said
    assert "save the sheet as CSV (UTF-8) in the spreadsheet, and import that" in said
    assert "Excel workbook or a zip archive" in refused("d.csv", b"PK\x03\x04" + bytes(50))


# -- what `datasets` saves


def test_a_saved_data_set(store: Store, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["good", "bad"]),
            "n": datasets.Value("int8"),
        }
    )
    made = datasets.Dataset.from_dict({"text": ["x", "y", "z"], "label": [0, 1, -1], "n": [1, 2, 3]}, features)
    made.save_to_disk(tmp_path / "one", num_shards=2)
    report = import_file(store, tmp_path / "one", "classification", labels=["good", "bad"])
    assert (report.dataset, report.rows, report.gold_labels) == ("one", 3, 2)
    assert list(load_gold(store, "one").labels.values()) == ["good", "bad"]  # -1 is no label
    assert store.dataset("one").inputs[2] == {"text": "z", "n": "3"}


def test_the_splits_of_a_saved_data_set(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    parts = {name: datasets.Dataset.from_dict({"a": [name]}) for name in ("train", "test")}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "two")
    assert "has the splits train, test: name one (--split train)" in refused(tmp_path / "two")
    assert "but no 'dev'" in refused(tmp_path / "two", split="dev")
    assert rows(tmp_path / "two", split="test") == rows(tmp_path / "two" / "test") == [{"a": "test"}]
    with pytest.raises(SettingError, match="is one file"):
        open_source("d.csv", b"a\n1\n", split="test")


def test_a_directory_of_parquet_files_as_on_the_hub(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for k, name in enumerate(["train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"]):
        (tmp_path / "data" / f"{name}.parquet").write_bytes(parquet({"a": [k]}))
    assert rows(tmp_path, split="train") == [{"a": "0"}, {"a": "1"}]
    assert open_source(tmp_path, split="train").total == 2
    (tmp_path / "data" / "train-00001-of-00002.parquet").write_bytes(parquet({"b": [k]}))
    assert "has other columns" in refused(tmp_path, split="train")


def test_directories_that_are_no_data_set(tmp_path: Path) -> None:
    assert "has no Parquet file" in refused(tmp_path)
    for note in (
        "{}",
        "no json",
        '{"_data_files": [{"filename": "gone.arrow"}]}',
        '{"_data_files": [{"filename": "../x"}]}',
    ):
        (tmp_path / "state.json").write_text(note)
        assert "state.json names" in refused(tmp_path)


# -- the hub


def test_without_the_library_the_hub_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(HubError, match="needs the datasets library, which is not installed: install it"):
        open_source("hub:owner/name")


@pytest.mark.parametrize("name", ["hub:", "hub:name", "hub:a/b/c/d"])
def test_names_that_are_not_of_the_hub(name: str) -> None:
    assert "is named hub:owner/name" in refused(name)


def test_a_network_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")

    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(HubError, match=r"hub:owner/name: .*Name or service not known.*network"):
        open_source("hub:owner/name")


def test_a_data_set_of_the_hub(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library gives is real; only its download is not."""
    datasets = pytest.importorskip("datasets")
    table = {"question": ["q"] * 3, "claim": list("abc"), "label": [1, 0, 1]}
    asked = []

    def load(*names: object, split: str | None = None) -> Any:
        asked.append((*names, split))
        made = datasets.DatasetDict({"train": datasets.Dataset.from_dict(table)})
        return made if split is None else made[split]

    monkeypatch.setattr(datasets, "load_dataset", load)
    report = import_file(store, "hub:owner/name", "truthfulness")
    assert (report.dataset, report.rows, report.gold_labels) == ("name", 3, 3)
    assert rows("hub:owner/name/part", split="train")[0] == {"question": "q", "claim": "a", "label": "1"}
    assert asked == [("owner/name", None, None), ("owner/name", "part", "train")]
