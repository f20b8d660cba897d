"""The import form of one file: its format, column mapping, preview of prompts, validation, saving."""

from dataclasses import replace
from typing import Any

import streamlit as st

from icm_engine.analysis.datasets import rule_sentences
from icm_engine.analysis.figures import cells_frame
from icm_engine.analysis.formatting import SIGNS, without_flags
from icm_engine.analysis.import_form import Choices, ImportTrial, IncomingFile, fields_of, look, save, tasks, try_out
from icm_engine.analysis.run_form import ABOUT, rules
from icm_engine.core.errors import IcmError
from icm_engine.data.import_plan import Preview
from icm_engine.data.row_parser import TIES
from icm_engine.store.store import Store
from pages.parts import session

OWN_RULE = "the task's own"
UNUSED = "not used"
ENCODINGS = ("windows-1252", "iso-8859-15", "utf-16", "gb18030", "shift_jis", "koi8-r")
TIES_SAID = {"refuse": "refuse the file", "drop": "leave the rows out", "keep": "keep the rows without gold"}
MARKS = {None: "as the file shows", "double": "they quote cells", "none": "they are text"}
PROMPT_HEIGHT = 420  # pixels of a long prompt, which is then scrolled
LONG = 700  # characters
FIELD_HELP = {
    "group": "Examples with the same cell here are one consistency group. Not used: the question, else each its own.",
    "answer": "A column of final answers. Not used: they are read from the claim, where the rule needs them. The "
    "reference solution must not be chosen here: it would bring gold into the rule.",
    "id": "A unique name of each example. Not used: a hash of its texts.",
    "gold": "The true label, kept apart: used for comparison only, never seen by the search.",
}


def show(file: IncomingFile, key: str) -> None:
    """Draw the form of a file; `key` is unique to it."""
    read = _read(file, key)
    if read is None:
        return
    file, key, guess = read
    _rows(guess)
    choices = _choices(file, guess, key)
    found = _look(file, key, choices)
    for note in found.notes:
        st.text(f"· {without_flags(note)}")
    if found.problem:
        st.warning("Not ready yet:", icon=":material/rule:")
        session.message(found.problem)
    prompts, checks = st.columns([3, 2], gap="large")
    with prompts:
        _prompts(found)
    with checks:
        ready = _checks(file, key, choices, found)
        st.button(
            "Save as a data set",
            type="primary",
            icon=":material/save:",
            key="save",
            disabled=not ready,
            on_click=_save,
            args=(file, choices),
        )
        if error := st.session_state.pop("save_problem", None):
            session.complain(error)


def _read(file: IncomingFile, key: str) -> tuple[IncomingFile, str, Preview] | None:
    """The file with the encoding to read it, which is part of its key; if unreadable, ask for the encoding."""
    asked, marks = st.session_state.get(f"encoding_{key}"), _marks(file, key)
    split, several = st.session_state.get(f"split_{key}", ""), False
    named, found = replace(file, encoding=asked, quoting=marks, split=split), None
    try:
        found = _look(named, f"{key}:{asked}:{marks}:{split}", None)
    except IcmError as error:
        several = "--split" in str(error)
        session.complain(error)
    if split or several:
        st.text_input("Split", key=f"split_{key}", help="Which of the data sets in it is meant.", width=300)
    if asked is not None or (found is None and not several):
        st.selectbox(
            "Encoding",
            ENCODINGS,
            None,
            key=f"encoding_{key}",
            accept_new_options=True,
            placeholder="as the file says",
            help="How the text of the file is written, if it is not UTF-8.",
            width=300,
        )
    return None if found is None else (named, f"{key}:{asked}:{marks}:{split}", found)


def _marks(file: IncomingFile, key: str) -> str | None:
    """Draw the choice of how quotation marks are read in a delimited file."""
    if not file.table:
        return None
    asked: str | None = st.selectbox(
        "Quotation marks",
        tuple(MARKS),
        key=f"quoting_{key}",
        format_func=MARKS.__getitem__,
        width=300,
        help="Whether they quote a cell, so that it may hold separators and line ends, or are part of its text.",
    )
    return asked


@st.cache_data(max_entries=40, show_spinner=False)
def _look(_file: IncomingFile, key: str, choices: Choices | None) -> Preview:
    return look(_file, choices)


@st.cache_data(max_entries=20, show_spinner="Checking the whole file …")
def _trial(_file: IncomingFile, key: str, choices: Choices) -> ImportTrial:
    return try_out(_file, choices)


def _rows(guess: Preview) -> None:
    total = f"{guess.total:,} rows" if guess.total is not None else "Many rows"
    with st.expander(f"{total}, {len(guess.columns)} columns: the first {len(guess.rows)}", icon=":material/table:"):
        frame = cells_frame(guess.columns, guess.rows)
        st.dataframe(frame, hide_index=True, height=240, alt="The first rows of the file")


def _choices(file: IncomingFile, guess: Preview, key: str) -> Choices:
    """Draw a person's choices, initially as guessed; every file and task has widgets of its own."""
    task_place, name_place, rule_place = st.columns(3, gap="medium")
    names = list(tasks())
    place = names.index(guess.task) if guess.task else 0
    task = task_place.selectbox("Task", names, place, key=f"task_{key}", help="What is asked of every example.")
    name = name_place.text_input("Name of the data set", file.dataset, key=f"name_{key}")
    rule = rule_place.selectbox("Rule", (OWN_RULE, *rules()), key=f"rule_{key}_{task}", help=ABOUT["rule"])
    st.caption(f"{tasks()[task].summary} Its own rule: {tasks()[task].rule}.")
    labels: list[str] = []
    if not tasks()[task].labels:
        labels = st.multiselect(
            "Labels",
            [],
            key=f"labels_{key}_{task}",
            accept_new_options=True,
            placeholder="type a label, then Enter",
            help="The possible labels: two or more.",
        )
    ties, first = _pair_gold(f"{key}_{task}") if tasks()[task].makes_twins else (TIES[0], None)
    found = _look(file, key, Choices(task, "", {}, labels=labels, ties=ties, first=first))
    mapping = _mapping(found.columns, found, f"{key}_{task}", task)
    return Choices(task, name.strip(), mapping, None if rule == OWN_RULE else rule, tuple(labels), ties, first)


def _pair_gold(key: str) -> tuple[str, str | None]:
    """Draw how gold of pairs is read: what happens to ties, and which cell means the first response."""
    ties_place, first_place = st.columns(2, gap="medium")
    ties = ties_place.selectbox(
        "Ties",
        list(TIES),
        key=f"ties_{key}",
        format_func=TIES_SAID.__getitem__,
        help="Rows whose gold says that neither response is better.",
    )
    first = first_place.text_input(
        "First response",
        key=f"first_{key}",
        placeholder="as usually spelled",
        help="The cell of the gold column that means: response A is better. For a column that counts the other way.",
    )
    return ties, first.strip() or None


def _mapping(columns: tuple[str, ...], guess: Preview, key: str, task: str) -> dict[str, Any]:
    """Draw a choice of column for every field, and the columns of human labels."""
    st.markdown("**Column mapping**")
    fields, options = fields_of(task), [UNUSED, *columns]
    mapping: dict[str, Any] = {}
    places = [place for _ in range(0, len(fields) + 1, 4) for place in st.columns(4, gap="medium")]
    for place, field in zip(places, fields, strict=False):
        guessed = guess.mapping.get(field, UNUSED)
        chosen = place.selectbox(
            field.replace("_", " "),
            options,
            options.index(guessed) if guessed in options else 0,
            key=f"map_{key}_{field}",
            help=FIELD_HELP.get(field, "A text of the prompt."),
        )
        mapping[field] = "" if chosen == UNUSED else chosen
    human = [column for column in guess.mapping.get("human", ()) if column in columns]
    mapping["human"] = places[len(fields)].multiselect(
        "human labels",
        columns,
        human,
        key=f"map_{key}_human",
        placeholder=UNUSED,
        help="Labels by people, one column per source. A baseline, never seen by the search.",
    )
    return mapping


def _prompts(found: Preview) -> None:
    st.markdown("**What the model will see**")
    if not found.prompts:
        st.text("The prompts appear here once every field has its column.")
        return
    for tab, prompt in zip(st.tabs([f"Prompt {k + 1}" for k in range(len(found.prompts))]), found.prompts, strict=True):
        with tab:
            session.exactly(prompt, PROMPT_HEIGHT if len(prompt) > LONG else "content")
    space, line, tabulator, _ = SIGNS.values()
    st.caption(
        f"Every space is {space}, every line end {line}, every tab {tabulator}. The labels shown are placeholders for "
        "those of a search; the label to predict follows after one more space."
    )


def _checks(file: IncomingFile, key: str, choices: Choices, found: Preview) -> bool:
    """Draw the validation of the whole file; return whether it can be saved."""
    st.markdown("**Validation**")
    if found.problem:
        st.text("The checks run once the file fits the task.")
        return False
    if not file.small:
        st.text(
            f"The file has {file.size / 1e6:,.0f} MB. It is checked during the import, in the background; "
            "nothing is kept if a row is refused."
        )
        return True
    try:
        trial = _trial(file, key, choices)
    except IcmError as error:
        session.complain(error)
        return False
    _trial_tiles(trial)
    for sentence in rule_sentences(trial.check):
        st.text(f"· {without_flags(sentence)}")
    for note in trial.report.notes:
        if note not in found.notes:
            st.text(f"· {without_flags(note)}")
    return True


def _trial_tiles(trial: ImportTrial) -> None:
    report, check = trial.report, trial.check
    violated = f"{check.gold_violated:,}" if check.gold_pairs else "–"
    with st.container(key="checks"):
        for name, value, meaning in (
            ("Examples", f"{report.examples:,}", "With the swapped twins, where the task makes them."),
            ("Groups", f"{report.groups:,}", "Consistency groups."),
            ("Constraints", f"{check.pairs:,}", "Pairs of examples that the rule constrains."),
            ("Without answer", f"{check.without_answer_count:,}", "Examples that the rule does not apply to."),
            ("Gold labels", f"{report.gold_labels:,}", "Examples whose true label is known."),
            ("Gold violations", violated, "Constrained pairs in which gold itself violates the rule."),
        ):
            st.metric(name, value, border=True, help=meaning)


def _save(file: IncomingFile, choices: Choices) -> None:
    try:
        with Store() as store:
            job = save(store, file, choices)
        if job is None:
            session.choose_dataset(choices.name, arrived=True)
        else:
            st.query_params["job"] = job
    except IcmError as error:
        st.session_state["save_problem"] = error
