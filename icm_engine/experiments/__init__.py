"""Experiments: suites of runs declared in small files, driven to their end, summed up with intervals, and reported.

suites              which label sources stand side by side, on which data, how often (suites/*.toml)
plan                one cell for each arm, data set and seed, and the RunSpec that it is
launch              ask for a suite; the job that drives one
runner              make the runs there are not yet, have them done, use their labels
results             cells, rows with intervals, predictors of accuracy; the stored JSON
report              Markdown and HTML, and static pictures; report_tables: its tables
"""
