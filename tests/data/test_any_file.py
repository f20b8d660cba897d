"""Any file at all: every reader gives a valid task or the project's own error, and what comes in is what was there.

10,000 generated files, a fifth of them in `make test`, or as many as you like:

    ICM_FILES=1000000 python -m pytest --timeout=0 tests/data/test_any_file.py
"""

import csv
import io
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icm_engine.core.errors import IcmError
from icm_engine.core.prompting import render
from icm_engine.data.gold import load_gold
from icm_engine.data.import_plan import ImportOptions, open_rows, plan_import, preview
from icm_engine.data.importing import import_file
from icm_engine.data.row_parser import ParsedRow
from icm_engine.data.tasks import TASKS
from icm_engine.data.tasks.spec import parse_task
from icm_engine.store.store import Store

FILES = int(os.environ.get("ICM_FILES", "10000"))  # over all readers
FORMS = {"csv": 0.25, "tsv": 0.1, "json": 0.25, "jsonl": 0.2, "parquet": 0.15, "arrow": 0.05}  # their shares
HEADS = {
    "csv": [b"", b"question,claim\n", b"id,question,claim,gold\nx,q,c,1\n", b"\xff\xfeq\0,\0", b'question;claim\n"'],
    "tsv": [b"", b"question\tclaim\n", b"question\tclaim\nq\tc\n"],
    "json": [
        b"",
        b"[",
        b'[{"question": "q", "claim": "c"}',
        b'[{"question": "q", "claim": ',
        b'{"question": "q", "claim": "c"}\n',
    ],
    "jsonl": [b"", b'{"question": "q", "claim": "c"}\n', b'{"question": "q", "claim": "c", "gold": ', b"\xef\xbb\xbf{"],
}
ENCODINGS = st.sampled_from([None, None, None, "utf-16", "cp1252", "shift_jis"])


def _parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"question": ["q", "q"], "claim": ["c", "d"], "gold": [1, 0]}), out)
    return out.getvalue()


def _arrow() -> bytes:
    out, table = io.BytesIO(), pa.table({"question": ["q", "q"], "claim": ["c", "d"], "gold": [1, 0]})
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


WHOLE = {"parquet": _parquet(), "arrow": _arrow()}


@st.composite
def contents(draw: st.DrawFn, form: str) -> bytes:
    """A beginning that the form may have, and any bytes; of binary forms, a good file with some bytes changed."""
    if form not in WHOLE:
        text = st.text(max_size=30).map(lambda words: words.encode("utf-8", "surrogatepass"))
        return draw(st.sampled_from(HEADS[form])) + draw(st.one_of(st.binary(max_size=60), text))
    content = bytearray(WHOLE[form])
    for place, byte in draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=4)):
        content[place] = byte
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


def taken(content: bytes, form: str, encoding: str | None) -> list[ParsedRow]:
    """What an import would store of a file, every row checked to be one; nothing if the file is refused."""
    try:
        source = open_rows(f"d.{form}", content, encoding, None)
        prepared = plan_import(
            TASKS["truthfulness"], source.name, source.columns, source.head(10)[1], ImportOptions({})
        )
        made: list[ParsedRow] = []
        survey = prepared.builder.survey(source.records())
        for row in prepared.builder.rows(source.records(), survey, lambda place: made[place].example.id):
            made.append(row)
    except IcmError:
        return []
    assert made
    for row in made:
        assert render(prepared.task, row.example).endswith("I think this claim is")
        assert row.gold in (None, "True", "False")
        json.dumps([row.example.id, dict(row.example.fields), dict(row.inputs)]).encode()
    assert len({row.example.id for row in made}) == len(made) == survey.rows
    return made


@pytest.mark.parametrize("part", [0.2, pytest.param(1.0, marks=pytest.mark.slow)], ids=["a fifth", "all"])
@pytest.mark.parametrize("form", FORMS)
def test_any_bytes_are_a_valid_task_or_refused(form: str, part: float) -> None:
    files = int(FILES * FORMS[form] * part)

    @settings(max_examples=files, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(content=contents(form), encoding=ENCODINGS if form in HEADS else st.none())
    def check(content: bytes, encoding: str | None) -> None:
        accepted.append(bool(taken(content, form, encoding)))

    accepted: list[bool] = []
    check()
    assert len(accepted) >= files
    assert 0 < sum(accepted) < len(accepted)  # both kinds were among them


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(form=st.sampled_from(list(HEADS)), data=st.data())
def test_what_is_refused_leaves_nothing_behind(store: Store, form: str, data: st.DataObject) -> None:
    content, name = data.draw(contents(form)), f"d{len(store.dataset_names())}"
    try:
        report = import_file(store, f"d.{form}", "truthfulness", name, content=content)
    except IcmError:
        assert not store.has_dataset(name)
        assert not list(store.path.parent.glob(".import.*"))
    else:
        assert len(store.dataset(name).examples) == report.examples == store.dataset_info(name).examples > 0


@settings(max_examples=300, deadline=None)
@given(form=st.sampled_from(list(FORMS)), data=st.data())
def test_a_preview_says_what_is_wrong_instead_of_failing(form: str, data: st.DataObject) -> None:
    content = data.draw(contents(form))
    try:
        found = preview(f"d.{form}", content=content, task="truthfulness")
    except IcmError:
        return
    assert (found.problem is None) == bool(found.prompts)


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(max_size=80), st.text(max_size=40).map(lambda text: f"template = '{{x}} {text}'\n{text}")))
def test_any_text_is_a_task_file_or_refused(text: str) -> None:
    try:
        spec = parse_task(text, "mine", "task file mine.toml")
    except IcmError:
        return
    assert spec.fields


TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=12).filter(str.strip)
NAMES = st.text(st.characters(categories=["L", "N", "P"], codec="utf-8"), min_size=1, max_size=8)
CLAIMS = st.tuples(NAMES, TEXT, TEXT, st.sampled_from(["True", "false", "1", "0", "yes", "NO", "1.0", ""]))
MEANT = {"True": "True", "1": "True", "yes": "True", "1.0": "True", "false": "False", "0": "False", "NO": "False"}


def written(form: str, rows: list[dict[str, str]]) -> bytes:
    """The rows as a file of this form."""
    if form == "json":
        return json.dumps(rows).encode()
    if form == "jsonl":
        return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()
    if form == "parquet":
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), out)
        return out.getvalue()
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter="\t" if form == "tsv" else ",", quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(CLAIMS, min_size=1, max_size=6, unique_by=lambda row: row[0]),
    form=st.sampled_from(["csv", "tsv", "json", "jsonl", "parquet"]),
)
def test_ids_texts_and_labels_come_in_as_they_were(store: Store, rows: list[tuple[str, ...]], form: str) -> None:
    table = [dict(zip(("id", "question", "claim", "gold"), row, strict=True)) for row in rows]
    name = f"d{len(store.dataset_names())}"
    import_file(store, Path(f"d.{form}"), "truthfulness", name, content=written(form, table))
    dataset = store.dataset(name)
    assert [(e.id, e.fields["question"], e.fields["claim"]) for e in dataset.examples] == [row[:3] for row in rows]
    assert load_gold(store, name).labels == {row[0]: MEANT[row[3]] for row in rows if row[3]}
    assert all("gold" not in cells for cells in dataset.inputs)
