"""The status of a run, the buttons that steer it, and the settings that can change while it is under way."""

from collections.abc import Iterable

import streamlit as st

from icm_engine.analysis import run_form
from icm_engine.analysis.alerts import alerts
from icm_engine.analysis.formatting import escaped
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.status_tiles import look, silence, tiles, waiting
from icm_engine.analysis.views import notices, progress, searches
from icm_engine.core.errors import IcmError
from icm_engine.data.export import csv_bytes
from icm_engine.runs import control
from icm_engine.runs.control import WAITING, RunStatus
from icm_engine.store.store import Store
from pages.parts import session


def show_status(run: str, drawn_for: tuple[str, int | None]) -> None:
    """Draw the status; when the rest of the page was drawn for another one, draw the page anew."""
    reading, status = session.look(run)
    if session.drawn_for(status) != drawn_for:
        st.query_params["run"] = run  # a tick that was under way when the run was chosen brings the address before it
        st.rerun()
    _phase(status)
    if status.phase == "failed" and reading.failure:
        _failure(reading.failure.error, reading.failure.message)
        if control.RESUME_HELPS_NOT in status.message:
            st.text(f"{control.RESUME_HELPS_NOT[0].upper()}{control.RESUME_HELPS_NOT[1:]}.")
    if status.broken or (status.pending and status.pid is None):
        _log(run)
    if searches(reading):
        done = progress(reading, status)
        st.progress(done.share, text=done.words)
    with st.container(horizontal=True, gap="small", key="tiles"):
        for tile in tiles(reading):
            st.metric(
                tile.name,
                tile.value,
                tile.note,
                delta_color="off",
                delta_arrow="off",
                border=True,
                help=tile.explanation,
            )
    for notice in notices(reading):
        st.warning(notice.text, icon=":material/info:")
    for alert in alerts(reading):
        st.warning(f"**{alert.kind}**: {escaped(alert.text)}", icon=":material/notification_important:")
    if reading.refused and reading.refused.event == reading.cursor:
        st.error(f"**{reading.refused.verb}** was refused.", icon=":material/block:")
        session.plain(reading.refused.message)


def _phase(status: RunStatus) -> None:
    shown = look(status)
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="phase"):
        st.badge(f"{shown.icon} {shown.word}", color=shown.colour)  # type: ignore[arg-type]
        st.text(status.message if status.phase == "paused" and status.message != WAITING else shown.sentence)
    if sent := waiting(status):
        st.text(sent)
    if silent := silence(status):
        st.warning(silent, icon=":material/heart_broken:")


def _failure(error: str, message: str) -> None:
    st.error("What went wrong, and the remedy:", icon=":material/error:")
    session.plain(f"{error}: {message}" if error else message)


def _log(run: str) -> None:
    with Store() as store:
        tail = control.log_tail(store, run)
    if tail:
        with st.expander("The worker's last lines"):
            session.plain(tail)


# verb, label, icon, key on the keyboard (R and C belong to Streamlit), explanation
BUTTONS = (
    ("start", "Start", ":material/play_arrow:", "S", "Start the search."),
    ("step", "Step", ":material/skip_next:", "N", "Take one step, then pause."),
    ("steps", "Step N", ":material/fast_forward:", "M", "Take as many steps as the field says, then pause."),
    ("pause", "Pause", ":material/pause:", "P", "Pause after the step in progress."),
    ("resume", "Resume", ":material/resume:", "U", "Go on where the run stopped."),
    ("stop", "Stop", ":material/stop:", "X", "End the run after the step in progress. The labels stay."),
)


def show_buttons(run: str, offered: Iterable[str]) -> None:
    """Draw the buttons of a run; the ones that would do nothing now are there, and greyed."""
    offered = {*offered, *(["steps"] if "step" in offered else [])}
    keys = st.session_state.get("shortcuts", True)
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="controls"):
        for verb, label, icon, key, explanation in BUTTONS:
            st.button(
                label,
                icon=icon,
                key=f"do_{verb}",
                help=explanation,
                shortcut=key if keys else None,
                width=124,
                type="primary" if verb in ("start", "resume") and verb in offered else "secondary",
                disabled=verb not in offered,
                on_click=_press,
                args=(run, verb),
            )
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="extras"):
        st.number_input("N steps", 1, value=10, key="step_count", width=124, help="Steps that Step N takes.")
        st.download_button(
            "Download CSV",
            lambda: _csv(run),
            f"{run}.csv",
            "text/csv",
            key="download",
            on_click="ignore",
            icon=":material/download:",
            help="Every input column with label, probability, last change, flips and gold.",
        )
        st.toggle("Keyboard shortcuts", True, key="shortcuts", help="Letters on the buttons; never while you type.")
    if error := st.session_state.pop("problem", None):
        session.complain(error)


def _csv(run: str) -> bytes:
    reading, _ = session.look(run)
    with Store() as store:
        return csv_bytes(store, run, gold=not reading.blind)


def _press(run: str, verb: str) -> None:
    try:
        with Store() as store:
            if verb == "steps":
                control.step(store, run, st.session_state["step_count"])
            else:
                getattr(control, verb)(store, run)
    except IcmError as error:
        st.session_state["problem"] = error


FIELDS = {"alpha": "alpha", "temperature": "Temperature now", "neighbour_weight": "Neighbour weight"}


def show_settings(reading: Reading) -> None:
    """Draw the panel; it is folded until somebody wants it."""
    run = reading.run.name
    with st.expander("Retune and breakpoints", icon=":material/tune:", key=f"steering_{run}"):
        if reading.state is None:
            st.text("Both can be set once there are labels.")
            return
        retuning, stopping = st.columns(2, gap="large")
        with retuning:
            _retune(reading)
        with stopping:
            _breakpoints(reading)
        if error := st.session_state.pop("steering_problem", None):
            session.complain(error)


def _retune(reading: Reading) -> None:
    now = run_form.tunable(reading)
    st.markdown("**From the next step on**")
    for name, label in FIELDS.items():
        st.number_input(
            label,
            0.0 if name != "neighbour_weight" else 1,
            value=now[name].value,
            key=f"tune_{name}",
            help=now[name].explanation,
        )
    st.button(
        "Retune",
        key="do_retune",
        icon=":material/tune:",
        on_click=_send_settings,
        args=(reading.run.name,),
        help="Changes nothing that was decided; the change is an event, and a marker on every curve.",
    )


def _send_settings(run: str) -> None:
    reading, _ = session.look(run)
    wanted = {name: st.session_state[f"tune_{name}"] for name in FIELDS}
    try:
        if settings := run_form.changed_settings(reading, wanted):
            with Store() as store:
                control.retune(store, run, settings)
    except IcmError as error:
        st.session_state["steering_problem"] = error


def _breakpoints(reading: Reading) -> None:
    now = reading.breakpoints
    st.markdown("**Breakpoints**")
    st.text_input(
        "When one of these examples changes its label",
        ", ".join(now.flips),
        key="break_flips",
        placeholder="ids, separated by commas",
        help="The ids are in the table of labels below.",
    )
    st.number_input(
        "When a step lowers U by at least",
        0.0,
        value=now.utility_falls,
        key="break_falls",
        placeholder="never",
        help="Accepted steps that lose are what annealing is for; a large loss is worth a look.",
    )
    st.number_input(
        "When a pair has been inconsistent for so many steps",
        1,
        value=now.inconsistent_for,
        key="break_pairs",
        placeholder="never",
        help="Counted from the step that made the pair inconsistent.",
    )
    st.button(
        "Set breakpoints",
        key="do_breakpoints",
        icon=":material/pause_circle:",
        on_click=_send_breakpoints,
        args=(reading.run.name,),
        help="Resume then runs up to the first of them. Empty fields take them away.",
    )
    st.text(run_form.breakpoint_words(now))


def _send_breakpoints(run: str) -> None:
    reading, _ = session.look(run)
    state = st.session_state
    try:
        points = run_form.breakpoints(reading, state["break_flips"], state["break_falls"], state["break_pairs"])
        with Store() as store:
            control.set_breakpoints(store, run, points)
    except IcmError as error:
        st.session_state["steering_problem"] = error
