"""A scorer in a process whose memory is limited for real (RLIMIT_AS); prints what became of it, as JSON.

    python -m tests.support.limited_memory MODEL MEGABYTES

The limit leaves so many megabytes above what the process has when its model has scored once.
"""

import json
import resource
import sys

import psutil

from icm_engine.core.errors import OutOfMemory
from icm_engine.core.prompting import Prompt
from icm_engine.core.settings import ModelChoice
from icm_engine.models.loading import load
from icm_engine.models.transformers_scorer import TransformersScorer

UNLIMITED = resource.getrlimit(resource.RLIMIT_AS)
LONG = Prompt((*((f"claim {k} is True\n",) for k in range(60)), ("a claim is ",)), ("True", "False"))
SHORT = Prompt((("a claim is ",),), ("True", "False"))


def main(model: str, megabytes: int) -> None:
    """Score a long prompt under the limit, then without it in calls of the size that it came to."""
    loaded = load(ModelChoice(model, "none", "float32", "cpu"))
    scorer = TransformersScorer(loaded)
    scorer.score([SHORT])  # threads and buffers are there now
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + megabytes * 10**6, UNLIMITED[1]))
    try:
        found = scorer.score([LONG])
    except OutOfMemory as error:
        print(json.dumps({"refused": str(error), "tokens": scorer.chunk_tokens}))
        return
    resource.setrlimit(resource.RLIMIT_AS, UNLIMITED)
    again = TransformersScorer(loaded, chunk_tokens=scorer.calls.tokens).score([LONG])
    print(json.dumps({"tokens": scorer.calls.tokens, "why": scorer.calls.why, "equal": found == again}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
