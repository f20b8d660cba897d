"""Small problems, with a table of probabilities for a model."""

import math


def probabilities(*values: float) -> tuple[float, ...]:
    """Label probabilities as a scorer gives them: natural logs."""
    return tuple(math.log(value) for value in values)
