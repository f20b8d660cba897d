"""What pages know of the moment: the database, the run in the address, what was read of it, the theme."""

import streamlit as st

from icm_engine.analysis.choices import Store
from icm_engine.analysis.reading import Reading
from icm_engine.analysis.views import Shelf
from icm_engine.runs import control
from icm_engine.runs.control import RunStatus


@st.cache_resource
def shelf() -> Shelf:
    """Return the readings of all sessions, so that no event is read twice."""
    return Shelf()


def look(run: str) -> tuple[Reading, RunStatus]:
    """Return a run as it is now. Opens the database for this look alone: fragments outlive the script."""
    with Store() as store:
        return shelf().reading(store, run), control.status(store, run)


def chosen_run(names: list[str]) -> str | None:
    """Return the run in the address, None if there is none of that name."""
    run = st.query_params.get("run")
    return run if run in names else None


def choose(run: str | None) -> None:
    """Put a run into the address; None shows the settings of a new one."""
    if run is None:
        st.query_params.pop("run", None)
    else:
        st.query_params["run"] = run


def dark() -> bool:
    """Say whether the page is dark."""
    return bool(st.context.theme.type == "dark")


def plain(text: str) -> None:
    """Show text from outside as it is: wrapped, and never read as markup."""
    st.code(text, language=None, wrap_lines=True)


def complain(error: Exception) -> None:
    """Show an error of ours: what, value, remedy."""
    st.error("That did not work.", icon=":material/error:")
    plain(str(error))
