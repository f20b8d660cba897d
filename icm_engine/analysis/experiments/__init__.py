"""Experiments: suites of runs declared in small files, driven to their end, summed up with intervals, and reported."""
