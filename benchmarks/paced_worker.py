"""A worker whose steps begin no sooner than 1/RATE seconds after each other: a fake in the rhythm of a real model.

python -m benchmarks.paced_worker RATE --db FILE RUN
"""

import sys
import time
from typing import Any

from icm_engine.runs import worker


class Paced(worker.Worker):
    """The worker itself, which waits before a step until its turn has come."""

    rate, due = 1.0, 0.0

    def _advance(self, *given: Any) -> None:
        time.sleep(max(0.0, self.due - time.monotonic()))
        self.due = max(self.due, time.monotonic()) + 1 / self.rate
        super()._advance(*given)


if __name__ == "__main__":
    Paced.rate = float(sys.argv.pop(1))
    worker.Worker = Paced  # type: ignore[misc]
    sys.exit(worker.main())
