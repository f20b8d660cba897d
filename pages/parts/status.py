"""The status of a run: its phase in one honest sentence, progress, and the strip of numbers."""

import streamlit as st

from icm_engine.analysis.alerts import alerts
from icm_engine.analysis.choices import Store
from icm_engine.analysis.strip import look, silence, tiles, waiting
from icm_engine.analysis.views import notices, progress, searches
from icm_engine.analysis.wording import escaped
from icm_engine.runs import control
from icm_engine.runs.control import WAITING, RunStatus
from pages.parts import session


def show(run: str, drawn_for: tuple[str, int | None]) -> None:
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
    if status.phase in ("failed", "interrupted") or (status.pending and status.pid is None):
        _log(run)
    if searches(reading):
        done = progress(reading, status)
        st.progress(done.share, text=done.words)
    with st.container(horizontal=True, gap="small", key="tiles"):
        for tile in tiles(reading):
            st.metric(
                tile.name, tile.value, tile.note, delta_color="off", delta_arrow="off", border=True,
                help=tile.explanation,
            )  # fmt: skip
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
