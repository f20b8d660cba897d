"""Flips: every label change of a run, and the examples worth a look."""

from pages.parts import flip_view, run_page

run_page.show("Flips", flip_view.show)
