"""Experiments: suites of runs, declared in small files, run to their end, summarised with intervals, and reported.

suites              which label sources are compared, on which data, how often (suites/*.toml)
plan                one cell per arm, data set and seed, with its RunSpec
runner              starts a suite; creates missing runs, has workers do them, evaluates their labels in use
results             cells, rows with intervals, predictors of accuracy; the stored JSON
self_rewarding      rounds of sampling, judging and preference tuning; keeps the best round
report              Markdown and HTML, and static pictures; report_tables: its tables
"""
