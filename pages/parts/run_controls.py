"""The status of a run, its control buttons, the settings that can change during it, and the summary at its end."""

from collections.abc import Iterable

import streamlit as st

from icm_engine.analysis import run_form
from icm_engine.analysis.alerts import alerts
from icm_engine.analysis.flips import doubt_words, lowest_margin
from icm_engine.analysis.formatting import balance_words, decimal, escaped, one_line
from icm_engine.analysis.gold_agreement import gold_shown
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.status_tiles import headline, last_decision, look, phase_sentence, silence, tiles, waiting
from icm_engine.analysis.views import ended_words, example_text, moves, notices, progress, run_end
from icm_engine.core.errors import IcmError
from icm_engine.data.export import csv_bytes
from icm_engine.experiments.report import share_run
from icm_engine.runs import control
from icm_engine.runs.control import WAITING, RunStatus
from icm_engine.store.store import Store
from pages.parts import charts, menu, session


def show_status(run: str, drawn_for: tuple[str, int | None], hiding: bool = False) -> None:
    """Draw the status line of the header; if the rest of the page was drawn for another status, redraw the page.

    With `hiding`, the last decision of a run that is annotated blind is left out, because it names a label; an audit
    shows neither that nor the accuracy by gold.
    """
    reading, status = session.look(run)
    audited = st.query_params.get("view") == "Audit"
    if session.drawn_for(status) != drawn_for:
        st.query_params["run"] = run  # a refresh that was in progress sends the URL from before the run was chosen
        st.rerun()
    with st.container(horizontal=True, gap="medium", vertical_alignment="center", key="headline"):
        shown = look(status)
        st.badge(f"{shown.icon} {shown.word}", color=shown.colour)  # type: ignore[arg-type]
        if moves(reading):
            done = progress(reading, status)
            st.progress(done.share, text=done.words, width=300 if reading.by_folds else 240)
        st.text(headline(reading, accuracy=not audited), width="content")
    _phase(status, reading.unit)
    blind = (hiding and reading.blind) or audited
    if (decided := last_decision(reading)) and not blind:
        with st.container(key="last_decision"):
            st.page_link(
                menu.STEPS,
                label=escaped(decided.sentence),
                icon=":material/stairs:",
                query_params={"run": run, "step": str(decided.step)},
            )


def show_failure(run: str) -> None:
    """Draw why a run failed or was interrupted, with the remedy; draw nothing for other runs."""
    reading, status = session.look(run)
    if status.phase == "failed" and reading.failure:
        _failure(reading.failure.error, reading.failure.message)
        if control.RESUME_HELPS_NOT in status.message:
            st.text(f"{control.RESUME_HELPS_NOT[0].upper()}{control.RESUME_HELPS_NOT[1:]}.")
    if status.broken or (status.pending and status.pid is None):
        _log(run)


def show_news(run: str) -> None:
    """Draw refusals, alerts and notices."""
    reading, _ = session.look(run)
    if reading.refused and reading.refused.event == reading.cursor:
        st.error(f"**{reading.refused.verb}** was refused.", icon=":material/block:")
        session.message(reading.refused.message)
    for alert in alerts(reading):
        st.warning(f"**{alert.kind}**: {escaped(alert.text)}", icon=":material/notification_important:")
    for notice in notices(reading):
        st.warning(notice.text, icon=":material/info:")


def show_tiles(run: str) -> None:
    """Draw the numbers of a run, each with its explanation."""
    reading, _ = session.look(run)
    with st.container(horizontal=True, gap="small", key="tiles"):
        charts.tiles(tiles(reading))


TOLD = ("running", "paused", "finished")  # phases that need no sentence besides the badge and the buttons


def _phase(status: RunStatus, unit: str) -> None:
    if status.phase == "paused" and status.message != WAITING:
        st.text(status.message)  # which breakpoint it was
    elif status.phase not in TOLD:
        st.text(phase_sentence(status, unit))
    if sent := waiting(status, unit):
        st.text(sent)
    if silent := silence(status):
        st.warning(silent, icon=":material/heart_broken:")


def _failure(error: str, message: str) -> None:
    st.error("What went wrong, and the remedy:", icon=":material/error:")
    session.message(f"{error}: {message}" if error else message)


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
    ("steps", "Step N", ":material/fast_forward:", "M", "Take the number of steps in the field, then pause."),
    ("pause", "Pause", ":material/pause:", "P", "Pause after the step in progress."),
    ("resume", "Resume", ":material/resume:", "U", "Continue where the run stopped."),
    ("stop", "Stop", ":material/stop:", "X", "End the run after the step in progress. The labels stay."),
)
OF_ROUNDS = {  # other explanations, of a run that takes rounds
    "step": "Take one round, then pause.",
    "steps": "Take the number of rounds in the field, then pause.",
    "pause": "Pause now. A fit in progress is begun anew after Resume; finished fits are kept.",
    "stop": "End the run now. A fit in progress is dropped; the labels stay.",
}


def show_buttons(run: str, offered: Iterable[str], keys: bool = True, unit: str = "step") -> None:
    """Draw the buttons that have an effect now; without `keys` they have no keyboard shortcuts."""
    offered = {*offered, *(["steps"] if "step" in offered else [])}
    keys = keys and st.session_state.get("shortcuts", True)
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="controls", width="content"):
        for verb, label, icon, key, explanation in BUTTONS:
            if verb not in offered:
                continue
            st.button(
                label.replace("Step", unit.capitalize()),
                icon=icon,
                key=f"do_{verb}",
                help=OF_ROUNDS.get(verb, explanation) if unit == "round" else explanation,
                shortcut=key if keys else None,
                type="primary" if verb in ("start", "resume") else "secondary",
                on_click=_press,
                args=(run, verb),
            )
            if verb == "steps":
                _step_count(unit)


def _step_count(unit: str) -> None:
    """Draw the field of Step N, beside its button."""
    st.number_input(
        f"N {unit}s",
        1,
        value=10,
        key="step_count",
        width=96,
        label_visibility="collapsed",
        help=f"{unit.capitalize()}s that {unit.capitalize()} N takes.",
    )


def show_problem() -> None:
    """Draw the error of the last press, if any."""
    if error := st.session_state.pop("problem", None):
        session.complain(error)


def show_extras(run: str) -> None:
    """Draw the download and the switch of the keyboard shortcuts."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="extras"):
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
        st.download_button(
            "Share as HTML",
            lambda: _page(run),
            f"{run}.html",
            "text/html",
            key="share",
            on_click="ignore",
            icon=":material/share:",
            help="One file with summary, curves, decisions, labels and audit, which opens without a server.",
        )
        if gold_shown(session.look(run)[0]):
            st.toggle("With gold", False, key="share_gold", help="Whether the shared file shows gold and accuracy.")
        st.toggle("Keyboard shortcuts", True, key="shortcuts", help="Letters on the buttons; never while you type.")


def _csv(run: str) -> bytes:
    reading, _ = session.look(run)
    with Store() as store:
        return csv_bytes(store, run, gold=not reading.blind)


def _page(run: str) -> bytes:
    with Store() as store:
        return share_run(store, run, gold=st.session_state.get("share_gold", False)).encode()


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
    """Draw the settings panel, folded."""
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
        help="Past decisions stay. The change is logged as an event and marked on every curve.",
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
        help="Annealing accepts some losses on purpose; a large one is worth a look.",
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
        help="Resume then runs up to the first of them. An empty field removes its breakpoint.",
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


# -- the end of a run

DOUBTS = 5  # number of examples listed as least certain


def show_end(reading: Reading) -> None:
    """Draw the summary, with links to the least certain examples and to what can be done next."""
    end = run_end(reading)
    if end is None:
        return
    run, (_, status) = reading.run.name, session.look(reading.run.name)
    with st.container(border=True, key="run_end"):
        balance = balance_words(dict(zip(reading.tally.labels, reading.tally.balance, strict=True)))
        st.text(f"{ended_words(reading, status)}. U is {decimal(end.last.utility, 2)}. Labels: {balance}.")
        if end.differs:
            st.text(f"{end.words} The best labels can be exported (Export with the highest U).")
        _doubts(reading)
        with st.container(horizontal=True, gap="small", key="next"):
            for page, label, icon, view in (
                (menu.COMPARE, "Compare with gold", ":material/balance:", {"view": "Gold"}),
                (menu.COMPARE, "Compare with other seeds", ":material/shuffle:", {"view": "Seeds"}),
                (menu.ANNOTATE, "Annotate the least certain", ":material/edit_note:", {"queue": "margin"}),
                (menu.TRAINING, "Train on these labels", ":material/model_training:", {}),
            ):
                st.page_link(page, label=label, icon=icon, query_params={"run": run, **view})


def _doubts(reading: Reading) -> None:
    found = lowest_margin(reading)[:DOUBTS]
    if not found:
        return
    ids, labels = reading.run.codec.ids, reading.labeling
    with st.container(gap="xsmall", key="doubts"):
        st.markdown("**Least certain**")
        for row in found:
            text = one_line(example_text(reading, row.example), 90)
            chosen = {"run": reading.run.name, "example": ids[row.example], "order": "Lowest margin"}
            label = escaped(f"{labels[row.example]} · {text}")
            st.page_link(menu.EXAMPLES, label=label, icon=":material/arrow_forward:", query_params=chosen)
            st.caption(escaped(doubt_words(reading, row.example)))
