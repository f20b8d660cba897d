"""Models that respond and judge in words in place of the sample model, which can neither; and the worker that has them.

    python -m tests.support.answering_judges --db FILE JOB

Loading, tokens and tuning stay those of the sample model. To a question about a capital it responds with the right one.
As a judge it answers at random before it was tuned, and rightly afterwards.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from icm_engine.baselines.generation import Generated, GenerationRequest, TableGenerator, stand_in_reply
from icm_engine.jobs import job_process, job_worker
from tests.support.labelled_runs import CAPITALS

Set = Callable[[Any, str, Any], None]


def responded(request: GenerationRequest, seed: int | None) -> str:
    """The capital that the prompt asks for."""
    return next(f"It is {city}." for land, city in CAPITALS.items() if land in request.text)


def judged(request: GenerationRequest, seed: int | None) -> str:
    """The verdict of somebody who knows the capitals, after a reason."""
    land, city = next(pair for pair in CAPITALS.items() if pair[0] in request.text)
    return f"{city} is the capital of {land}.\nVerdict: {f'It is {city}.' in request.text}"


def install(put: Set = setattr) -> None:
    """Have the process of a self-taught judge answer like this; `put` sets an attribute."""
    from icm_engine.models.generator import Continuer, TransformersGenerator

    def answer(self: Any, requests: Sequence[GenerationRequest], *how: Any) -> list[Generated]:
        reply = responded if isinstance(self, Continuer) else judged if self.loaded.adapter else stand_in_reply
        return TableGenerator(reply).generate(requests, *how)

    put(TransformersGenerator, "generate", answer)


if __name__ == "__main__":
    install()
    sys.exit(job_process.main(job_worker.perform))
