"""Compare: a run beside gold, beside other seeds and other runs, and its labels beside reference labelings."""

from pages.parts import compare_view, run_page

run_page.show("Compare", compare_view.show)
