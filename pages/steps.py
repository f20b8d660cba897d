"""Steps: one decision at a time with all of its arithmetic, and the run as it stood then."""

from pages.parts import run_page, step_view

run_page.show("Steps", step_view.show)
