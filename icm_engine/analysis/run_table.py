"""The table of runs: one row a run, filtered by words and status."""

from collections.abc import Sequence

import pandas as pd

from icm_engine.analysis.formatting import PHASE_STYLES, moment
from icm_engine.analysis.views import Overview
from icm_engine.runs.life_cycle import LEFT, OVER

STATUSES = ("Any status", "Moving", "Waiting", "Ended")


def matching(rows: Sequence[Overview], words: str, status: str) -> list[Overview]:
    """Return the runs whose name, data set or model contains `words`, of one of STATUSES."""
    sought = words.strip().casefold()
    return [row for row in rows if _has_status(row, status) and (not sought or sought in _text(row))]


def _has_status(row: Overview, status: str) -> bool:
    ends = {"Moving": row.moving, "Waiting": row.phase in LEFT, "Ended": row.phase in OVER}
    return ends.get(status, True)


def _text(row: Overview) -> str:
    return " ".join((row.run, row.dataset, row.model, row.source, row.preset)).casefold()


def runs_frame(rows: Sequence[Overview]) -> pd.DataFrame:
    """Return the table, newest first; columns without any value are left out."""
    frame = pd.DataFrame(
        [
            {
                "run": row.run,
                "status": f"{PHASE_STYLES[row.phase].icon} {PHASE_STYLES[row.phase].word}",
                "progress": row.progress.share,
                "U": row.utility,
                "best U": row.best,
                "accuracy": row.accuracy.raw if row.accuracy else None,
                "labelled": f"{row.labelled:,} of {row.examples:,}",
                "conflicts": row.conflicts,
                "data set": row.dataset,
                "model": row.model,
                "source": row.source,
                "preset": row.preset,
                "alpha": row.alpha,
                "seed": row.seed,
                "edited": "by hand" if row.edited else None,
                "created": moment(row.created),
            }
            for row in rows
        ]
    )
    return frame.dropna(axis=1, how="all") if len(frame) else frame
