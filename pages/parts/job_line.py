"""The chosen job and its progress: a bar while it works, its error, and the cancel button."""

from collections.abc import Callable, Sequence

import streamlit as st

from icm_engine import jobs
from icm_engine.analysis.formatting import moment, without_flags
from icm_engine.analysis.import_form import in_page_words
from icm_engine.jobs import JobStatus
from icm_engine.store.store import Store
from pages.parts import session

EVERY = 1.0  # seconds


def _title(store: Store, job: str) -> str:
    return f"{job} · {moment(jobs.created(store, job))}"


def chosen(
    store: Store, made: Sequence[str], words: str, name: str = "job", title: Callable[[Store, str], str] = _title
) -> str:
    """Draw a choice of jobs of one kind, newest first, if there are several; return the chosen one.

    The URL has it under `name`.
    """
    asked = st.query_params.get(name)
    job = asked if asked is not None and asked in made else made[0]
    if len(made) > 1:
        st.selectbox(
            words,
            made,
            made.index(job),
            key=f"{name}_{job}",
            on_change=_picked,
            args=(name, job),
            width=420,
            format_func=lambda one: title(store, one),
            help="The newest first.",
        )
    return job


def _picked(name: str, job: str) -> None:
    """Open the picked job; ignore a box that still has the value it was drawn with (see home)."""
    if (chosen := st.session_state[f"{name}_{job}"]) != job:
        st.query_params[name] = chosen


def show(store: Store, job: str) -> JobStatus:
    """Draw an unfinished job and return its status; the caller, which knows the result, draws a finished one."""
    now = jobs.status(store, job)
    if not now.settled:
        session.fragment(_moving, EVERY)(job)
    elif now.broken:
        _ended(store, now)
    elif now.phase == "cancelled":
        st.text("Cancelled.")
    return now


def _moving(job: str) -> None:
    """Draw the bar; once the job no longer moves, redraw the whole page."""
    with Store() as store:
        now = jobs.status(store, job)
    if now.settled:
        st.rerun()
    left, right = st.columns([5, 1], vertical_alignment="center")
    with left:
        st.progress(_share(now), text=_words(now))
    with right:
        st.button("Cancel", key=f"cancel_{job}", icon=":material/close:", on_click=_cancel, args=(job,))


def _share(now: JobStatus) -> float:
    return min(1.0, now.done / now.total) if now.total else 0.0


def _words(now: JobStatus) -> str:
    if not now.words:
        return _message(now)
    of = f" of {now.total:,}" if now.total else ""
    return f"{now.words}: {now.done:,}{of}" if now.done or now.total else now.words


def _message(now: JobStatus) -> str:
    """Return the message of a job with the page's controls in place of options of the command line."""
    return in_page_words(now.message) if now.job.startswith("import.") else without_flags(now.message)


def _ended(store: Store, now: JobStatus) -> None:
    message = (
        "That did not work."
        if now.phase == "failed"
        else "Its process is gone. Trying again continues with what is left."
    )
    st.error(message, icon=":material/error:")
    if now.phase == "failed":
        session.message(_message(now))
    if tail := jobs.log_tail(store, now.job):
        with st.expander("The last lines of its process"):
            session.plain(tail)
    with st.container(horizontal=True, gap="small"):
        st.button("Try again", key=f"again_{now.job}", icon=":material/refresh:", on_click=_again, args=(now.job,))
        if now.phase == "interrupted":
            st.button("Forget it", key=f"cancel_{now.job}", icon=":material/close:", on_click=_cancel, args=(now.job,))


def _cancel(job: str) -> None:
    with Store() as store:
        jobs.cancel(store, job)


def _again(job: str) -> None:
    with Store() as store:
        jobs.start(store, job)
