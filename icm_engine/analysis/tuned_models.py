"""Fine-tuning as pages and commands show it: settings, progress, loss, and the tuned model on a test part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from icm_engine import jobs
from icm_engine.analysis.evaluation import Estimate, Used, asked, estimate, unlabelled_parts, used
from icm_engine.analysis.formatting import decimal
from icm_engine.analysis.run_form import Setting
from icm_engine.core.errors import SettingError
from icm_engine.core.settings import ModelChoice, TuneSettings
from icm_engine.jobs import downstream_eval, finetuning
from icm_engine.jobs.finetuning import EXPLANATIONS, KIND
from icm_engine.runs import model_registry
from icm_engine.store.events import Json
from icm_engine.store.store import Store

if TYPE_CHECKING:
    import pandas

    from icm_engine.analysis.figures import Chart

LOGGED = "logged"
TESTED = 512  # maximum number of examples of a test part
TESTED_WORDS = (
    f"At most {TESTED} examples that the run did not label. Right: share equal to gold, with a 95 % interval over "
    "examples (whole groups). Shots: demonstrations from the run."
)
SHOTS: tuple[int | str, ...] = (0, "fit")


@dataclass(frozen=True, slots=True)
class LossPoint:
    """One log entry of the trainer; `seconds` counts from the start of training in its process."""

    step: int
    steps: int
    epoch: float
    loss: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class TunedAccuracy:
    """A model on the test part with a number of demonstrations; `right` is None without gold."""

    model: str
    used: Used
    right: Estimate | None


def settings() -> tuple[Setting, ...]:
    """Return every setting of fine-tuning with its default."""
    return tuple(
        Setting(field.name, field.default, (), EXPLANATIONS[field.name].capitalize() + ".")
        for field in fields(TuneSettings)
    )


def submit(store: Store, runs: Sequence[str], values: Mapping[str, Any], name: str | None = None) -> str:
    """Start fine-tuning on the labels of runs and return the job. Raises NotFound, NotInstalled, SettingError."""
    return finetuning.request(store, runs, finetuning.settings_of(values), name or None)


def jobs_about(store: Store, run: str) -> list[str]:
    """Return the fine-tunings on a run's labels, newest first."""
    return [job for job in jobs.names(store, KIND) if run in jobs.spec(store, job).body["runs"]]


def facts_of(store: Store, job: str) -> Json | None:
    """Return the facts about a tuned model; None while the fine-tuning is unfinished."""
    return jobs.result(store, job)


def points(store: Store, job: str) -> list[LossPoint]:
    """Return the trainer's log entries by step; where a resumed training repeated a step, its last entry."""
    found: dict[int, LossPoint] = {}
    for event in store.read_after(job, kinds=(LOGGED,)):
        values = {field.name: event.body[field.name] for field in fields(LossPoint)}
        found[values["step"]] = LossPoint(**values)
    return [found[step] for step in sorted(found)]


def loss_chart(some: Sequence[LossPoint], dark: bool = False) -> "Chart":
    """Loss of the labels over training steps."""
    from icm_engine.analysis.figures import Chart, blank_figure, palette

    figure = blank_figure(dark, "loss")
    figure.add_scatter(
        x=[point.step for point in some],
        y=[point.loss for point in some],
        mode="lines",
        name="loss",
        line={"color": palette(dark).strong, "width": 2},
    )
    figure.update_yaxes(rangemode="tozero")
    figure.update_layout(showlegend=False)
    last = some[-1]
    alt = f"Loss over steps: {decimal(some[0].loss, 3)} at step {some[0].step}, {decimal(last.loss, 3)} at {last.step}"
    caption = "Mean −log p of the labels in each step; two equally likely labels have 0.69."
    return Chart("Training loss", caption, figure, alt)


def points_frame(some: Sequence[LossPoint]) -> "pandas.DataFrame":
    """Return the logs as a table."""
    import pandas

    names = [field.name for field in fields(LossPoint) if field.name != "steps"]
    rows = [[getattr(point, name) for name in names] for point in some]
    return pandas.DataFrame(rows, columns=[name.replace("_", " ") for name in names])


def how_to_use(facts: Json) -> str:
    """Say what to pass as the model wherever one is asked for."""
    return f"{model_registry.PREFIX}{facts['name']}"


def card_frame(facts: Json) -> "pandas.DataFrame":
    """Return the facts about a tuned model as names and values."""
    import pandas

    shown = {
        "model": how_to_use(facts),
        "base": facts["base"],
        "quantization": facts["quantization"],
        "labels of": ", ".join(run["run"] for run in facts["runs"]),
        "labels": f"{facts['rows']:,}",
        "supervised": "yes" if facts["supervised"] else "no",
        "steps": f"{facts['steps']:,}",
        "first loss": decimal(facts["first_loss"], 3),
        "last loss": decimal(facts["last_loss"], 3),
        "trained parameters": f"{facts['parameters']:,}",
        **{name.replace("_", " "): str(value) for name, value in facts["settings"].items()},
    }
    return pandas.DataFrame({"what": list(shown), "value": list(shown.values())})


def try_out(store: Store, job: str) -> list[str]:
    """Start jobs that use the base and the tuned model on examples the run did not label; return the jobs.

    Raises SettingError if no test examples are left.
    """
    run = jobs.spec(store, job).body["run"]
    spec = store.spec(run)
    parts = unlabelled_parts(store, spec.dataset, spec)
    if not parts:
        raise SettingError(f"run {run!r} labelled all of its data set: try it on another one (--test NAME)")
    made = [asked(store, run, model, shots, TESTED, parts, 0) for model, shots in _models(store, job)]
    for one in made:
        jobs.start(store, one)
    return made


def tried(store: Store, job: str) -> list[str]:
    """Return the uses of a tuned model and of its base on examples their run did not label."""
    run, wanted = jobs.spec(store, job).body["run"], _models(store, job)
    specs = {one: jobs.spec(store, one) for one in jobs.names(store, downstream_eval.KIND, run=run)}
    models = [(model, list(shots)) for model, shots in wanted]
    return [one for one, spec in sorted(specs.items()) if (spec.model, spec.body["shots"]) in models]


def _models(store: Store, job: str) -> list[tuple[ModelChoice, Sequence[int | str]]]:
    """The base model with no and with all demonstrations, and the tuned one with none."""
    facts, model = facts_of(store, job), jobs.spec(store, job).model
    assert facts is not None
    assert model is not None
    return [(model, SHOTS), (replace(model, model=how_to_use(facts)), SHOTS[:1])]


def lines(store: Store, some: Sequence[str], gold: bool = True) -> list[TunedAccuracy]:
    """Return a line for each model and number of demonstrations of finished uses; without gold only the predictions."""
    found = []
    for job in some:
        model = jobs.spec(store, job).model
        for one in used(store, job):
            right = estimate([one.right]) if gold and one.right else None
            found.append(TunedAccuracy(model.model if model else "", one, right))
    return found


def lines_frame(some: Sequence[TunedAccuracy]) -> "pandas.DataFrame":
    """Return the test as a table: shares of correct and of True answers, with 95 % intervals over examples."""
    import pandas

    rows = [[line.model, line.used.shots, *_right(line), line.used.predicted_true] for line in some]
    return pandas.DataFrame(rows, columns=["model", "shots", "right", "from", "to", "said True"])


def _right(line: TunedAccuracy) -> tuple[float | None, float | None, float | None]:
    return (line.right.mean, line.right.low, line.right.high) if line.right else (None, None, None)
