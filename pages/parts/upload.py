"""A file to import: chosen, previewed as it is, and only then imported."""

from typing import Any

import streamlit as st

from icm_engine.analysis.choices import ABOUT, IcmError, Store, rules
from icm_engine.analysis.frames import cells_frame
from icm_engine.data.importing import Preview, import_file, preview
from icm_engine.data.tasks import TASKS
from pages.parts import session

OWN_RULE = "the task's own"
KINDS = ("csv", "json", "jsonl")


def show() -> None:
    """Draw the uploader; with a file, its preview and the button that imports it."""
    title = "Or import a data set of your own"
    with st.expander(title, icon=":material/upload_file:", expanded="imported" in st.session_state):
        file = st.file_uploader("CSV, JSON or JSONL, one example a row", KINDS, key="upload")
        if report := st.session_state.pop("imported", None):
            _report(report)
        if file is None:
            return
        try:
            _preview(file, preview(file.name, content=file.getvalue()))
        except IcmError as error:
            session.complain(error)


def _preview(file: Any, found: Preview) -> None:
    st.text(f"{found.total:,} rows; the first {len(found.rows)}:")
    st.dataframe(cells_frame(found.columns, found.rows), hide_index=True, height=240, alt="The first rows of the file")
    for note in found.notes:
        st.text(note)
    task, name, rule = st.columns(3, gap="medium")
    tasks = list(TASKS)
    place = tasks.index(found.task) if found.task else 0
    chosen = task.selectbox("Task", tasks, place, key="upload_task", help="What is asked of every example.")
    name.text_input("Name", file.name.rsplit(".", 1)[0], key="upload_name")
    rule.selectbox("Rule", (OWN_RULE, *rules()), key="upload_rule", help=ABOUT["rule"])
    if not TASKS[chosen].labels:
        st.text_input("Labels, with commas between", key="upload_labels")
    st.text(TASKS[chosen].summary)
    st.button("Import", key="import", icon=":material/download_done:", on_click=_import)
    if error := st.session_state.pop("import_problem", None):
        session.complain(error)


def _import() -> None:
    """Import what the form says now."""
    now = st.session_state
    file, name = now["upload"], now["upload_name"].strip()
    rule = None if now["upload_rule"] == OWN_RULE else now["upload_rule"]
    labels = [label.strip() for label in now.get("upload_labels", "").split(",") if label.strip()]
    try:
        with Store() as store:
            now["imported"] = import_file(
                store, file.name, now["upload_task"], name, rule=rule, labels=labels, content=file.getvalue()
            )
        now["dataset"] = name
    except IcmError as error:
        now["import_problem"] = error


def _report(report: Any) -> None:
    st.success("Imported. It is chosen as the data set above.", icon=":material/check_circle:")
    gold = f"gold apart from column {report.gold_column!r}" if report.gold_column else "no gold"
    st.text(f"{report.dataset}: {report.examples:,} examples, {report.constraints:,} constrained pairs, {gold}")
    for note in report.notes:
        st.text(note)
