"""Label changes and queues as tables, in which every text is a cell; steps are links to the page that opens them."""

from collections.abc import Sequence
from urllib.parse import quote

import pandas as pd

from icm_engine.analysis.flips import Queued
from icm_engine.analysis.history import LabelChange
from icm_engine.analysis.reading import Reading
from icm_engine.analysis.views import example_text
from icm_engine.analysis.wording import one_line


def changes_frame(reading: Reading, changes: Sequence[LabelChange]) -> pd.DataFrame:
    """Return label changes, the newest first, each with the address of its decision card."""
    ids = reading.run.codec.ids
    return pd.DataFrame(
        [
            {
                "step": change.step,
                "example": ids[change.example],
                "text": one_line(example_text(reading, change.example), 90),
                "before": change.old,
                "after": change.new,
                "cause": change.cause,
                "card": step_address(reading.run.name, change.event),
            }
            for change in reversed(changes)
        ]
    )


def step_address(run: str, event: int) -> str:
    """Return the address of an event on the Steps page."""
    return f"steps?run={quote(run, safe='')}&event={event}"


def queue_frame(reading: Reading, queue: Sequence[Queued]) -> pd.DataFrame:
    """Return a queue, one example a row; gold only where it is shown."""
    ids = reading.run.codec.ids
    rows = [
        {
            "example": ids[row.example],
            "text": one_line(example_text(reading, row.example), 90),
            "label": reading.labeling.get(row.example),
            "why": row.why,
            "flips": reading.changes[row.example].flips if row.example in reading.changes else 0,
            **({"gold": reading.gold.get(ids[row.example])} if reading.gold else {}),
        }
        for row in queue
    ]
    return pd.DataFrame(rows)
