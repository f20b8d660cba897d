"""What if one label were another: what asking costs, the question as a job, and the answer in words."""

from dataclasses import dataclass

from icm_engine.analysis.reading import Reading
from icm_engine.analysis.wording import count, decimal, duration, percent
from icm_engine.core.labeling import Label
from icm_engine.runs import jobs
from icm_engine.runs.events import Json
from icm_engine.runs.jobs import JobSpec
from icm_engine.runs.store import Store

KIND = "what-if"


@dataclass(frozen=True, slots=True)
class Price:
    """What one question will cost about, by what the run's own evaluations cost on average; repairs come on top."""

    prompts: int
    tokens: float
    seconds: float

    @property
    def words(self) -> str:
        return (
            f"About {self.prompts:,} prompts, {count(round(self.tokens))} tokens and {duration(self.seconds)} to score "
            "the labels once, and again for each option of a repair; loading the model comes first."
        )


def price(reading: Reading) -> Price:
    """Return what asking about one label costs: one evaluation of as many examples as are labelled."""
    spent, labelled = reading.spent, reading.tally.labelled
    share = labelled / max(1, spent.prompts)
    return Price(labelled, spent.tokens_encoded * share, spent.seconds * share)


def other_labels(reading: Reading, example: str) -> tuple[Label, ...]:
    """Return the labels that an example does not have; none for one without a label. Raises KeyError."""
    now = reading.labeling.get(reading.run.codec.index(example))
    return tuple(label for label in reading.tally.labels if label != now) if now else ()


def ask(store: Store, reading: Reading, event: int, example: str, label: Label) -> str:
    """Start the question as a job and return its name."""
    run = reading.run
    body = {"run": run.name, "event": event, "example": example, "label": label, "dataset": run.spec.dataset}
    return jobs.request(store, JobSpec(KIND, body, jobs.model_of_run(store, run.name)))


def asked(store: Store, run: str, example: str) -> list[str]:
    """Return the questions about one example of a run, the newest first."""
    mine = (job for job in jobs.names(store, KIND))
    return [job for job in mine if (b := jobs.spec(store, job).body)["run"] == run and b["example"] == example]


def answer_words(answer: Json) -> list[str]:
    """Return what a question found, one sentence a fact."""
    before, after, repaired = (answer[name]["utility"] for name in ("before", "after", "repaired"))
    lines = [
        f"After step {answer['step']:,}, with {answer['label']} in place of {answer['old']}: U from "
        f"{decimal(before, 2)} to {decimal(after, 2)}, delta {decimal(answer['delta_unrepaired'], 2)}."
    ]
    if answer["flips"]:
        others = ", ".join(f"{flip['example']} to {flip['new']}" for flip in answer["flips"])
        lines.append(f"Repaired ({others}): U {decimal(repaired, 2)}, delta {decimal(answer['delta'], 2)}.")
    chance = percent(answer["accept_probability"])
    lines.append(f"At the next step's T = {decimal(answer['temperature'], 2)} it would be accepted with {chance}.")
    cost = answer["usage"]
    lines.append(f"Cost {cost['prompts']:,} prompts, {cost['tokens_encoded']:,} tokens, {duration(answer['seconds'])}.")
    return lines
