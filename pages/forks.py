"""Forks: the tree of runs that grew out of each other, a new fork from any step, and where two runs part."""

from pages.parts import fork_view, run_page

run_page.show("Forks", fork_view.show)
