"""Training: a model tuned on a run's labels, its loss while it learns, and what it says on a test part."""

from pages.parts import run_page, training_view

run_page.show("Training", training_view.show)
