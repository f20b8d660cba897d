"""Data: import a file in three steps (file, columns, check and save); browse the data sets."""

from typing import Any

import streamlit as st

from icm_engine.analysis.import_form import IncomingFile, at_path, data_folder, files_there
from icm_engine.core.errors import IcmError
from icm_engine.store.store import Store
from pages.parts import datasets, home, import_form, menu, session

FORMATS = "CSV, TSV, JSON, JSON Lines, Parquet or Arrow"
WAYS = ("Upload a file", "A file on this machine")


def show() -> None:
    """Draw the choice of a file; once chosen, its form."""
    with st.container(border=True, key="arrival"):
        st.header("Add a data set")
        import_form.heading("file")
        way = st.segmented_control(
            "Where is it?", WAYS, default=WAYS[0], required=True, key="way", label_visibility="collapsed"
        )
        try:
            found = _uploaded() if way == WAYS[0] else _on_this_machine()
            if found is not None:
                import_form.show(*found)
        except IcmError as error:
            import_form.complain(error)


def _uploaded() -> tuple[IncomingFile, str] | None:
    """The uploaded file and a unique key for it."""
    # no list of types: Streamlit's refusal names a MIME type, the importer's says what to do
    file: Any = st.file_uploader(f"One example a row: {FORMATS}", key="upload")
    if file is None:
        return None
    return IncomingFile(file.name, file.size, content=file.getvalue()), file.file_id


def _on_this_machine() -> tuple[IncomingFile, str] | None:
    """The file at the typed path, or the one chosen from the list next to it."""
    typed, listed = st.columns([3, 2], gap="medium")
    root = data_folder()
    text = typed.text_input(
        "Path",
        key="path",
        placeholder=f"inside {root}",
        help=f"A file inside {root}, or a folder that the library datasets saved there. "
        "The environment variable ICM_DATA names another data folder when the app starts.",
    )
    listed.selectbox("Files there", files_there(), None, key="listed", on_change=_listed, placeholder="choose one")
    if not text.strip():
        return None
    file = at_path(text)
    assert file.path is not None
    return file, f"{file.path}:{file.size}:{file.path.stat().st_mtime_ns}"


def _listed() -> None:
    if st.session_state["listed"]:
        st.session_state["path"] = st.session_state["listed"]


menu.require(home.show)

try:
    with Store() as store:
        names = store.dataset_names()
        dataset = session.chosen_dataset(names)
        datasets.heading(names, dataset)
        if dataset is None:
            show()
            datasets.show_list(store)
        else:
            datasets.show_dataset(store, dataset)
except IcmError as error:
    session.complain(error)
