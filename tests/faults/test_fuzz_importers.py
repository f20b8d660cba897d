"""Whole imports of files that nobody meant: mutated real ones, tables of hostile cells, in every form and encoding.

What is refused is refused in the project's own words, and leaves nothing behind; what is taken can be read back.
`tests/data/test_any_file.py` goes through the readers with more files, and without a database.
"""

import csv
import gzip
import io
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from icm_engine.core.errors import IcmError
from icm_engine.data.import_plan import preview
from icm_engine.data.importing import import_file
from icm_engine.data.tasks import TASKS
from icm_engine.data.tasks.spec import KEYS, parse_task
from icm_engine.store.store import Store
from tests.support.faults import Fault
from tests.support.paths import ROOT

SAMPLES = ROOT / "sample_data"
REAL = {
    path.name: b"".join(path.read_bytes().splitlines(keepends=True)[:12])
    for path in (SAMPLES / "arithmetic.csv", SAMPLES / "facts.csv", SAMPLES / "comparisons.csv", SAMPLES / "sun.csv")
}
COLUMNS = ("question", "claim", "choice", "query", "response_a", "response_b", "text", "group", "id", "gold", "human",
           "answer", "a_is_better", "icm_label", "=1+1", "", " ", "\u202e", "x" * 300)  # fmt: skip
CELLS = st.one_of(
    st.sampled_from([
        "", " ", "q", "c", "True", "False", "1", "0", "yes", "nan", "NaN", "-1", "1e999", "9" * 400, "'", '"', "\r",
        "\n", "=cmd()", "\u202eabc", "\u200b", "\x1b[2J", "<script>", "a\tb", "#### 4", "A: 4", "\ufeff", "\U0010ffff",
    ]),
    st.text(max_size=12), st.integers(), st.floats(), st.booleans(), st.none(), st.binary(max_size=4),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=2), st.none(), max_size=2),
)  # fmt: skip
ENCODINGS = (
    None, "utf-8", "utf-16", "utf-32", "utf-7", "cp1252", "idna", "punycode", "rot13", "unicode_escape", "hex",
    "raw_unicode_escape", "undefined", "mbcs", "x\0y", "", "utf-8-sig", "cp037",
)  # fmt: skip
LABELS = ((), ("A", "B"), ("A",), ("A", "A"), ("", " "), ("a\0", "b"), ("True", "x" * 500))
PIECES = (b"", b"\0", b'"', b"\xff", b"\n", b",", b"{" * 2000, b"[" * 2000, b"\xed\xa0\x80", b"\r")
RULES = (None, None, "none", "exactly-one", "same-answer", "asymmetry", "magic", "rule.py", "x.py#sha256=" + "0" * 64)
ANY = st.booleans()
pytestmark = pytest.mark.usefixtures("subnormal_floats")
EACH = settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    any_columns = st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=5)
    columns = draw(st.one_of(st.just(["question", "claim"]), st.just(["id", "claim", "question", "gold"]), any_columns))
    return [{column: draw(CELLS) for column in columns} for _ in range(draw(st.integers(0, 4)))]


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerows([list(rows[0]) if rows else [], *([*map(str, row.values())] for row in rows)])
    return out.getvalue().encode("utf-8", "surrogatepass")


def as_json(rows: list[dict[str, Any]]) -> bytes:
    return json.dumps(rows, default=repr).encode("utf-8", "surrogatepass")


def as_lines(rows: list[dict[str, Any]]) -> bytes:
    return b"\n".join(
        json.dumps(row, default=repr, ensure_ascii=False).encode("utf-8", "surrogatepass") for row in rows
    )


def as_table(rows: list[dict[str, Any]]) -> pa.Table:
    """The rows as Arrow has them; cells that do not go together in a column as texts."""
    columns: dict[str, pa.Array] = {}
    for name in rows[0] if rows else ("question",):
        cells = [row[name] for row in rows]
        try:
            columns[name] = pa.array(cells)
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            columns[name] = pa.array([str(cell).encode("utf-8", "replace").decode() for cell in cells])
    return pa.table(columns)


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    try:
        pq.write_table(as_table(rows), out)
    except pa.ArrowException:  # a type that Parquet has not
        return b"PAR1"
    return out.getvalue()


def as_arrow(rows: list[dict[str, Any]]) -> bytes:
    out, table = io.BytesIO(), as_table(rows)
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def as_feather(rows: list[dict[str, Any]]) -> bytes:
    out, table = io.BytesIO(), as_table(rows)
    with pa.ipc.new_file(out, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)
    return out.getvalue()


FORMS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "csv": as_csv, "tsv": as_csv, "json": as_json, "jsonl": as_lines, "parquet": as_parquet, "arrow": as_arrow,
    "feather": as_feather, "csv.gz": lambda rows: gzip.compress(as_csv(rows)),
}  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes with some changed, taken out, put in or said twice; half of the time as they are."""
    if not content or draw(st.booleans()):
        return content
    for _ in range(draw(st.integers(1, 3))):
        place, length = draw(st.integers(0, len(content))), draw(st.integers(0, 40))
        piece = draw(st.sampled_from(PIECES))
        kept = content[place + length :]
        content = (
            content[:place] + draw(st.sampled_from([piece, piece * 2, content[place : place + length] * 2])) + kept
        )
    return content


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes, str]:
    """A file's name, its content, and a task; half of the time one that could fit."""
    if draw(ANY):
        name = draw(st.sampled_from(sorted(REAL)))
        fits = name.removesuffix(".csv")
        return name, draw(damaged(REAL[name])), draw(st.sampled_from(sorted(TASKS) if draw(ANY) else [fits]))
    form = draw(st.sampled_from(sorted(FORMS)))
    task = draw(st.sampled_from(sorted(TASKS) if draw(ANY) else ["truthfulness"]))
    return f"d.{form}", draw(damaged(FORMS[form](draw(tables())))), task


@st.composite
def wishes(draw: st.DrawFn) -> dict[str, Any]:
    """What a person might ask beside the file."""
    names = st.sampled_from([*COLUMNS, "nothing"])
    fields = st.sampled_from(["question", "claim", "text", "group", "id", "gold", "answer", "nothing"])
    mapping: dict[str, Any] = draw(st.dictionaries(fields, names, max_size=2))
    if draw(st.booleans()):
        mapping["human"] = draw(st.lists(names, max_size=2))
    return {
        "mapping": mapping,
        "rule": draw(st.sampled_from(RULES)),
        "labels": draw(st.sampled_from(LABELS)),
        "encoding": draw(st.sampled_from(ENCODINGS)),
    }  # fmt: skip


def refused(act: Callable[[], object]) -> str | None:
    """What is said where something is refused, None where it is done. Whatever else is raised goes on."""
    try:
        act()
    except IcmError as error:
        return str(error).strip() or "nothing"
    return None


def counts(store: Store) -> tuple[int, ...]:
    tables = ("datasets", "examples", "gold", "human")
    return tuple(store.db.execute(f"select count(*) from {table}").fetchone()[0] for table in tables)


@pytest.mark.fault(
    "malformed files: damaged real ones, tables with hostile cells, wrong encodings, columns, rules and labels",
    "each becomes a data set that can be read back, or is refused in one sentence without leaving anything",
)
def test_any_file_is_imported_whole_or_refused_whole(store: Store, fault: Fault) -> None:
    seen = {"taken": 0, "refused": 0}

    @seed(8)
    @settings(EACH, max_examples=fault.times(quick=300, long=2_000))
    @given(file=files(), wish=st.one_of(st.just({}), wishes()))
    def each(file: tuple[str, bytes, str], wish: dict[str, Any]) -> None:
        (name, content, task), before, as_named = file, counts(store), f"d{seen['taken']}"
        said = refused(lambda: import_file(store, name, task, as_named, content=content, **wish))
        if said is None:
            examples = store.dataset(as_named).examples
            assert len(examples) == store.dataset_info(as_named).examples > 0
            "".join(text for example in examples for text in example.fields.values()).encode()  # no half of a pair
        else:
            assert counts(store) == before
        seen["taken" if said is None else "refused"] += 1
        refused(lambda: preview(name, content=content, task=task, **wish))
        assert not list(store.path.parent.glob(".import.*"))

    each()
    assert seen["taken"] > 5
    assert seen["refused"] > 5
    fault.happened = f"{seen['taken']:,} became data sets, {seen['refused']:,} were refused; no other error was raised"


TOML_VALUES = st.one_of(
    st.sampled_from(['""', '"x"', "1", "-1", "true", "[]", '["a", "b"]', "{}", "[[1]]", "1979-05-27", "inf",
                     '"{claim}"', '"{claim} {id} "', '"(("', '"(a+)+$"', '"\\u202E"', '["True", "True"]', '["", " "]',
                     "9" * 400,
                     "[" * 3000, '"(?P<x>a)"', '"' + "x" * 10_000 + '"', '{"question" = ["a"]}', '{"claim" = 3}']),
    st.text(max_size=8),
)  # fmt: skip
TOML_LINES = st.builds(lambda key, value: f"{key} = {value}", st.sampled_from([*KEYS, "x", '"\\u0000"']), TOML_VALUES)


@pytest.mark.fault(
    "malformed task files: values of wrong types, damaged built-in files, arbitrary text",
    "each is a task that makes prompts, or is refused in one sentence",
)
def test_any_task_file_is_a_task_or_refused(fault: Fault) -> None:
    shipped = [path.read_text(encoding="utf-8") for path in (SAMPLES.parent / "icm_engine/data/tasks").glob("*.toml")]
    seen = {"tasks": 0, "refused": 0}
    lines = st.lists(TOML_LINES, max_size=5).map("\n".join)
    cut = st.builds(lambda text, a, b, put: text[:a] + put + text[a + b :], st.sampled_from(shipped),
                    st.integers(0, 600), st.integers(0, 60), st.text(max_size=5))  # fmt: skip

    @seed(8)
    @settings(EACH, max_examples=fault.times(quick=300, long=8_000))
    @given(
        text=st.one_of(lines, lines.map(lambda text: f'template = "{{claim}} is"\n{text}'), cut, st.text(max_size=50))
    )
    def each(text: str) -> None:
        said = refused(lambda: parse_task(text, "mine", "task file mine.toml"))
        assert said is None or "mine.toml" in said
        seen["tasks" if said is None else "refused"] += 1

    each()
    assert seen["tasks"] > 5
    fault.happened = f"{seen['tasks']:,} were tasks, {seen['refused']:,} were refused; no other error was raised"
