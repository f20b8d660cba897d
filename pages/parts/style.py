"""The little CSS that the theme cannot say: grids that fit a telephone. No text from outside ever gets here."""

import streamlit as st

CSS = """
<style>
.st-key-tiles { display: grid !important; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 0.75rem; }
.st-key-tiles > * { width: 100% !important; }
.st-key-runs [data-testid="stPageLink"] a { padding-left: 0; font-weight: 600; }
.st-key-runs [data-testid="stText"] { opacity: 0.75; }
.st-key-phase [data-testid="stText"] { opacity: 0.85; }
.st-key-about [data-testid="stText"] { opacity: 0.7; font-size: 0.93rem; }
@media (max-width: 900px) { .st-key-tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
@media (max-width: 640px) {
  .st-key-controls { display: grid !important; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 0.5rem; }
  .st-key-controls > * { width: 100% !important; }
  .st-key-controls button { width: 100%; }
}
</style>
"""


def apply() -> None:
    """Add the style to the page."""
    st.html(CSS)
