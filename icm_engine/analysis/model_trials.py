"""Read models of the trials before a run: the context check and the template trial."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from icm_engine import jobs
from icm_engine.analysis.formatting import count, decimal, duration, figures
from icm_engine.analysis.run_form import NewRun, Problem, Remedy
from icm_engine.analysis.status_tiles import Tile
from icm_engine.core.batching import Bar
from icm_engine.core.folds import OPTIONS
from icm_engine.core.labeling import Label
from icm_engine.core.settings import OTHER_STEPS, ModelChoice
from icm_engine.jobs import JobSpec
from icm_engine.jobs.model_trials import EVALUATIONS, KIND, body_of
from icm_engine.store.events import Json  # re-exported for pages
from icm_engine.store.store import Store

if TYPE_CHECKING:
    import pandas

    from icm_engine.analysis.figures import Chart


def check_sentences(found: Json) -> list[str]:
    """Return the findings of a context check, one sentence per fact."""
    lines = [_tokens(found), _fit(found), *_batch(found)]
    if found["evaluation"]:
        lines += [_cost(found["evaluation"]), _time(found["evaluation"])]
    return [*lines, *warnings(found)]


def warnings(found: Json) -> list[str]:
    """Return warnings before a run, in sentences; often none."""
    lines = []
    if found["tokenised"] < found["examples"]:
        lines.append(
            f"Tokens were counted for {found['tokenised']:,} of {found['examples']:,} examples, drawn with seed "
            f"{found['seed']}: a longer example may not be among them. The batch was counted exactly."
        )
    if found["batch"] == 0:
        lines.append(
            f"Not even the first group of examples fits the {found['context']:,} tokens of this model: use a model "
            "with a longer context, or shorter texts."
        )
    trained, evaluation = found["trained_context"], found["evaluation"]
    if trained and evaluation and (length := evaluation["tokens_full"] // evaluation["prompts"]) > trained:
        lines.append(
            f"Prompts of the whole batch have about {length:,} tokens; this model was trained on at most "
            f"{trained:,}: about {int(trained / found['tokens']['mean']):,} examples stay within that."
        )
    return lines


def check_tiles(found: Json) -> tuple[Tile, ...]:
    """Return the main numbers, each with its full sentence as explanation."""
    tokens, fits, evaluation = found["tokens"], found["fits"], found["evaluation"]
    context = f"in {found['context']:,} tokens" if found["context"] else "no known limit"
    return (
        Tile("Demonstration", decimal(tokens["median"], 0), f"tokens, up to {tokens['max']:,}", _tokens(found)),
        Tile("Fit the context", f"{fits['by_mean']:,}" if fits else "all", context, _fit(found)),
        Tile("Batch", f"{found['batch']:,}", f"of {found['examples']:,}", " ".join(_batch(found) or warnings(found))),
        *(_evaluation_tiles(evaluation) if evaluation else ()),
    )


def _evaluation_tiles(evaluation: Json) -> tuple[Tile, ...]:
    measured = evaluation["timed"][-1]["examples"]
    how = "measured" if _is_whole(evaluation) else f"from {measured:,} examples"
    return (
        Tile("Evaluation", count(evaluation["tokens_encoded"]), "tokens", _cost(evaluation)),
        Tile("Time", _seconds(evaluation["seconds"]), how, _time(evaluation)),
    )


def token_histogram(found: Json, dark: bool = False) -> "Chart":
    """Return the histogram of tokens per demonstration."""
    from icm_engine.analysis.figures import Chart, blank_figure, palette

    bars = [Bar(**bar) for bar in found["histogram"]]
    colours, figure = palette(dark), blank_figure(dark, "examples")
    named = [f"{bar.low:,}" if bar.low == bar.high else f"{bar.low:,} – {bar.high:,}" for bar in bars]
    figure.add_bar(
        x=[(bar.low + bar.high) / 2 for bar in bars],
        y=[bar.count for bar in bars],
        customdata=named,
        width=[bar.high - bar.low + 1 for bar in bars],
        marker={"color": colours.strong, "line": {"width": 0}},
        hovertemplate="%{customdata} tokens: %{y:,} examples<extra></extra>",
    )
    figure.update_layout(hovermode="closest", bargap=0.06, showlegend=False)
    figure.update_xaxes(title_text="tokens a demonstration", rangemode="normal")
    return Chart("Tokens a demonstration", _tokens(found), figure, _alt(bars, found))


def histogram_frame(found: Json) -> "pandas.DataFrame":
    """Return the histogram as a table."""
    import pandas

    bars = found["histogram"]
    named = {"tokens from": "low", "to": "high", "examples": "count"}
    return pandas.DataFrame({title: [bar[field] for bar in bars] for title, field in named.items()})


def _alt(bars: Sequence[Bar], found: Json) -> str:
    most = max(bars, key=lambda bar: bar.count)
    return f"{_tokens(found)} The most, {most.count:,}, have {most.low:,} to {most.high:,}."


def _tokens(found: Json) -> str:
    tokens = found["tokens"]
    return (
        f"Demonstrations have {tokens['min']:,} to {tokens['max']:,} tokens: {decimal(tokens['median'], 0)} at the "
        f"median, {decimal(tokens['mean'])} on average, at most {tokens['p95']:,} in 95\u00a0%."
    )


def _fit(found: Json) -> str:
    if found["fits"] is None:
        return "This model has no known context: every number of examples fits."
    fits, all_fit = found["fits"], found["fits"]["whichever"] >= found["tokenised"] >= found["examples"]
    whichever = "all of them fit" if all_fit else f"{fits['whichever']:,} fit even if they are the longest"
    return f"The context of {found['context']:,} tokens takes {fits['by_mean']:,} examples of mean length; {whichever}."


def _batch(found: Json) -> list[str]:
    if not found["batch"]:
        return []
    if found["batch"] == found["examples"]:
        return [f"All {found['examples']:,} examples fit one prompt: a run can take them at once."]
    first = f"A run can take the first {found['batch']:,} examples (--limit {found['batch']}), cutting no group."
    return [first, *_batches(found)]


def _batches(found: Json) -> list[str]:
    """Say how all examples can be labelled: in batches of a size that fits any choice of examples."""
    size = found["fits"]["whichever"] if found["fits"] else 0
    if size < 2:
        return []
    count, all_of_them = -(-found["examples"] // size), f"{found['examples']:,}"
    return [
        f"All {all_of_them} can be labelled in {count:,} batches or more (--batch-size {size}): {size:,} fit even if "
        "they are the longest."
    ]


def _cost(evaluation: Json) -> str:
    encoded, full = evaluation["tokens_encoded"], evaluation["tokens_full"]
    ratio = f", {full / encoded:.1f} times as many" if encoded else ""
    return (
        f"One evaluation of {evaluation['examples']:,} examples encodes {encoded:,} tokens (counted by the "
        f"{evaluation['counted']}); separate full prompts would be {full:,}{ratio}."
    )


def _time(evaluation: Json) -> str:
    if _is_whole(evaluation):
        return f"One evaluation took {_seconds(evaluation['seconds'])}, measured on the whole batch."
    last = evaluation["timed"][-1]
    return (
        f"One evaluation takes about {_seconds(evaluation['seconds'])}: {last['examples']:,} examples "
        f"({last['tokens_encoded']:,} tokens) took {_seconds(last['seconds'])}; the rest is scaled by tokens, and by "
        "how the time for a token grew with the length of the prompts."
    )


def _is_whole(evaluation: Json) -> bool:
    return bool(evaluation["timed"][-1]["examples"] == evaluation["examples"])


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if 0.05 <= seconds < 60 else duration(seconds) if seconds >= 60 else "under 0.1 s"


# -- the expected cost of a run


@dataclass(frozen=True, slots=True)
class RunCost:
    """The expected cost of a run; tokens and seconds are None if no trial measured this model on this data."""

    examples: int
    steps: int
    searches: int  # batches times chains
    tokens: float | None = None
    seconds: float | None = None
    job: str = ""  # the trial

    @property
    def words(self) -> str:
        """Steps, and tokens and time where they are known."""
        each = f" in {self.searches:,} searches" if self.searches > 1 else ""
        steps = f"{self.steps:,} steps for {self.examples:,} examples{each}"
        if self.tokens is None or self.seconds is None:
            return steps
        return f"{steps} · about {count(round(self.tokens))} tokens · about {duration(self.seconds)} on this machine"


def run_cost(store: Store, wish: NewRun, examples: int, model: ModelChoice) -> RunCost:
    """Return the cost of a run, from the newest context check or template trial of this data set with this model.

    A search of four steps per example is estimated to take two evaluations of all its labels per example, as in the
    template trial. The tokens of an evaluation grow with the segments of its prefix tree.
    """
    size = min(wish.batch_size or examples, examples)
    searches = -(-examples // size) * wish.chains
    steps = wish.steps(size) * searches
    measured = _evaluation_of(store, wish.dataset, model)
    if measured is None:
        return RunCost(examples, steps, searches)
    job, of, tokens, seconds = measured
    times = EVALUATIONS * steps / OTHER_STEPS * _segments(size) / _segments(of)
    return RunCost(examples, steps, searches, times * tokens, times * seconds, job)


@dataclass(frozen=True, slots=True)
class FoldsCost:
    """The most that a run with folds can cost; tokens are None if no context check counted those of an example."""

    examples: int
    folds: int
    rounds: int
    epochs: int
    tokens: float | None = None
    job: str = ""  # the context check

    @property
    def words(self) -> str:
        """Fits, and the tokens read in tuning where they are known."""
        fits, rows = self.folds * self.rounds, round(self.examples * (1 - 1 / self.folds))
        said = f"At most {fits:,} fits ({self.rounds} rounds of {self.folds} folds), each on about {rows:,} labels"
        if self.tokens is None:
            return f"{said}, {self.epochs} times over"
        return f"{said} · at most about {count(round(self.tokens))} tokens tuned on"


def folds_cost(store: Store, wish: NewRun, examples: int, model: ModelChoice) -> FoldsCost:
    """Return the most that a run with folds can cost, with the tokens of the newest context check of these data."""
    options = {**OPTIONS, **wish.options}
    folds, epochs = options["folds"], options["epochs"]
    job = finished_check(store, wish.dataset, model)
    found = jobs.result(store, job) if job else None
    if not job or not found:
        return FoldsCost(examples, folds, wish.rounds, epochs)
    read = found["tokens"]["mean"] * examples * (folds - 1) * epochs * wish.rounds
    return FoldsCost(examples, folds, wish.rounds, epochs, read, job)


def _segments(examples: int) -> float:
    """The segments of the prefix tree of this many examples, n (log2 n + 1); exact for powers of two."""
    return examples * (math.log2(max(1, examples)) + 1)


def _evaluation_of(store: Store, dataset: str, model: ModelChoice) -> tuple[str, int, float, float] | None:
    """The newest trial that measured an evaluation, with its examples, tokens and seconds."""
    checked = finished_check(store, dataset, model)
    result = jobs.result(store, checked) if checked else None
    if checked and result and (evaluation := result["evaluation"]):
        return checked, evaluation["examples"], evaluation["tokens_encoded"], evaluation["seconds"]
    for job in trials_with(store, KIND, dataset, model):
        found = jobs.result(store, job)
        row = next((row for row in found["rows"] if row["own"] and not row["problem"]), None) if found else None
        if found and row:
            size = found["examples"]
            return job, size, row["tokens_per_evaluation"], 60 * row["minutes"] / (EVALUATIONS * size)
    return None


def finished_check(store: Store, dataset: str, model: ModelChoice) -> str | None:
    """Return the newest context check of a data set with this model that has a result."""
    made = trials_with(store, CHECK, dataset, model)
    return next((job for job in made if jobs.result(store, job)), None)


def trials_with(store: Store, kind: str, dataset: str, model: ModelChoice) -> list[str]:
    """Return the jobs of a kind on the current version of a data set with this model, newest first."""
    if not store.has_dataset(dataset):
        return []
    since = store.dataset_info(dataset).created
    made = [job for job in jobs.names(store, kind, dataset) if jobs.created(store, job) >= since]
    return [job for job in made if jobs.spec(store, job).model == model]


def too_long(store: Store, wish: NewRun, examples: int, model: ModelChoice) -> Problem | None:
    """Return a warning if a context check found that the examples do not fit the model's context."""
    job = None if wish.by_folds else finished_check(store, wish.dataset, model)
    found = jobs.result(store, job) if job else None
    if not found or not found["fits"] or found["batch"] == found["examples"]:
        return None
    fits, size = found["batch"], found["fits"]["whichever"]
    if examples <= fits or (wish.batch_size or examples) <= size:
        return None
    return Problem(
        f"The context of this model takes {fits:,} of the {examples:,} examples at once.",
        (
            *([Remedy(f"Label {fits:,} of them", "limit", fits)] if fits > 1 else []),
            *([Remedy(f"Label all in batches of {size:,}", "batch_size", size)] if size > 1 else []),
        ),
    )


CHECK = "context-check"
LEAST_MASS = 0.5  # minimum probability on the labels, with demonstrations, for a template to fit
LEAST_SPREAD = 0.1  # nats; below this, the queried text hardly changes the scores


def submit(
    store: Store,
    dataset: str,
    model: ModelChoice,
    limit: int | None,
    templates: Sequence[str] = (),
    labels: Sequence[Sequence[Label]] = (),
) -> str:
    """Start a template trial and return its job. Raises NotFound for an unknown data set."""
    store.dataset_info(dataset)
    return jobs.request(store, JobSpec(KIND, body_of(dataset, limit, templates, labels), model))


def trials(store: Store, dataset: str) -> list[str]:
    """Return the template trials of a data set, newest first."""
    return jobs.names(store, KIND, dataset)


def written(text: str) -> str:
    """Return a template on one line, with its line ends written as \\n."""
    return text.replace("\n", "\\n")


def trial_frame(found: Json) -> "pandas.DataFrame":
    """Return the rows of a trial as a table, in their order."""
    import pandas

    return pandas.DataFrame(
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
    """Return a probability as text: in percent, or with an exponent if it is tiny."""
    if value is None:
        return ""
    return f"{value:.0%}" if value >= 0.01 else figures(value)


def trial_sentences(found: Json) -> list[str]:
    """Return the findings of a template trial, in sentences."""
    usable = [row for row in found["rows"] if not row["problem"]]
    if not usable:
        return [f"No template can be tried: {found['rows'][0]['problem']}"]
    best, own = usable[0], next((row for row in usable if row["own"]), None)
    said = [f"Best of {len(found['rows'])}: {_words(best)}."]
    if own is not None and own is not best:
        said.append(f"The data set's own: {_words(own)}.")
    if best["mass_shown"] < LEAST_MASS:
        said.append("Little probability falls on the labels, even with demonstrations: try other words.")
    if best["spread"] < LEAST_SPREAD:
        said.append("The scores hardly vary between examples: this model may not know the task.")
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
    """Return a task file (TOML) with the template and labels of a row, numbered from 1 in table order."""
    task, row = store.dataset_info(found["dataset"]).task, found["rows"][number - 1]
    true = row["labels"][task.labels.index(task.true_label)]
    lines = [f"template = {json.dumps(row['template'])}", f"labels = {json.dumps(row['labels'])}"]
    return "\n".join([*lines, f"true_label = {json.dumps(true)}", f"rule = {json.dumps(task.rule)}", ""])
