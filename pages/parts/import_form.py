"""The import form of one file, in three steps: how it was read; its columns; preview, validation, saving."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from icm_engine.analysis.datasets import rule_sentences
from icm_engine.analysis.figures import cells_frame
from icm_engine.analysis.formatting import SIGNS, without_flags
from icm_engine.analysis.import_form import (
    IDLE_RULE,
    NO_GOLD,
    NO_RULE,
    ONE_LABEL,
    ONE_ROW,
    Choices,
    ImportTrial,
    IncomingFile,
    data_remarks,
    fields_of,
    fitting_rules,
    in_page_words,
    labels_of,
    look,
    offered_gold,
    sample_cells,
    save,
    tasks,
    try_out,
    unused_columns,
)
from icm_engine.analysis.run_form import ABOUT, rules
from icm_engine.core.errors import IcmError, ImportRefused
from icm_engine.core.text import one_line
from icm_engine.data.import_plan import LOOKED_AT, Preview
from icm_engine.data.row_parser import TIES
from icm_engine.store.store import Store
from pages.parts import session

OWN_RULE = "the task's own"
UNUSED = "not used"
ENCODINGS = ("windows-1252", "iso-8859-15", "utf-16", "gb18030", "shift_jis", "koi8-r")
TIES_SAID = {"refuse": "refuse the file", "drop": "leave the rows out", "keep": "keep the rows without gold"}
MARKS = {None: "as the file shows", "double": "they quote cells", "none": "they are text"}
PROMPT_HEIGHT = 420  # maximum height of a prompt in pixels; a longer one scrolls
LONG = 700  # characters
LISTED = 30  # maximum number of listed unused columns
STEPS = {"file": "1. File", "columns": "2. Columns", "check": "3. Check and save"}
TO_FILE = "[Choose another file](#file)"
MEANING = {
    "question": "The question that the claim answers.",
    "claim": "The claim that is true or false.",
    "text": "The text to label.",
    "query": "The request that both responses answer.",
    "response_a": "The first response of the pair.",
    "response_b": "The second response of the pair.",
    "group": "Examples that a rule compares with each other: those with the same cell here.",
    "answer": "The final answer, if it is not to be read from the claim.",
    "id": "A unique name of each example.",
    "gold": "The true label, for comparison only: the search never sees it.",
}
HUMAN = "Labels by people, one column for each source. A baseline, never seen by the search."
FIELD_HELP = {
    "group": "Not used: the question is the group, else each example is its own.",
    "answer": "Not used: answers are read from the claim, where the rule needs them. The reference solution must not "
    "be chosen here: it would bring gold into the rule.",
    "id": "Not used: a hash of its texts.",
    "gold": "It is kept apart from the examples. Not used: columns that look like gold are left out.",
}


def show(file: IncomingFile, key: str) -> None:
    """Draw the form of a file; `key` is unique to it. A step appears once the one before it is complete."""
    read = _read(file, key)
    if read is None:
        return
    file, key, guess = read
    _recognised(guess)
    heading("columns")
    choices, place = _choices(file, guess, key)
    found = _look(file, key, choices)
    _offers(found, choices, place)
    _unused(found, choices)
    for note in found.notes:
        st.text(f"· {in_page_words(note)}")
    if found.problem:
        st.warning("Not ready yet:", icon=":material/rule:")
        session.plain(in_page_words(found.problem))
        return
    heading("check")
    _check_and_save(file, key, choices, found, place)


def heading(step: str) -> None:
    """Draw the numbered heading of a step."""
    st.subheader(STEPS[step], anchor=step)


def complain(error: Exception) -> None:
    """Show an error of the importer with the form's terms."""
    session.complain(ImportRefused(in_page_words(str(error))))


def _check_and_save(file: IncomingFile, key: str, choices: Choices, found: Preview, place: str) -> None:
    prompts, checks = st.columns([3, 2], gap="large")
    with prompts:
        _prompts(found)
    with checks:
        ready = _checks(file, key, choices, found, place)
        name = _name(file, key)
        st.button(
            "Save as a data set",
            type="primary",
            icon=":material/save:",
            key="save",
            disabled=not ready,
            on_click=_save,
            args=(file, replace(choices, name=name.strip())),
        )
        if error := st.session_state.pop("save_problem", None):
            complain(error)


def _name(file: IncomingFile, key: str) -> str:
    """Draw the name of the data set; it is remembered while the form is incomplete and does not show it."""
    kept = st.session_state.setdefault("names_given", {})
    st.session_state.setdefault(f"name_{key}", kept.get(key, file.dataset))
    kept[key] = st.text_input("Name of the data set", key=f"name_{key}")
    return str(kept[key])


def _read(file: IncomingFile, key: str) -> tuple[IncomingFile, str, Preview] | None:
    """The file with the encoding to read it, which is part of its key; if unreadable, ask for the encoding."""
    asked, marks = st.session_state.get(f"encoding_{key}"), _marks(file, key)
    split, several = st.session_state.get(f"split_{key}", ""), False
    named, found = replace(file, encoding=asked, quoting=marks, split=split), None
    try:
        found = _look(named, f"{key}:{asked}:{marks}:{split}", None)
    except IcmError as error:
        several = "--split" in str(error)
        complain(error)
    if split or several:
        st.text_input("Split", key=f"split_{key}", help="Which data set in the file to import.", width=300)
    if asked is not None or (found is None and not several and file.is_text):
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


def _recognised(guess: Preview) -> None:
    """Draw how the file was read, in one line, and its first rows."""
    total = _count(guess.total, "row") if guess.total is not None else "many rows"
    st.text(f"{guess.form} · {total} · {_count(len(guess.columns), 'column')}")
    with st.expander(f"The first {_count(len(guess.rows), 'row')}", icon=":material/table:"):
        frame = cells_frame(guess.columns, guess.rows)
        st.dataframe(frame, hide_index=True, height=240, alt="The first rows of the file")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _choices(file: IncomingFile, guess: Preview, key: str) -> tuple[Choices, str]:
    """Draw a person's choices, initially as guessed; every file and task has its own widgets under one key."""
    task_place, rule_place = st.columns(2, gap="medium")
    names = list(tasks())
    index = names.index(guess.task) if guess.task else 0
    task = task_place.selectbox("Task", names, index, key=f"task_{key}", help="What is asked of every example.")
    place = f"{key}_{task}"
    rule = rule_place.selectbox("Rule", (OWN_RULE, *rules()), key=f"rule_{place}", help=ABOUT["rule"])
    st.caption(f"{tasks()[task].summary} Its own rule: {tasks()[task].rule}.")
    labels = [] if tasks()[task].labels else _labels(_look(file, key, Choices(task, "", {})), place)
    ties, first = _pair_gold(place) if tasks()[task].makes_twins else (TIES[0], None)
    found = _look(file, key, Choices(task, "", {}, labels=labels, ties=ties, first=first))
    mapping = _mapping(found, place, task)
    return Choices(task, "", mapping, None if rule == OWN_RULE else rule, tuple(labels), ties, first), place


def _labels(found: Preview, place: str) -> list[str]:
    """Draw the labels of a task without its own, initially those of the column that is evidently gold."""
    gold, key = found.mapping.get("gold"), f"labels_{place}"
    filled = labels_of(found, gold if isinstance(gold, str) else None)
    st.session_state.setdefault(key, list(filled))
    chosen: list[str] = st.multiselect(
        "Labels",
        sorted({*filled, *st.session_state[key]}),
        key=key,
        accept_new_options=True,
        placeholder="type a label, then Enter",
        help="The possible labels: two or more.",
    )
    if filled:
        st.text(f"Filled in from column {gold!r}{_where(found)}. Add labels that are missing.")
    return chosen


def _where(found: Preview) -> str:
    return "" if found.total is not None and found.total <= LOOKED_AT else f", in its first {LOOKED_AT:,} rows"


def _pair_gold(key: str) -> tuple[str, str | None]:
    """Draw how gold of pairs is read: how ties are treated, and which cell means the first response."""
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


def _mapping(found: Preview, place: str, task: str) -> dict[str, Any]:
    """Draw a choice of column for every field, and the columns of human labels."""
    mapping: dict[str, Any] = {}
    with st.container(key="columns"):
        for field in fields_of(task):
            mapping[field] = _field(found, f"map_{place}_{field}", field)
        mapping["human"] = _human(found, f"map_{place}_human")
    return mapping


def _field(found: Preview, key: str, field: str) -> str:
    """Draw one field: its column, its meaning, sample cells of the column."""
    box, meaning, cells = st.columns([2, 2, 3], gap="medium", vertical_alignment="center")
    guessed = found.mapping.get(field)
    st.session_state.setdefault(key, guessed if guessed in found.columns else UNUSED)
    chosen: str = box.selectbox(
        field.replace("_", " "), [UNUSED, *found.columns], key=key, help=FIELD_HELP.get(field, "A text of the prompt.")
    )
    meaning.caption(MEANING.get(field, "A text of the prompt."))
    if chosen == UNUSED:
        return ""
    cells.text("\n".join(sample_cells(found, chosen)) or "The first rows are empty here.")
    return chosen


def _human(found: Preview, key: str) -> list[str]:
    box, meaning, cells = st.columns([2, 2, 3], gap="medium", vertical_alignment="center")
    guessed = [column for column in found.mapping.get("human", ()) if column in found.columns]
    chosen: list[str] = box.multiselect("human labels", found.columns, guessed, key=key, placeholder=UNUSED)
    meaning.caption(HUMAN)
    if chosen:
        cells.text("\n".join(f"{column}: {', '.join(sample_cells(found, column))}" for column in chosen))
    return chosen


def _offers(found: Preview, choices: Choices, place: str) -> None:
    """Offer a column that evidently holds labels as gold, and the labels of the gold column as the task's."""
    own = bool(tasks()[choices.task].labels)
    for k, column in enumerate(offered_gold(found, choices.mapping)):
        labels = tuple(found.values[column])
        question = (
            f"Column {column!r} has nothing but these labels{_where(found)}: {', '.join(labels)}. Use it as gold?"
        )
        said = () if own else labels
        _offer(question, "Use it as gold", f"gold_{k}_{place}", place, {"gold": column}, said)
    labels = labels_of(found, choices.mapping["gold"])
    if labels and not own and set(labels) != set(choices.labels):
        text = f"Column {choices.mapping['gold']!r} has these labels{_where(found)}: {', '.join(labels)}."
        _offer(text, "Use these labels", f"fill_{place}", place, {}, labels)


def _offer(text: str, label: str, key: str, place: str, columns: Mapping[str, str], labels: Sequence[str] = ()) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.text(text)
        st.button(label, key=key, icon=":material/check:", on_click=_take, args=(place, columns, labels))


def _take(place: str, columns: Mapping[str, str], labels: Sequence[str]) -> None:
    """Put columns, and labels if there are any, into the form; a callback."""
    for field, column in columns.items():
        st.session_state[f"map_{place}_{field}"] = column
    if labels:
        st.session_state[f"labels_{place}"] = list(labels)


def _unused(found: Preview, choices: Choices) -> None:
    """List the columns that no field uses, with a sample cell each."""
    columns = unused_columns(found, choices.mapping)
    if not columns:
        return
    st.markdown("**Columns that are not used**")
    samples = {column: "".join(sample_cells(found, column, 1)) or "(empty)" for column in columns[:LISTED]}
    lines = [f"{one_line(column)}: {sample}" for column, sample in samples.items()]
    more = len(columns) - LISTED
    st.text("\n".join([*lines, *([f"and {more:,} more"] if more > 0 else [])]))


def _prompts(found: Preview) -> None:
    st.markdown("**What the model will see**")
    for tab, prompt in zip(st.tabs([f"Prompt {k + 1}" for k in range(len(found.prompts))]), found.prompts, strict=True):
        with tab:
            session.exactly(prompt, PROMPT_HEIGHT if len(prompt) > LONG else "content")
    space, line, tabulator, _ = SIGNS.values()
    st.caption(
        f"Every space is {space}, every line end {line}, every tab {tabulator}. The labels shown are placeholders for "
        "those of a search; the label to predict follows after one more space."
    )


def _checks(file: IncomingFile, key: str, choices: Choices, found: Preview, place: str) -> bool:
    """Draw the validation of the whole file; return whether it can be saved."""
    st.markdown("**Validation**")
    if not file.small:
        st.text(
            f"The file has {file.size / 1e6:,.0f} MB. It is checked during the import, in the background; "
            "nothing is kept if a row is refused."
        )
        _remarks(found, choices, None, place)
        return True
    try:
        trial = _trial(file, key, choices)
    except IcmError as error:
        complain(error)
        return False
    _trial_tiles(trial)
    _remarks(found, choices, trial, place)
    for sentence in rule_sentences(trial.check):
        st.text(f"· {without_flags(sentence)}")
    for note in trial.report.notes:
        if note not in found.notes:
            st.text(f"· {in_page_words(note)}")
    return True


def _remarks(found: Preview, choices: Choices, trial: ImportTrial | None, place: str) -> None:
    """Draw the problems with this data, each with the control that fixes it."""
    for remark in data_remarks(found, choices, trial):
        with st.container(border=True, key=f"remark_{remark.kind}"):
            st.text(f"⚠ {remark.text}")
            _mend(remark.kind, found, choices, place)


def _mend(kind: str, found: Preview, choices: Choices, place: str) -> None:
    free = unused_columns(found, choices.mapping)
    evident = offered_gold(found, {**choices.mapping, "gold": ""})
    if kind == ONE_ROW:
        st.markdown(TO_FILE)
    elif kind in (NO_GOLD, ONE_LABEL):
        likely = sorted(free, key=lambda column: column not in evident)
        _pick("Column of gold", likely, f"map_{place}_gold", "The file has no other column for it.")
    elif kind == NO_RULE:
        _pick("Rule within groups", fitting_rules(choices.task), f"rule_{place}")
    elif kind == IDLE_RULE:
        if choices.mapping.get("group") == "":
            _pick("Column of groups", free, f"map_{place}_group", "The file has no other column for groups.")
        st.button("Do without a rule", key=f"no_rule_{place}", on_click=_put, args=(f"rule_{place}", "none"))


def _pick(label: str, options: Sequence[str], target: str, otherwise: str = "") -> None:
    """Draw a choice that fills in another box of the form, whose key is `target`."""
    key = f"mend_{target}"
    if options:
        st.selectbox(label, options, None, key=key, placeholder="choose one", on_change=_picked, args=(key, target))
    else:
        st.text(otherwise)


def _picked(key: str, target: str) -> None:
    if st.session_state[key] is not None:
        _put(target, st.session_state[key])
        st.session_state[key] = None


def _put(target: str, value: str) -> None:
    st.session_state[target] = value


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
