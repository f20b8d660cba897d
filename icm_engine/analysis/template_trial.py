"""The read model of a template trial: its table, its sentences, and a task file of the template that is chosen."""

import json
from collections.abc import Sequence

import pandas as pd

from icm_engine.analysis.wording import decimal, duration, figures
from icm_engine.core.labeling import Label
from icm_engine.runs import jobs
from icm_engine.runs.events import Json
from icm_engine.runs.jobs import JobSpec, ModelChoice
from icm_engine.runs.store import Store
from icm_engine.runs.template_trial import EVALUATIONS, KIND, body_of

LEAST_MASS = 0.5  # of the probability, with demonstrations, below which a template hardly fits
LEAST_SPREAD = 0.1  # nats: below it what is asked about hardly moves the scores


def ask(
    store: Store, dataset: str, model: ModelChoice, limit: int | None,
    templates: Sequence[str] = (), labels: Sequence[Sequence[Label]] = (),
) -> str:  # fmt: skip
    """Start a template trial and return its job. Raises NotFound for an unknown data set."""
    store.dataset_info(dataset)
    return jobs.request(store, JobSpec(KIND, body_of(dataset, limit, templates, labels), model))


def written(text: str) -> str:
    """Return a template on one line, its line ends as people write them."""
    return text.replace("\n", "\\n")


def trial_frame(found: Json) -> pd.DataFrame:
    """Return the rows of a trial as a table, in their order."""
    return pd.DataFrame(
        [
            {
                "": "★" if row["own"] else "",
                "template": written(row["template"]),
                "labels": ", ".join(row["labels"]),
                "on the labels, no demonstrations": share(row.get("mass_alone")),
                "on the labels, with demonstrations": share(row.get("mass_shown")),
                "spread (nats)": decimal(row.get("spread"), 2),
                "most frequent label": share(row.get("lean")),
                "a run": duration(60 * row["minutes"]) if "minutes" in row else "",
                "problem": row["problem"],
            }
            for row in found["rows"]
        ]
    )


def share(value: float | None) -> str:
    """Return a probability as text: in percent, or with its exponent where it is tiny."""
    if value is None:
        return ""
    return f"{value:.0%}" if value >= 0.01 else figures(value)


def sentences(found: Json) -> list[str]:
    """Return what a trial found, in sentences."""
    usable = [row for row in found["rows"] if not row["problem"]]
    if not usable:
        return [f"No template can be asked: {found['rows'][0]['problem']}"]
    best, own = usable[0], next((row for row in usable if row["own"]), None)
    said = [f"Best of {len(found['rows'])}: {_words(best)}."]
    if own is not None and own is not best:
        said.append(f"The data set's own: {_words(own)}.")
    if best["mass_shown"] < LEAST_MASS:
        said.append("Little of the probability falls on the labels, even with demonstrations: try other words.")
    if best["spread"] < LEAST_SPREAD:
        said.append("The scores hardly move from one example to the next: this model may not know the task.")
    said.append(
        f"Asked about {found['asked']} examples, alone and with {found['shown']} others at random labels. The time of "
        f"a run is reckoned with {EVALUATIONS} evaluations for each of {found['examples']:,} examples."
    )
    return said


def _words(row: Json) -> str:
    return (
        f"“{written(row['template'])}” with {', '.join(row['labels'])}: {share(row['mass_shown'])} on the labels with "
        f"demonstrations, {share(row['mass_alone'])} without; spread {decimal(row['spread'], 2)} nats; time of "
        f"a run: {duration(60 * row['minutes'])}"
    )


def task_file(store: Store, found: Json, number: int) -> str:
    """Return a task file (TOML) with the template and labels of a row, counted from 1 in the order of the table."""
    task, row = store.dataset_info(found["dataset"]).task, found["rows"][number - 1]
    true = row["labels"][task.labels.index(task.true_label)]
    lines = [f"template = {json.dumps(row['template'])}", f"labels = {json.dumps(row['labels'])}"]
    return "\n".join([*lines, f"true_label = {json.dumps(true)}", f"rule = {json.dumps(task.rule)}", ""])
