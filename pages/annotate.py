"""Annotate: put labels in by hand, one example at a time, with the keyboard alone if you like."""

from pages.parts import annotate_view, run_page

run_page.show("Annotate", annotate_view.show)
