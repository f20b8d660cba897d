"""The method of Internal Coherence Maximization, in the standard library alone.

Reading order: labeling, consistency, prompting, scoring, objective, search.
"""
