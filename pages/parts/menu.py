"""The one frame of all pages: title, icon, style, and the menu."""

from pathlib import Path
from typing import Any

import streamlit as st

from pages.parts import style

SEARCH = "pages/search.py"
DATA = "pages/data.py"
ICON = Path(__file__).resolve().parents[2] / "static" / "icon.svg"  # a file of ours: others come over the network


def show(home: Any) -> Any:
    """Draw the frame and return the page chosen in its menu."""
    st.session_state["menu"] = True
    st.set_page_config(page_title="ICM Workbench", page_icon=str(ICON), layout="wide")
    style.apply()
    return st.navigation(
        [
            st.Page(home, title="Home", icon=":material/home:", url_path="home", default=True),
            st.Page(SEARCH, title="Search", icon=":material/travel_explore:"),
            st.Page(DATA, title="Data", icon=":material/database:"),
        ]
    )


def require(home: Any) -> None:
    """Run again through app.py if a cold server opened this page alone: its first request skips app.py.

    Streamlit takes a folder `pages/` for its older kind of app until `st.navigation` was called once.
    """
    if "menu" not in st.session_state:
        show(home)
        st.rerun()
