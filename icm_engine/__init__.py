"""ICM Workbench: Internal Coherence Maximization, step by step and inspectable."""

__version__ = "0.1.0"
