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
.st-key-counts, .st-key-checks, [class*="st-key-counts_"] {
  display: grid !important; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 0.75rem;
}
[class*="st-key-counts_"] { grid-template-columns: repeat(5, minmax(0, 1fr)); gap: 0.5rem; }
.st-key-counts > *, .st-key-checks > *, [class*="st-key-counts_"] > * { width: 100% !important; }
[class*="st-key-counts_"] [data-testid="stMetricValue"] { font-size: 1.15rem; }
.st-key-datasets [data-testid="stPageLink"] a { padding-left: 0; font-weight: 600; }
.st-key-datasets [data-testid="stPageLink"] a:not(:hover) { background: transparent; }
.st-key-datasets [data-testid="stText"] { opacity: 0.75; }
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
