"""Golden files: what the program wrote, accepted and answered when they were made.

`python -m tests.golden --write` makes them anew; `git diff tests/golden` then shows what changed.
"""
