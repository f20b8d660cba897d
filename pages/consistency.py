"""Consistency: the pairs and groups inconsistent now and ever, and every repair with its options."""

from pages.parts import conflict_view, run_page

run_page.show("Consistency", conflict_view.show)
