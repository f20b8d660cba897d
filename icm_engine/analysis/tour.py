"""Help: the clicks to three labels in doubt, the usual exercise, and the guided tour of a run on its own steps."""

from collections.abc import Callable
from dataclasses import dataclass, field

from icm_engine.analysis import step_card
from icm_engine.analysis.formatting import decimal
from icm_engine.analysis.repairs import repair_card, repair_code
from icm_engine.analysis.run_form import FIRST_RUN
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.status_tiles import round_sentence
from icm_engine.analysis.step_card import decision
from icm_engine.analysis.time_travel import open_moment
from icm_engine.analysis.traces import Point
from icm_engine.store.store import Store

TOURED = FIRST_RUN.dataset
NOT_YET = "This has not happened in this run yet. Come back when it has taken more steps."


@dataclass(frozen=True, slots=True)
class Click:
    """One click of a path through the app, which a browser test follows.

    `area` is the key of a part of the page; the part has the words in bold, and `place` counts its buttons and links.
    """

    words: str  # Markdown
    area: str
    place: int = 0


def _about_doubt(number: int, which: str) -> tuple[Click, ...]:
    return (
        Click(f"At the top, under **Least certain**, choose the {which} example.", "doubts", number),
        Click("Below the table, under **Decisions that changed its label**, choose the last one.", "decisions", -1),
        Click("Choose **Overview**.", "tab_overview_off"),
    )


PATH_TO_DOUBTS = (
    Click("On Runs, choose **Start a run on sample data** and wait until the run has finished.", "first_run"),
    *(click for number, which in enumerate(("first", "second", "third")) for click in _about_doubt(number, which)),
)


EXERCISE = (  # Markdown; docs/experiments.md has the commands, and how the budget was computed
    "On **Data**, import TruthfulQA.csv, the file that the authors of TruthfulQA publish, with the task *truthfulness* "
    "and the name *truthful*. Every answer becomes a claim.",
    "On **Experiments**, choose the suite *truthfulqa* and a base model, and **Run the suite**. It labels 256 claims "
    "and shows the labels as demonstrations for 100 others. *Quick* takes 16 and 8.",
    "The report has a bar for each source, of the 100 claims: the model without demonstrations (*zero-shot*), by its "
    "chat template if it has one (*zero-shot, chat*), with the labels of *ICM*, with *golden* ones, and with *random "
    "labels*.",
)
EXERCISE_BUDGET = (
    "Budget: about 45 million tokens, nearly all of them in the search. They are computed for a tokenizer with 38 "
    "tokens a claim; a search may take up to twice as many. With one seed the intervals are over claims only."
)


@dataclass(frozen=True, slots=True)
class Station:
    """One stop: a title, its meaning, what happened in this run, and the page that shows it (empty: none)."""

    title: str
    meaning: str
    seen: str
    page: str = ""
    query: dict[str, str] = field(default_factory=dict)


def stations(store: Store, reading: Reading) -> tuple[Station, ...]:
    """Return the stops of the tour for a run that has labels; a stop without an instance yet says so."""
    if reading.by_folds:
        return _of_folds(store, reading)
    return (
        _utility(reading),
        _temperature(reading),
        _step(store, reading, "A loss that was accepted", LOSS, lambda p: p.verdict == "accepted" and p.delta < 0),
        _step(store, reading, "A proposal that was rejected", REJECTED, lambda p: p.verdict == "rejected"),
        _repair(store, reading),
        _next(reading),
    )


LOSS = (
    "A search that only climbs ends on the first hill. So a step that lowers U is accepted with probability "
    "exp(delta / T): likely while T is high, hardly ever once it has cooled."
)
REJECTED = "Every rejected proposal is kept with its arithmetic: what was drawn, what the model said, and the draw."
REPAIR = (
    "Some labels cannot be true together: two different answers to one sum, say. When a proposal leaves such a pair, "
    "every consistent way to label the two is scored, and the best one is taken if U rises."
)


def _utility(reading: Reading) -> Station:
    first, last = reading.trajectory.points[0], reading.trajectory.points[-1]
    seen = (
        f"Here U = {decimal(last.weighted_predictability)} − {decimal(last.inconsistency)} = {decimal(last.utility)} "
        f"after step {last.step:,}; its random initial labels had {decimal(first.utility)}."
    )
    meaning = (
        "Nobody tells the model what is right. It is asked how well each label follows from all the others: that is "
        "the mutual predictability P(D). Labels that contradict each other cost I(D). The search looks for the labels "
        "with the highest U(D) = alpha · P(D) − I(D)."
    )
    return Station("What U is", meaning, seen, "search", {"run": reading.run.name})


KEPT = (
    "A round tries many labels at once: those that raise U most if the predictions stayed as they are. For each fold "
    "it tunes one model on these labels of the other folds. If U by their predictions is higher, the labels are kept."
)
NOT_KEPT = (
    "Tuned on other labels, the models predict otherwise, so U may fall. Then the labels before stay, and the next "
    "round changes half as many groups. Chance plays no part."
)


def _of_folds(store: Store, reading: Reading) -> tuple[Station, ...]:
    """The stops of a run that takes rounds."""
    last, run = reading.trajectory.points[-1], reading.run.name
    seen = (
        f"Here U = {decimal(last.weighted_predictability)} − {decimal(last.inconsistency)} = {decimal(last.utility)} "
        f"after round {last.step:,}."
    )
    meaning = (
        "Nobody tells the model what is right. The examples are split into folds, and a copy of the model tuned on the "
        "labels of the others predicts each: how well is the mutual predictability P(D). Labels that contradict each "
        "other cost I(D). The rounds look for the labels with the highest U(D) = alpha · P(D) − I(D)."
    )
    least = (
        "Go through the least certain labels, compare all of them with gold, or fork this run from one of its rounds."
    )
    return (
        Station("What U is", meaning, seen, "search", {"run": run}),
        _round(reading, "A round that was kept", KEPT, "accepted"),
        _round(reading, "A round that was not kept", NOT_KEPT, "rejected"),
        _repair(store, reading),
        Station(
            "Your turn",
            least,
            "Annotate has the least certain labels first.",
            "annotate",
            {"run": run, "queue": "margin"},
        ),
    )


def _round(reading: Reading, title: str, meaning: str, verdict: str) -> Station:
    """The first round with this verdict that has a U to compare with, in the words of the last decision."""
    row = next((row for row in reading.rounds if row.verdict == verdict and row.before is not None), None)
    if row is None:
        return Station(title, meaning, NOT_YET.replace("step", "round"))
    query = {"run": reading.run.name, "event": str(row.event)}
    return Station(title, meaning, f"{round_sentence(reading, row)}.", "steps", query)


def _temperature(reading: Reading) -> Station:
    heats = [(point.step, point.temperature) for point in reading.trajectory.points if point.temperature is not None]
    meaning = (
        "The temperature T says how much loss the search still accepts, on the scale of U. It cools with every step. "
        "Nothing is sampled from the model: T is about the search alone."
    )
    if not heats:
        return Station("What T is", meaning, NOT_YET)
    (start, hot), (end, cool) = heats[0], heats[-1]
    seen = f"Here it went from {decimal(hot, 2)} at step {start:,} to {decimal(cool, 2)} at step {end:,}."
    return Station("What T is", meaning, seen, "search", {"run": reading.run.name})


def _step(store: Store, reading: Reading, title: str, meaning: str, wanted: Callable[[Point], bool]) -> Station:
    """The first step of this kind, in the words of its decision card."""
    points = reading.trajectory.points
    place = next((place for place, point in enumerate(points) if wanted(point)), None)
    if place is None:
        return Station(title, meaning, NOT_YET)
    card = decision(reading, open_moment(store, reading, place))
    seen = f"Step {points[place].step:,}: {step_card.proposal_sentence(card)} {step_card.sentence(card)}"
    return Station(title, meaning, seen, "steps", {"run": reading.run.name, "event": str(points[place].event)})


def _repair(store: Store, reading: Reading) -> Station:
    mark = next((mark for mark in reading.repairs if mark.kept and mark.step > 0), None)
    if mark is None:
        return Station("A repair", REPAIR, NOT_YET)
    card = repair_card(store, reading, mark)
    query = {"run": reading.run.name, "view": "Repairs", "repair": repair_code(mark)}
    return Station(
        "A repair", REPAIR, f"{reading.unit.capitalize()} {mark.step:,}: {card.choice}", "consistency", query
    )


def _next(reading: Reading) -> Station:
    meaning = (
        "Give an example a label of your own and see how the search responds; ask what one label is worth; or "
        "compare the labels with gold, which the search has never seen."
    )
    seen = "Annotate is the place for labels of your own."
    return Station("Your turn", meaning, seen, "annotate", {"run": reading.run.name})
