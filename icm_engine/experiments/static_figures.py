"""Static pictures of figures, drawn by plotly's kaleido with the machine's Chrome: python -m ...experiments.static.

In a process of its own with a time limit: a Chrome that does not answer would hold up the report for ever.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping

from icm_engine.core.resources import search_path

LIMIT = 120.0  # seconds for all pictures of a report; they take four
WIDTH = 1000


def draw(figures: Mapping[str, str]) -> bool:
    """Write each figure, given as JSON by the path it goes to; say whether all of them are there."""
    if not figures:
        return True
    command = [sys.executable, "-P", "-m", "icm_engine.experiments.static_figures"]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(dict(figures)),
            text=True,
            capture_output=True,
            timeout=LIMIT,
            check=False,
            env={**os.environ, "PYTHONPATH": search_path()},
        )
    except (subprocess.TimeoutExpired, OSError):
        return False
    return done.returncode == 0


def main() -> None:
    """Draw the figures of standard input."""
    import kaleido
    import plotly.io

    asked = json.loads(sys.stdin.read())
    kaleido.write_fig_from_object_sync(
        [{"fig": plotly.io.from_json(figure), "path": path, "opts": {"width": WIDTH}} for path, figure in asked.items()]
    )


if __name__ == "__main__":
    main()
