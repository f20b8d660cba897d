"""The landscape of a run: the found labeling compared with reference labelings, their cost and meaning.

Gold may be among the references, because this package may read it. The worker receives labelings by name and does not
know where they come from.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from icm_engine import jobs
from icm_engine.analysis.formatting import MANY, count, decimal, duration
from icm_engine.analysis.run_history import Reading
from icm_engine.core.labeling import Label, equal_share
from icm_engine.jobs.rescoring import FOUND, ZERO_SHOT
from icm_engine.runs import model_registry
from icm_engine.store.bodies import ScoredBody
from icm_engine.store.events import Json
from icm_engine.store.replay import STATE_KINDS
from icm_engine.store.store import Store

KIND = "landscape"
GOLD = "gold"
MIRROR = "mirror"
CONSTANT = "all "  # before the label
SEEDS = (1, 2, 3)  # of the random labelings
LOOKED_BACK = 200  # events searched for a scored set
SAME = 1e-6  # differences of U up to this size count as zero
CLOSE = 0.01  # share of the landscape's spread; the order alone changed U by 0.3 to 1.2 at alpha 50
_NO_GOLD = "No reference scores higher than the found labels: nothing here shows that the search failed."
_WELL = "Gold scores as high as the found labels, and no reference higher: search and objective work as intended."

MEANING = {
    FOUND: "what the search has now",
    MIRROR: "every label of the search swapped",
    ZERO_SHOT: "asked without demonstrations",
    GOLD: "the true labels",
}


def meaning(name: str) -> str:
    """Say what a labeling of the landscape is."""
    return MEANING.get(name, "each label by a coin" if name.startswith("random") else "one label for everything")


def reference_names(references: Mapping[str, object]) -> str:
    """Return the names of all references: the given ones and zero-shot, whose labels the job asks for.

    The labelings that give one label to everything are counted where they are many.
    """
    return _listed([*references, ZERO_SHOT])


def _listed(names: Sequence[str]) -> str:
    constant = [name for name in names if name.startswith(CONSTANT)]
    if len(constant) <= MANY:
        return ", ".join(names)
    return ", ".join((f"one of {len(constant)} labels for everything", *(n for n in names if n not in constant)))


def references(reading: Reading, gold: Mapping[int, Label]) -> dict[str, dict[str, Label]]:
    """Return the reference labelings by name; each labels exactly the currently labelled examples, by id.

    Gold is among them only if all of these examples have it.
    """
    ids, labels, labeling = reading.run.codec.ids, reading.tally.labels, reading.labeling
    found: dict[str, dict[str, Label]] = {f"{CONSTANT}{label}": {ids[i]: label for i in labeling} for label in labels}
    if len(labels) == 2:
        swapped = {labels[0]: labels[1], labels[1]: labels[0]}
        found[MIRROR] = {ids[i]: swapped[label] for i, label in labeling.items()}
    for seed in SEEDS:
        rng = random.Random(f"landscape:{seed}")
        found[f"random {seed}"] = {ids[i]: rng.choice(labels) for i in labeling}
    if labeling and all(i in gold for i in labeling):
        found[GOLD] = {ids[i]: gold[i] for i in labeling}
    return found


def submit(store: Store, reading: Reading, gold: Mapping[int, Label]) -> str:
    """Start the job that scores a run's current labels and the references; return the job."""
    run, labelings = reading.run.name, references(reading, gold)
    body: Json = {"run": run, "event": reading.cursor, "labelings": labelings, "zero_shot": True}
    return jobs.request(store, jobs.JobSpec(KIND, body, model_registry.model_of_run(store, run)))


# -- the expected cost


@dataclass(frozen=True, slots=True)
class LandscapeCost:
    """Cost of a landscape; `tokens` and `seconds` follow the last step that scored a set, None before one did."""

    labelings: int
    examples: int
    tokens: int | None
    seconds: float | None

    @property
    def prompts(self) -> int:
        """One prompt for each example of each labeling, and one for each zero-shot label."""
        return (self.labelings + 1) * self.examples

    @property
    def words(self) -> str:
        """The cost, in words."""
        what = f"Scores {self.labelings} labelings of the {self.examples:,} labelled examples"
        first = f"{what}: {self.prompts:,} prompts"
        if self.tokens is None or self.seconds is None:
            return f"{first}."
        return (
            f"{first}, about {count(self.tokens)} tokens and {duration(self.seconds)} by what the last step took, "
            "and the time to load the model."
        )


def price(store: Store, reading: Reading, labelings: int) -> LandscapeCost:
    """Return the cost of scoring this many references, zero-shot and the found labeling."""
    scored, total = last_evaluation(store, reading), labelings + 2
    if scored is None:
        return LandscapeCost(total, len(reading.labeling), None, None)
    cost, seconds = scored
    sets = cost["set_evaluations"]
    tokens = round(total * cost["usage"]["tokens_encoded"] / sets)
    return LandscapeCost(total, len(reading.labeling), tokens, total * seconds / sets)


def last_evaluation(store: Store, reading: Reading) -> tuple[ScoredBody, float] | None:
    """Return the cost and seconds of the last event that scored a whole set; None if nothing was scored yet.

    If no recent event did, those of the run's beginning are returned.
    """
    recent = store.read_after(reading.run.name, max(0, reading.cursor - LOOKED_BACK), STATE_KINDS)
    first = store.read_after(reading.run.name, 0, STATE_KINDS, limit=1)
    costs = ((event.scored, event.seconds) for event in [*reversed(recent), *first])
    return next(((cost, seconds) for cost, seconds in costs if cost and cost["set_evaluations"]), None)


# -- the result


@dataclass(frozen=True, slots=True)
class Place:
    """One labeling of the landscape; `same` is the share of its labels that equal the search's."""

    name: str
    utility: float
    predictability: float  # alpha * P(D)
    inconsistency: float
    pairs: int
    label_mass: float
    balance: Mapping[Label, int]
    same: float


@dataclass(frozen=True, slots=True)
class Landscape:
    """The scored labelings, highest U first."""

    run: str
    step: int
    examples: int
    places: tuple[Place, ...]

    def named(self, name: str) -> Place | None:
        """Return the labeling of this name; None if there is none."""
        return next((place for place in self.places if place.name == name), None)


def landscape(found: Json, with_gold: bool = True) -> Landscape:
    """Return a job's result as a Landscape, without gold where gold must not be shown."""
    own = next(row["labels"] for row in found["rows"] if row["name"] == FOUND)
    places = [_place(row, own) for row in found["rows"] if with_gold or row["name"] != GOLD]
    places.sort(key=lambda place: -place.utility)
    return Landscape(found["run"], found["step"], found["examples"], tuple(places))


def _place(row: Json, own: list[Label]) -> Place:
    same = equal_share(zip(row["labels"], own, strict=True))
    assert same is not None
    terms = (row["utility"], row["weighted_predictability"], row["inconsistency"])
    return Place(row["name"], *terms, row["pairs"], row["label_mass"], row["balance"], same)


def verdict(found: Landscape) -> str:
    """Say what the landscape means: a failed search, an objective that prefers other labels, both, or neither."""
    own, gold, best = found.named(FOUND), found.named(GOLD), found.places[0]
    assert own is not None
    said, gaps = [], []
    if best.utility > own.utility + SAME:
        said.append(_failed(best, own))
        gaps.append(best.utility - own.utility)
    if gold is not None and gold.utility < own.utility - SAME:
        said.append(_other(gold, own))
        gaps.append(own.utility - gold.utility)
    if gaps and max(gaps) < CLOSE * (best.utility - found.places[-1].utility):
        said.append("But the gap is small: the order of demonstrations alone can change U as much.")
    return " ".join(said) or (_NO_GOLD if gold is None else _WELL)


def higher(found: Landscape) -> str:
    """Say which of gold, the constants and the mirror have a higher U than the found labeling."""
    own = found.named(FOUND)
    assert own is not None
    asked = [place for place in found.places if place.name in (GOLD, MIRROR) or place.name.startswith(CONSTANT)]
    above = [place for place in asked if place.utility > own.utility + SAME]
    if not asked:
        return ""
    names = ", ".join(f"{place.name} ({decimal(place.utility, 2)})" for place in above)
    rest = _listed([place.name for place in asked if place not in above])
    said = (
        f"Higher U than the found labels ({decimal(own.utility, 2)}): {names or 'none of the references asked about'}."
    )
    return f"{said} Not higher: {rest}." if rest else said


def _failed(best: Place, own: Place) -> str:
    numbers = f"{best.name}: U = {decimal(best.utility, 2)}, found: {decimal(own.utility, 2)}"
    return f"A reference scores higher than the found labels: the search failed ({numbers})."


def _other(gold: Place, own: Place) -> str:
    numbers = f"{decimal(gold.utility, 2)} against {decimal(own.utility, 2)}"
    return f"Gold scores lower than the found labels ({numbers}): the objective prefers other labels."


def when(found: Landscape, reading: Reading) -> str:
    """Say which labels were scored, and whether the run has continued since."""
    about = f"The {found.examples:,} examples labelled at step {found.step:,}, all in the same orders."
    last = reading.trajectory.last
    gone = last is not None and last.step > found.step
    return f"{about} The run has taken {last.step - found.step:,} steps since." if gone and last else about
