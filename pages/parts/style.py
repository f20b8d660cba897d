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
.st-key-counts, .st-key-checks, .st-key-decisive, [class*="st-key-counts_"] {
  display: grid !important; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 0.75rem;
}
[class*="st-key-counts_"] { grid-template-columns: repeat(5, minmax(0, 1fr)); gap: 0.5rem; }
.st-key-counts > *, .st-key-checks > *, .st-key-decisive > *, [class*="st-key-counts_"] > * { width: 100% !important; }
[class*="st-key-counts_"] [data-testid="stMetricValue"] { font-size: 1.15rem; }
.st-key-decisive { grid-template-columns: repeat(auto-fit, minmax(118px, 1fr)) !important; gap: 0.5rem; }
.st-key-decisive [data-testid="stMetricValue"] { font-size: 1.15rem; }
.st-key-datasets [data-testid="stPageLink"] a { padding-left: 0; font-weight: 600; }
.st-key-datasets [data-testid="stPageLink"] a:not(:hover) { background: transparent; }
.st-key-datasets [data-testid="stText"] { opacity: 0.75; }
.st-key-example [data-testid="stText"] {
  font-size: 1.2rem; line-height: 1.5; white-space: pre-wrap; overflow-wrap: anywhere;
}
.st-key-example_facts [data-testid="stText"] { font-size: 0.9rem; opacity: 0.7; }
[data-testid="stMain"] button:not(:disabled) kbd { color: inherit; opacity: 0.9; }
.st-key-label_word [data-testid="stText"] { font-size: 1.5rem; font-weight: 600; }
.st-key-news [data-testid="stText"], .st-key-blind [data-testid="stText"] { font-size: 0.93rem; opacity: 0.85; }
/* Contrast of 4.5 and more, which the theme's faded text has not. */
[data-testid="stCaptionContainer"] { color: inherit !important; opacity: 0.78 !important; }
@media (max-width: 900px) { .st-key-tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
@media (max-width: 640px) {
  .st-key-controls { display: grid !important; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 0.5rem; }
  .st-key-controls > * { width: 100% !important; }
  .st-key-controls button { width: 100%; }
}
</style>
"""

# In the dark theme one primary colour cannot be both: white is read on it, and it is read on black. So not as text.
DARK = """
<style>
[data-testid="stButtonGroup"] button[data-selected="true"] p, [data-testid="stTab"][aria-selected="true"] p,
[data-testid="stSlider"] [role="slider"] p, [data-testid="stSliderThumbValue"] p {
  color: #7CC0EC !important;
}
</style>
"""


def apply(dark: bool) -> None:
    """Add the style to the page."""
    st.html(CSS + DARK if dark else CSS)
