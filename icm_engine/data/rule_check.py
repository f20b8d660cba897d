"""The rule check: what a rule constrains, before a run, and how often gold itself violates it.

Examples are read one by one and only a hash of each key is kept, so that a large data set can be checked.
"""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field

import numpy as np

from icm_engine.core.consistency import Rule
from icm_engine.core.custom_rules import make_rule, rule_class
from icm_engine.core.errors import IcmError, SettingError
from icm_engine.core.labeling import Example, Labeling, Task
from icm_engine.data.gold import gold_of
from icm_engine.data.import_warnings import Some
from icm_engine.data.row_parser import Ints
from icm_engine.jobs import JobSpec
from icm_engine.jobs.job_process import Job
from icm_engine.store.events import Json
from icm_engine.store.store import Store

LARGEST_GROUP = 2000  # examples; a larger group has millions of pairs and is not checked against gold


@dataclass(frozen=True, slots=True)
class RuleCheck:
    """What a rule yields on a data set.

    `groups` have at least one constrained pair; `pairs` counts these pairs, called `constraints` by imports and runs.
    `without_answer` has up to 1,000 ids of the `without_answer_count` examples that `same-answer` does not apply to.
    Where there is gold: of `gold_pairs`, the constrained pairs with gold on both sides, `gold_violated` violate the
    rule; of `gold_groups`, the groups with such a pair, `gold_groups_violated` do. Groups too large to check pair by
    pair are counted in `gold_groups_unchecked`.
    """

    dataset: str
    rule: str
    examples: int
    groups: int
    pairs: int
    without_answer_count: int = 0
    without_answer: tuple[str, ...] = ()
    gold_pairs: int = 0
    gold_violated: int = 0
    gold_groups: int = 0
    gold_groups_violated: int = 0
    gold_groups_unchecked: int = 0
    twins: bool = True  # whether a rule about twins finds any

    @property
    def constraints(self) -> int:
        """The number of constrained pairs."""
        return self.pairs


@dataclass
class PairCounter:
    """Counts groups and pairs of a rule from examples that are seen once and not kept."""

    rule: Rule
    keys: "array[int]" = field(default_factory=lambda: array("q"))
    places: "array[int]" = field(default_factory=lambda: array("q"))
    seen: int = 0

    def see(self, example: Example) -> None:
        """Count the next example."""
        if (key := key_of(self.rule, example)) is not None:
            self.keys.append(hash(key))
            self.places.append(self.seen)
        self.seen += 1

    def groups(self) -> int:
        """Return the number of groups with at least one pair."""
        return int((self._sizes() > 1).sum())

    def pairs(self) -> int:
        """Return the number of constrained pairs."""
        sizes = self._sizes()
        return int((sizes * (sizes - 1) // 2).sum())

    def members(self) -> Iterator[list[int]]:
        """Yield the positions of each group of two or more."""
        keys, places = np.array(self.keys, dtype=np.int64), np.array(self.places, dtype=np.int64)
        order = np.argsort(keys, kind="stable")
        ends = np.flatnonzero(np.diff(keys[order])) + 1
        for group in np.split(places[order], ends):
            if len(group) > 1:
                yield group.tolist()

    def _sizes(self) -> Ints:
        return np.unique(np.array(self.keys, dtype=np.int64), return_counts=True)[1].astype(np.int64)


def key_of(rule: Rule, example: Example) -> str | None:
    """Return the rule's key of an example. Raises SettingError if a custom rule fails."""
    try:
        key = rule.key(example)
    except IcmError:
        raise
    except Exception as error:  # any error in a rule file
        raise SettingError(
            f"rule {rule.name!r} failed on example {example.id!r} ({type(error).__name__}: {error}): correct its key()"
        ) from error
    if key is not None and not isinstance(key, str):
        raise SettingError(f"rule {rule.name!r} gave example {example.id!r} the key {key!r}: return a text or None")
    return key


def check_rule(store: Store, dataset: str, rule: str | None = None) -> RuleCheck:
    """Return what a rule (None: the data set's own) yields on a data set. Raises NotFound, SettingError."""
    info = store.dataset_info(dataset)
    name = info.task.rule if rule is None else rule
    made = rule_class(name)((), info.task.labels, info.task.true_label)
    counter, missing = PairCounter(made), Some()
    for example in store.examples(dataset):
        counter.see(example)
        if made.name == "same-answer" and example.answer is None:
            missing.add(example)
    against = _GoldCheck(store, dataset, info.task, name)
    if info.gold:
        against.take(counter.members())
    return RuleCheck(
        dataset,
        made.name,
        info.examples,
        counter.groups(),
        counter.pairs(),
        missing.count,
        tuple(missing.ids),
        against.pairs,
        against.violated,
        against.groups,
        against.groups_violated,
        against.unchecked,
        made.name != "asymmetry" or store.has_twins(dataset),
    )


@dataclass
class _GoldCheck:
    """Checks gold against a rule, one group after the other."""

    store: Store
    dataset: str
    task: Task
    rule: str
    pairs: int = 0
    violated: int = 0
    groups: int = 0
    groups_violated: int = 0
    unchecked: int = 0

    def take(self, groups: Iterable[list[int]]) -> None:
        for positions in groups:
            if len(positions) > LARGEST_GROUP:
                self.unchecked += 1
            else:
                self._group(self.store.examples_at(self.dataset, positions))

    def _group(self, examples: list[Example]) -> None:
        """Count a group's pairs with gold on both sides, and those that violate the rule."""
        known = gold_of(self.store, self.dataset, [example.id for example in examples])
        gold = Labeling({i: known[example.id] for i, example in enumerate(examples) if example.id in known})
        rule = make_rule(self.rule, examples, self.task.labels, self.task.true_label)
        pairs = [(i, j) for i in gold for j in rule.neighbours(i) if i < j and j in gold]
        violated = len(rule.conflicts(gold))
        self.pairs += len(pairs)
        self.violated += violated
        self.groups += bool(pairs)
        self.groups_violated += violated > 0


# -- the job, for large data sets


def rule_check_spec(dataset: str) -> JobSpec:
    """Return the job that checks a data set's own rule."""
    return JobSpec("rule-check", {"dataset": dataset})


def rule_check_kind(job: Job) -> Json:
    """Check the rule of a data set."""
    job.ready({})
    return asdict(check_rule(job.store, job.spec.body["dataset"]))


def rule_check_of(found: Json) -> RuleCheck:
    """Return the result of a `rule-check` job as a RuleCheck."""
    return RuleCheck(**{**found, "without_answer": tuple(found["without_answer"])})
