"""Tables as people have them: rows stay rows, whatever separates, quotes or fills them."""

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icm_engine.cli.main import main
from icm_engine.core.errors import ImportRefused, SettingError
from icm_engine.data.gold import load_gold
from icm_engine.data.import_plan import preview
from icm_engine.data.importing import import_file
from icm_engine.data.readers import dialect
from icm_engine.data.readers.formats import open_source
from icm_engine.store.store import Store

DAYS = [("good day", "pos"), ("bad day", "neg")]


def read(text: str, name: str = "d.csv", quoting: str | None = None) -> tuple[list[tuple[str, ...]], list[str]]:
    """The cells of the rows, and what is said about the file."""
    source = open_source(name, text.encode(), quoting=quoting)
    rows = [tuple(record.cells.values()) for record in source.records()]
    assert rows == [tuple(record.cells.values()) for record in source.head(1000)[1]]
    return rows, list(source.notes)


def refused(text: str, name: str = "d.csv", quoting: str | None = None) -> str:
    with pytest.raises(ImportRefused) as caught:
        read(text, name, quoting)
    return str(caught.value)


# -- separators


@pytest.mark.parametrize(
    ("text", "separators"),
    [
        ("text|label\ngood day|pos\nbad day|neg\n", "pipes"),
        ("text;label\ngood day;pos\nbad day;neg\n", "semicolons"),
        ("sep=;\r\ntext;label\r\ngood day;pos\r\nbad day;neg\r\n", "semicolons"),
        ("\ufeffsep=;\r\ntext;label\r\ngood day;pos\r\nbad day;neg\r\n", "semicolons"),
        ('"sep=\t"\ntext\tlabel\ngood day\tpos\nbad day\tneg\n', "tabs"),
        ("text\tlabel\ngood day\tpos\nbad day\tneg\n", "tabs"),
        ("text^label\n", None),
        ("sep=^\ntext^label\ngood day^pos\nbad day^neg\n", "'^'"),
    ],
)
def test_a_separator_is_found_and_said(text: str, separators: str | None) -> None:
    rows, notes = read(text)
    assert rows == (DAYS if separators else [])
    assert notes == ([f"The cells of the file are separated by {separators}."] if separators else [])


@pytest.mark.parametrize("header", ['"text, raw";label', "text, raw;label"])
def test_a_comma_in_the_header_of_a_semicolon_file(header: str) -> None:
    source = open_source("d.csv", f"{header}\ngood, day;pos\nbad day;neg\n".encode())
    assert source.columns == ("text, raw", "label")
    assert [record.cells["text, raw"] for record in source.records()] == ["good, day", "bad day"]


def test_semicolons_and_pipes_in_a_comma_file() -> None:
    rows, notes = read("text,label;x\na;b,1|2\n")
    assert (rows, notes) == ([("a;b", "1|2")], [])


def test_a_line_that_names_the_separator_counts_as_a_line() -> None:
    assert "row 2 (line 4) has 1 cells" in refused("sep=;\na;b\n1;2\n3\n")


# -- stray quotation marks

SWALLOWED = "text{0}label\n{1}good day{0}pos\nbad day{0}neg\nother day{1}{0}pos\nfine{0}neg\n"


@pytest.mark.parametrize("name", ["d.tsv", "d.tab", "d.csv", "d.tsv.gz"])
@pytest.mark.parametrize(
    "lines",
    [
        ['"good day\tpos', "bad day\tneg", 'other day"\tpos'],  # closes after two more rows
        ['"good day\tpos', "bad day\tneg", "other day\tpos"],  # never closes
        ['"good" day\tpos', "bad day\tneg", "other day\tpos"],  # closes amid a cell
        ['"good day\tpos', "", "bad day\tneg", 'other day"\tpos'],  # over a blank line
        ["good day\tpos", '12" board\tneg', '"other day\tpos'],
    ],
)
def test_a_stray_mark_among_tabs_is_text(name: str, lines: list[str]) -> None:
    rows, notes = read("text\tlabel\n" + "\n".join(lines) + "\n", name)
    assert rows == [tuple(line.split("\t")) for line in lines if line]
    assert any("begins with a quotation mark that would swallow other cells" in note for note in notes)


def test_a_stray_mark_may_swallow_cells_of_its_own_row() -> None:
    rows, _ = read('a\tb\tc\n"x\ty"\tz\n1\t2\t3\n', "d.tsv")
    assert rows == [('"x', 'y"', "z"), ("1", "2", "3")]


def test_tabs_that_are_quoted_stay_quoted() -> None:
    assert read('a\tb\n"two\nlines"\t"x\ty"\n1\t2\n', "d.tsv") == ([("two\nlines", "x\ty"), ("1", "2")], [])
    assert "line 2 is not valid TSV" in refused('"a"\t"b"\n"1\t2\n3\t4\n', "d.tsv")
    assert "line 3 is not valid TSV" in refused('a\tb\n"say ""a"""\t1\n"1\t2\n3\t4\n', "d.tsv")


@pytest.mark.parametrize("separator", [",", ";", "|"])
def test_a_stray_mark_that_merges_rows_is_refused_with_the_ways_out(separator: str) -> None:
    text = SWALLOWED.format(separator, '"')
    said = refused(text)
    assert "a quotation mark that opens in line 2 closes in line 4, though each of these lines has the 2 cells" in said
    assert "double the mark if it belongs to the text" in said
    assert "--quoting none" in said
    unquoted, notes = read(text, quoting="none")
    assert unquoted == [('"good day', "pos"), ("bad day", "neg"), ('other day"', "pos"), ("fine", "neg")]
    assert notes[-1] == "All quotation marks were read as text, as requested."
    merged = f"good day{separator}pos\nbad day{separator}neg\nother day"
    assert read(text, quoting="double")[0] == [(merged, "pos"), ("fine", "neg")]


def test_merged_rows_without_labels_are_refused_too() -> None:
    assert "opens in line 2 closes in line 4" in refused('question,claim\n"q1,c1\nq2,c2\nq3",c3\nq4,c4\n')
    assert "opens in line 2 closes in line 3" in refused('a,b,c\n"1,2,3\n4,5",6\n7,8,9\n')


@pytest.mark.parametrize(
    "cell",
    [
        "Dear Sir, how\nare you",
        "one,two\nthree",
        "first line, with a comma\nsecond line, with a comma\nthird",
        "a\n\nb",
        'say "hello, you"\nthen, go',
        "1,000\n2,000\n3",
    ],
)
def test_a_cell_with_line_ends_stays_one(cell: str) -> None:
    """Also where each of its lines has as many commas as a row."""
    rows = [("x", "pos"), ("y", "neg"), ("z", "pos"), (cell, "neg"), ("w", "neg")]
    out = io.StringIO(newline="")
    csv.writer(out).writerows([("text", "label"), *rows])
    assert read(out.getvalue()) == (rows, [])


def test_a_mark_that_never_closes_is_named_where_it_opens() -> None:
    said = refused('text,label\nx,pos\n"good day,pos\nbad day,neg\n')
    assert "line 3 is not valid CSV" in said
    assert "--quoting none" in said


def test_a_mark_that_never_closes_holds_no_more_than_some_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialect, "MOST_LINES", 50)
    lines = [f"day {k}" for k in range(200)]
    assert "line 2 is not valid CSV (a cell has more than 50 lines)" in refused("a,b\n" + '"x,1\n' + "y,2\n" * 200)
    rows, _ = read("a\tb\n" + '"x\t1\n' + "".join(f"{line}\t2\n" for line in lines), "d.tsv")
    assert rows == [('"x', "1"), *((line, "2") for line in lines)]


def test_a_row_of_another_size_says_where_it_begins() -> None:
    said = refused('a,b,c\n"x, y\nz",1\n')
    assert "row 1 (line 3), which begins in line 2, has 2 cells, the header has 3" in said
    assert "--quoting none" in said


@given(st.lists(st.tuples(st.text("ab \n\"'", max_size=8), st.text("xy,\n", max_size=5)), min_size=1, max_size=6))
def test_what_is_read_with_quotes_is_what_was_written(rows: list[tuple[str, str]]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("k", "a", "b"), *(("k", *row) for row in rows)])
    assert read(out.getvalue(), quoting="double")[0] == [("k", *row) for row in rows]


def test_quoting_is_for_tables_alone(store: Store) -> None:
    with pytest.raises(SettingError, match=r"but d.jsonl is not CSV or TSV: leave it out \(--quoting\)"):
        open_source("d.jsonl", b"{}", quoting="none")
    with pytest.raises(SettingError, match="use one of double, none"):
        open_source("d.csv", b"a\n", quoting="maybe")


def test_quoting_by_command_line(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "d.csv"
    path.write_text(SWALLOWED.format(",", '"'), encoding="utf-8")
    arguments = ["import", str(path), "--task", "classification", "--labels", "pos,neg", "--json"]
    assert main(arguments) == 1
    assert "--quoting none" in capsys.readouterr().err
    assert main([*arguments, "--quoting", "none"]) == 0
    assert json.loads(capsys.readouterr().out)["examples"] == 4
    assert list(load_gold(store, "d").labels.values()) == ["pos", "neg", "pos", "neg"]


# -- what is no row, and no column


@pytest.mark.parametrize("end", ["", ",,,\n", ",,,\n,,,\n", "\n \n"])
def test_empty_columns_and_rows_at_the_end_are_left_out(end: str) -> None:
    rows, notes = read(f"text,label,,\ngood day,pos,,\nbad day,neg,,\n{end}")
    assert rows == DAYS
    assert notes[0] == "2 columns without a name or a text were left out: 3, 4."


def test_fewer_rows_than_lines_are_said() -> None:
    rows, notes = read('text,label\n\n"good\nday",pos\n,\nbad day,neg\n,\n')
    assert rows == [("good\nday", "pos"), ("bad day", "neg")]
    said = "Rows read: 2. Lines below the header: 6, of which 1 blank, 2 nothing but empty cells, 1 inside a cell."
    assert notes == [said]
    assert read('text,label\n"good\nday",pos\n')[1] == []


def test_cells_beyond_the_header() -> None:
    rows, notes = read("text,label\ngood day,pos,\nbad day,neg,,\n")
    assert rows == DAYS
    assert notes == ["Empty cells beyond the columns of the header were left out (rows: 2)."]
    assert "row 2 (line 3) has 3 cells" in refused("text,label\ngood day,pos,\nbad day,neg,x\n")
    assert read("text,label,\ngood day,pos\nbad day,neg\n")[0] == DAYS


def test_the_index_of_pandas_is_a_column() -> None:
    source = open_source("d.csv", b",text,label\n0,good day,pos\n1,bad day,neg\n")
    assert source.columns == ("column_1", "text", "label")
    assert source.notes == ("A column without a name was called: column_1.",)
    assert open_source("d.csv", b"column_1,,b\n1,2,3\n").columns == ("column_1", "column_2", "b")


def test_empty_rows_above_the_header() -> None:
    assert read(",,\n\ntext,label,\ngood day,pos,\nbad day,neg,\n")[0] == DAYS


def test_notes_reach_the_import_and_the_preview(store: Store) -> None:
    content = b"text,label,\ngood day,pos,\nbad day,neg,\n,,\n"
    report = import_file(store, "d.csv", "classification", labels=("pos", "neg"), content=content)
    said = "A column without a name or a text was left out: 3."
    assert report.rows == 2
    assert said in report.notes
    assert said in preview("d.csv", content=content, task="classification", labels=("pos", "neg")).notes


def test_a_table_of_tabs_is_settled_before_its_rows_are_given(store: Store) -> None:
    """A stray mark far below what a preview looks at."""
    rows = "".join(f"day {k}\t{('pos', 'neg')[k % 2]}\n" for k in range(3000))
    content = f'text\tlabel\n{rows}"stray\tpos\nlast\tneg\n'.encode()
    assert preview("d.tsv", content=content, task="classification", labels=("pos", "neg")).problem is None
    report = import_file(store, "d.tsv", "classification", labels=("pos", "neg"), content=content)
    assert report.rows == 3002
    assert store.dataset("d").examples[3000].fields == {"text": '"stray'}
