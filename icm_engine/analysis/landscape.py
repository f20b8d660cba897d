"""A run's labeling beside reference labelings: U of each (the landscape), and which concept the labels follow.

A labeling can be coherent and wrong: it may follow the length of texts, or a word. So it is compared with labelings
that need no gold, with an interval and, for two labels, with both labels swapped. For *single words* each example is
predicted from the labels of all other groups: with a(w) and d(w) of them, plus 1 each, on which word w speaks for and
against the first label, the word adds log a / d, if that is at least log 3 either way. A word speaks for the label of a
text that has it (a and d are then divided by the examples of each label), and for the option of a pair that alone has
it. A *witness* is another model that predicts each label from all others, as the run's model does.

Gold may be among the references, because this package may read it. The worker receives labelings by name and does not
know where they come from.
"""

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median

from icm_engine import jobs
from icm_engine.analysis import evaluation
from icm_engine.analysis.evaluation import Estimate
from icm_engine.analysis.formatting import MANY, count, decimal, duration, percent
from icm_engine.analysis.gold_agreement import Share, gold_by_place, gold_shown
from icm_engine.analysis.paired import audit_answers, zero_shot_labels
from icm_engine.analysis.run_history import Reading
from icm_engine.core.labeling import Example, Label, equal_share, judgements
from icm_engine.core.settings import ModelChoice
from icm_engine.data.gold import human_of
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


# -- which concept the labels follow

WITNESS = "witness"  # the kind of job that asks another model
WORDS = "single words"
NEGATIONS = frozenset("no not never none nothing nobody neither nor without cannot".split())
WORD = re.compile(r"\w+(?:['’]\w+)?")
SHOWN = 5  # words named for each label
STRONG = math.log(3)  # a word that speaks less clearly is left out
FREQUENT = 3  # groups in which a word has to occur to be named
FOLLOWED = 0.75  # lower end of the interval from which labels are said to follow a concept

Keyed = Mapping[int, Label]


@dataclass(frozen=True, slots=True)
class ConceptRow:
    """Agreement of a run's labels with one reference; `mirrored` (two labels only) is that with both swapped.

    `kind` is `text`, `model`, `people` or `gold`, `opposite` the name of the swapped reference.
    """

    name: str
    opposite: str
    kind: str
    examples: int
    agreement: Estimate
    mirrored: Estimate | None

    @property
    def best(self) -> tuple[str, Estimate]:
        """The side that agrees more, with its name."""
        if self.mirrored is None or self.mirrored.mean <= self.agreement.mean:
            return self.name, self.agreement
        return self.opposite, self.mirrored


def concepts(store: Store, reading: Reading) -> tuple[ConceptRow, ...]:
    """Return the agreement of a run's labels with every reference that there is, gold last; none while it is hidden.

    A pair and its swapped twin are one judgement. Features of texts are compared with two labels only.
    """
    places = _judgements(reading)
    found = [_concept(reading, places, *one) for one in _references(store, reading, places)]
    return tuple(row for row in found if row is not None)


def _judgements(reading: Reading) -> list[int]:
    """The labelled examples, without the twins of labelled ones."""
    return judgements({i: reading.run.dataset.examples[i] for i in sorted(reading.labeling)})


def _references(store: Store, reading: Reading, places: Sequence[int]) -> Iterator[tuple[str, str, str, Keyed]]:
    """Every reference: its name, that of its opposite, its kind, its labels."""
    if len(reading.tally.labels) == 2:
        yield from _of_texts(reading, places)
    ids, dataset = {reading.run.codec.ids[i]: i for i in places}, reading.run.dataset.name
    named = [(ZERO_SHOT, "model", zero_shot_labels(store, dataset, reading)), *witnesses(store, reading)]
    if not reading.blind:
        named += [(name, "people", labels) for name, labels in human_of(store, dataset, list(ids)).items()]
    named.append(("audit", "people", audit_answers(reading)))
    for name, kind, labels in named:
        yield name, f"{name}, swapped", kind, {ids[x]: label for x, label in labels.items() if x in ids}
    if gold_shown(reading):
        yield GOLD, f"{GOLD}, swapped", GOLD, gold_by_place(store, reading, places)


def _concept(
    reading: Reading, places: Sequence[int], name: str, opposite: str, kind: str, labels: Keyed
) -> ConceptRow | None:
    examples, labeling = reading.run.dataset.examples, reading.labeling
    marks = [(examples[i].group, labeling[i] == labels[i]) for i in places if i in labels]
    if not marks:
        return None
    swapped = _shares([(group, not equal) for group, equal in marks]) if len(reading.tally.labels) == 2 else None
    return ConceptRow(name, opposite, kind, len(marks), _shares(marks), swapped)


def _shares(marks: Sequence[tuple[str, bool]]) -> Estimate:
    """The share with an interval over groups; where all are equal, resamples are too, so it is Wilson's over groups."""
    right = evaluation.by_group(marks)
    found = evaluation.estimate([right])
    if found.mean not in (0.0, 1.0):
        return found
    bounds = Share(round(found.mean * len(right)), len(right)).interval
    assert bounds is not None  # there are marks
    return replace(found, low=bounds[0], high=bounds[1])


def _of_texts(reading: Reading, places: Sequence[int]) -> Iterator[tuple[str, str, str, Keyed]]:
    """What texts alone say: of pairs which option has more of something, of others whether they have it."""
    true = reading.run.dataset.task.true_label
    other = next(label for label in reading.tally.labels if label != true)
    examples = {i: reading.run.dataset.examples[i] for i in places}
    sides = _sides(reading)
    for name, opposite, said in _features(examples, sides):
        if len(set(said.values())) > 1 or name == "first option":
            yield name, opposite, "text", {i: true if value else other for i, value in said.items()}
    predicted = _by_words({i: _words(e, sides) for i, e in examples.items()}, reading, true)
    yield WORDS, f"{WORDS}, swapped", "text", {i: true if value else other for i, value in predicted.items()}


def _sides(reading: Reading) -> tuple[str, str] | None:
    """The two fields that a twin swaps; None for data without twins."""
    index = reading.run.codec.index
    for twin in reading.run.dataset.examples:
        if twin.twin_of is not None:
            first = reading.run.dataset.examples[index(twin.twin_of)]
            apart = [name for name, text in first.fields.items() if twin.fields[name] != text]
            if len(apart) == 2:
                return apart[0], apart[1]
    return None


def _features(
    examples: Mapping[int, Example], sides: tuple[str, str] | None
) -> Iterator[tuple[str, str, dict[int, bool]]]:
    if sides is not None:
        one, other = sides
        yield "first option", "second option", {i: e.twin_of is None for i, e in examples.items()}
        for name, opposite, measure in (("longer", "shorter", len), ("more negated", "less negated", _negations)):
            both = {i: (measure(e.fields[one]), measure(e.fields[other])) for i, e in examples.items()}
            yield f"{name} option", f"{opposite} option", {i: a > b for i, (a, b) in both.items() if a != b}
        return
    for field in next(iter(examples.values())).fields if examples else ():
        lengths = {i: len(e.fields[field]) for i, e in examples.items()}
        middle = median(lengths.values())
        yield f"long {field}", f"short {field}", {i: n > middle for i, n in lengths.items()}
        negated = {i: _negations(e.fields[field]) > 0 for i, e in examples.items()}
        yield f"negated {field}", f"{field} without negation", negated


def _negations(text: str) -> int:
    found = [word.casefold().replace("’", "'") for word in WORD.findall(text)]
    return sum(word in NEGATIONS or word.endswith("n't") for word in found)


Spoken = Mapping[str, int]  # a word: +1 if a text or the first option has it, -1 if the second option has it


def _words(example: Example, sides: tuple[str, str] | None) -> dict[str, int]:
    if sides is None:
        return dict.fromkeys(_set_of_words("\n".join(example.fields.values())), 1)
    one, other = (_set_of_words(example.fields[side]) for side in sides)
    return {**dict.fromkeys(one - other, 1), **dict.fromkeys(other - one, -1)}


def _set_of_words(text: str) -> set[str]:
    return {word.casefold() for word in WORD.findall(text)}


@dataclass(frozen=True, slots=True)
class _Tally:
    """How often words speak for the true label and against it, and how many examples have each label."""

    words: Counter[tuple[str, bool]]
    labels: Counter[bool]
    paired: bool

    def weight(self, word: str, without: "_Tally | None" = None) -> float:
        """Return how strongly a word speaks for the true label, by the examples outside `without`."""
        counts, of = [], []
        for side in (True, False):
            counts.append(self.words[word, side] - (without.words[word, side] if without else 0) + 1)
            of.append(1 if self.paired else self.labels[side] - (without.labels[side] if without else 0) + 2)
        return math.log(counts[0] / of[0]) - math.log(counts[1] / of[1])


def _tallied(rows: Sequence[tuple[Spoken, bool]], paired: bool) -> _Tally:
    words, labels = Counter[tuple[str, bool]](), Counter[bool]()
    for spoken, label in rows:
        labels[label] += 1
        words.update((word, label == (side > 0)) for word, side in spoken.items())
    return _Tally(words, labels, paired)


def _by_words(spoken: Mapping[int, Spoken], reading: Reading, true: Label) -> dict[int, bool]:
    """Predict each example's label from the words of the examples of all other groups."""
    examples, groups = reading.run.dataset.examples, defaultdict[str, list[int]](list)
    for i in spoken:
        groups[examples[i].group].append(i)
    paired = _sides(reading) is not None
    rows = {i: (words, reading.labeling[i] == true) for i, words in spoken.items()}
    whole, said = _tallied(list(rows.values()), paired), dict[int, bool]()
    for members in groups.values():
        own = _tallied([rows[i] for i in members], paired)
        for i in members:
            weights = {word: whole.weight(word, own) for word in sorted(spoken[i])}
            scores = [spoken[i][word] * weight for word, weight in weights.items() if abs(weight) >= STRONG]
            if total := math.fsum(scores):
                said[i] = total > 0
    return said


def telling_words(reading: Reading) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the words that speak most for the true label and against it; empty unless there are two labels."""
    if len(reading.tally.labels) != 2 or not reading.labeling:
        return (), ()
    places, sides, true = _judgements(reading), _sides(reading), reading.run.dataset.task.true_label
    examples = reading.run.dataset.examples
    rows = [(_words(examples[i], sides), reading.labeling[i] == true) for i in places]
    whole = _tallied(rows, sides is not None)
    occurs = {(word, examples[i].group) for i, (spoken, _) in zip(places, rows, strict=True) for word in spoken}
    spread = Counter(word for word, _ in occurs)
    weights = {word: whole.weight(word) for word, n in spread.items() if n >= FREQUENT}
    order = sorted(weights, key=lambda word: (-weights[word], word))
    strong = [word for word in order if abs(weights[word]) >= STRONG]
    return (
        tuple(word for word in strong if weights[word] > 0)[:SHOWN],
        tuple(sorted((word for word in strong if weights[word] < 0), key=lambda word: (weights[word], word)))[:SHOWN],
    )


# -- witnesses


def ask_witness(store: Store, reading: Reading, model: ModelChoice) -> str:
    """Start the job that scores a run's labels, and their mirror, with another model; return the job."""
    labelings = {name: labels for name, labels in references(reading, {}).items() if name == MIRROR}
    body: Json = {"run": reading.run.name, "event": reading.cursor, "labelings": labelings, "zero_shot": False}
    return jobs.request(store, jobs.JobSpec(WITNESS, body, model))


def witnesses(store: Store, reading: Reading) -> list[tuple[str, str, dict[str, Label]]]:
    """Return the predictions of each witness by its name: the newest of each model."""
    found = dict[str, dict[str, Label]]()
    for job in jobs.names(store, WITNESS, run=reading.run.name):
        result, model = jobs.result(store, job), jobs.spec(store, job).model
        if result is not None and model is not None:
            own = next(row for row in result["rows"] if row["name"] == FOUND)
            found.setdefault(f"witness {model.model}", dict(own["predicted"]))
    return [(name, "model", labels) for name, labels in found.items()]


def witness_words(found: Json, reading: Reading, model: str) -> str:
    """Say what a witness finds of the labels: P(D) of them, of their mirror, and under the run's own model."""
    rows = {row["name"]: row for row in found["rows"]}
    mirror = f", of the mirrored ones {decimal(rows[MIRROR]['mutual_predictability'], 2)}" if MIRROR in rows else ""
    own = reading.state.evaluation.mutual_predictability if reading.state else None
    labels = f"{decimal(rows[FOUND]['mutual_predictability'], 2)} of the {found['examples']:,} labels"
    step, now = f"at step {found['step']:,}", f"Under the run's own model: {decimal(own, 2)} now."
    return f"P(D) under {model}: {labels} {step}{mirror}. {now}"


# -- in words


def concept_words(rows: Sequence[ConceptRow], reading: Reading) -> str:
    """Name the concept that the labels agree with most, beside gold or else an audit, and say what that means."""
    tried = [row for row in rows if row.kind in ("text", "model")]
    if not tried:
        return "There is nothing to compare these labels with."
    name, best = max((row.best for row in tried), key=lambda side: side[1].mean)
    truth = next((row for kind in (GOLD, "audit") for row in rows if row.name == kind), None)
    beside = "" if truth is None else f", with {truth.name} in {_share_words(truth.agreement)}"
    first = f"The labels agree with ‘{name}’{_names(name, reading)} in {_share_words(best)}{beside}."
    return f"{first} {_meaning_words(best, truth)}"


def _names(name: str, reading: Reading) -> str:
    """The words behind ‘single words’."""
    if not name.startswith(WORDS):
        return ""
    sides = [", ".join(words) for words in telling_words(reading) if words]
    return f" ({' against '.join(sides)})" if sides else ""


def _share_words(share: Estimate) -> str:
    return f"{percent(share.mean)} [{percent(share.low)}, {percent(share.high)}]"


def _meaning_words(best: Estimate, truth: ConceptRow | None) -> str:
    if truth is not None and best.low > truth.agreement.high:
        return f"They follow a coherent concept, but another one than {truth.name}."
    if truth is not None and truth.agreement.low > best.high:
        return "No reference here other than that explains them as well."
    if truth is not None and best.low > FOLLOWED:
        return "Both explain them: the intervals overlap."
    if best.low > FOLLOWED:
        return "If that is not what you want to label, they are coherent and wrong: an audit tells."
    return "No reference here explains them well." if truth is None else "Neither explains them clearly better."


def concept_facts(reading: Reading, rows: Sequence[ConceptRow]) -> Json:
    """Return the comparison with all references as JSON."""
    for_true, against = telling_words(reading)
    return {
        "run": reading.run.name,
        "labels": list(reading.tally.labels),
        "labelled": len(reading.labeling),
        "verdict": concept_words(rows, reading),
        "words_for": list(for_true),
        "words_against": list(against),
        "references": [{**asdict(row), "agrees_most": row.best[0]} for row in rows],
    }
