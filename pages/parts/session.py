"""State shared by pages: the database, the run in the URL, cached readings, the theme."""

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal
from uuid import uuid4

import streamlit as st

from icm_engine.analysis.batches import GoldCounts, run_choices
from icm_engine.analysis.formatting import SIGNS, show_whitespace, without_flags
from icm_engine.analysis.run_cache import RefreshThrottle, RunCache
from icm_engine.analysis.run_history import Reading
from icm_engine.core.errors import IcmError
from icm_engine.core.text import whole_number
from icm_engine.runs import control
from icm_engine.runs.control import RunStatus
from icm_engine.store.store import Store

MISSED = {  # by URL parameter
    "run": "No run of this name is here: its link belongs to another database, or it has batches, which are looked at "
    "one by one.",
    "dataset": "No data set of this name is here: it was deleted, or its link belongs to another database.",
}
SEEN = "run_last_looked_at"
LONG = 5000  # events, which take about a second to read
# URL parameters about one run
OF_A_RUN = tuple("event step fold example queue cause from to kept pair repair at cell influence".split())
ZERO_WIDTH = chr(0x200B)  # an allowed line break; one that is in the text itself is shown as its code


@st.cache_resource
def shelf() -> RunCache:
    """Return the readings of all sessions, so that no event is read twice."""
    return RunCache()


@st.cache_resource
def gold_counts() -> GoldCounts:
    """Return the counts of batches against gold of all sessions, so that no batch is counted twice."""
    return GoldCounts()


@st.cache_resource
def _pace() -> RefreshThrottle:
    return RefreshThrottle()


def drawn_for(status: RunStatus) -> tuple[str, int | None]:
    """Return what a run's page depends on: the phase, and the factor that slows its refresh (None: no refresh).

    This counts as a refresh of this tab.
    """
    tab = st.session_state.setdefault("tab", uuid4().hex)
    return status.phase, None if status.settled else _pace().stretch(tab)


def run_names(store: Store, wholes: bool = False) -> list[str]:
    """Return the runs to choose from; with `wholes`, also batched runs. A batch is included only while it is viewed."""
    return run_choices(store, st.query_params.get("run", st.session_state.get(SEEN)), wholes)


def look(run: str) -> tuple[Reading, RunStatus]:
    """Return a run as it is now. The database is opened for this read only, because fragments outlive the script."""
    with Store() as store:
        unread = shelf().unread(store, run)
        with st.spinner(f"Reading {unread:,} events of the run …") if unread > LONG else nullcontext():
            return shelf().reading(store, run), control.status(store, run)


def chosen_run(names: list[str]) -> str | None:
    """Return the run in the URL; None if there is none of that name."""
    run = st.query_params.get("run")
    if run not in names:
        return None
    st.session_state[SEEN] = run
    return run


def followed_run(names: list[str]) -> str | None:
    """Return the run in the URL, else the one last viewed, because links in the menu name none."""
    seen = st.session_state.get(SEEN)
    if "run" not in st.query_params and seen in names:
        st.query_params["run"] = seen
    return chosen_run(names)


def choose(run: str | None) -> None:
    """Put a run into the URL, replacing parameters about another; None shows the settings of a new one."""
    for name in OF_A_RUN:
        st.query_params.pop(name, None)
    if run is None:
        st.query_params.pop("run", None)
        st.session_state.pop(SEEN, None)
    else:
        st.query_params["run"] = run
        st.query_params.pop("dataset", None)


SELECTED = ("event", "step", "example")  # URL parameters that all tabs of a run share


def remember_selection(run: str) -> None:
    """Remember what the URL selects in this run, for links that do not name it."""
    kept = st.session_state.get("selection", {})
    if kept.get("run") != run:
        kept = {"run": run}
    asked = {name: st.query_params[name] for name in SELECTED if name in st.query_params}
    if asked.keys() & {"event", "step"}:
        kept = {name: value for name, value in kept.items() if name not in ("event", "step")}
    st.session_state["selection"] = kept | asked


def forget_selection(*names: str) -> None:
    """Drop these parts of the selection."""
    kept = st.session_state.get("selection", {})
    st.session_state["selection"] = {name: value for name, value in kept.items() if name not in names}


def selection(run: str) -> dict[str, str]:
    """Return the URL parameters of the run and of its selection."""
    kept: dict[str, str] = st.session_state.get("selection", {})
    return dict(kept) if kept.get("run") == run else {"run": run}


def labels_shown(run: str) -> bool:
    """Say whether the labels of a run that is annotated blind were asked for in this session."""
    return run in st.session_state.get("labels_shown", ())


def show_labels(run: str, shown: bool = True) -> None:
    """Show the labels of a run that is annotated blind on all its tabs, or hide them again."""
    others = st.session_state.get("labels_shown", frozenset()) - {run}
    st.session_state["labels_shown"] = others | ({run} if shown else set())


def seen_run() -> str | None:
    """Return the run last viewed in this session; None if there was none."""
    run: str | None = st.session_state.get(SEEN)
    return run


def chosen_dataset(names: list[str]) -> str | None:
    """Return the data set in the URL; None if there is none of that name."""
    dataset = st.query_params.get("dataset")
    return dataset if dataset in names else None


def choose_dataset(dataset: str | None, arrived: bool = False) -> None:
    """Put a data set into the URL, replacing parameters about another; None shows all."""
    for name in ("dataset", "page", "example", "check", "job"):
        st.query_params.pop(name, None)
    if dataset is not None:
        st.query_params["dataset"] = dataset
    if arrived:
        st.session_state["arrived"] = True


def address(name: str, key: str) -> None:
    """Put a widget's value into the URL; a callback, which runs before anything is drawn."""
    st.query_params[name] = str(st.session_state[key])


def choice(name: str, options: Mapping[str, str] | Sequence[str], key: str, meant: str | None = None) -> str:
    """Draw a choice that the URL has under this name, and return the chosen option.

    At first it is the URL's, else `meant`, else the first option. A mapping has the title of each option.
    """
    titles = options if isinstance(options, Mapping) else dict(zip(options, options, strict=True))
    asked, values = st.query_params.get(name), list(titles)
    return st.segmented_control(
        name.capitalize(),
        values,
        default=asked if asked is not None and asked in titles else meant or values[0],
        required=True,
        key=key,
        format_func=titles.__getitem__,
        label_visibility="collapsed",
        on_change=address,
        args=(name, key),
    )


def number(name: str, otherwise: int, low: int, high: int) -> int:
    """Return the whole number that the URL has under this name, clamped to two bounds."""
    found = whole_number(st.query_params.get(name, ""))
    return otherwise if found is None else min(max(found, low), high)


def dark() -> bool:
    """Say whether the page is dark."""
    return bool(st.context.theme.type == "dark")


def missed(kind: str) -> None:
    """Say that the URL names a run or data set (`kind`) that does not exist."""
    if (name := st.query_params.get(kind)) is not None:
        st.warning(MISSED[kind], icon=":material/link_off:")
        plain(name)


def plain(text: str) -> None:
    """Show untrusted text literally: wrapped, never as markup."""
    st.code(text, language=None, wrap_lines=True)


def exactly(text: str, height: int | Literal["content"] = "content") -> None:
    """Show untrusted text as a model reads it, with visible whitespace; lines may break after a space."""
    shown = show_whitespace(text).replace(SIGNS[" "], SIGNS[" "] + ZERO_WIDTH)
    st.code(shown, language=None, wrap_lines=True, height=height)


def fragment(draw: Callable[..., None], every: float | None) -> Callable[..., None]:
    """Return a part of a page that redraws itself at an interval in seconds; our errors are shown in its place."""

    @functools.wraps(draw)
    def guarded(*given: Any) -> None:
        try:
            draw(*given)
        except IcmError as error:
            complain(error)

    made: Callable[..., None] = st.fragment(guarded, run_every=every)
    return made


def complain(error: Exception) -> None:
    """Show one of our errors, which name the problem, the value and the remedy."""
    st.error("That did not work.", icon=":material/error:")
    message(str(error))


def message(text: str) -> None:
    """Show a message of the engine literally, without the command-line options in it."""
    plain(without_flags(text))
