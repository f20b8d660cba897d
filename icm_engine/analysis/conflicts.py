"""Read models of consistency: the pairs inconsistent now, ever, and again and again, and what the rule says of them.

A pair is looked up when it is shown; nothing here goes through the data set.
"""

from dataclasses import dataclass
from urllib.parse import unquote

from icm_engine.analysis.history import Spell
from icm_engine.analysis.reading import Reading
from icm_engine.analysis.views import example_text, rule_name
from icm_engine.core.consistency import Pair
from icm_engine.core.labeling import Label

NONE = "none"  # the rule that ties nothing together


@dataclass(frozen=True, slots=True)
class PairLine:
    """One pair that is or was inconsistent, as people read it; labels and `since` are those of now.

    `times` says how often it became inconsistent, `steps` how many steps it was so in all.
    """

    pair: Pair
    ids: tuple[str, str]
    groups: tuple[str, str]
    texts: tuple[str, str]
    answers: tuple[str | None, str | None]
    labels: tuple[Label | None, Label | None]
    since: int | None
    times: int
    steps: int
    lasting: int  # steps since then; 0 if it is consistent now

    @property
    def words(self) -> str:
        """What the pair is now."""
        if self.since is None:
            return "○ consistent now"
        return f"✕ since step {self.since:,}, for {counted(self.lasting, 'step')}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "step"), counted(2000, "pair")
    ('1 step', '2,000 pairs')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def has_rule(reading: Reading) -> bool:
    """Say whether anything can be inconsistent in this run."""
    return rule_name(reading) != NONE


# -- which pairs


def pairs_now(reading: Reading) -> list[Pair]:
    """Return the pairs inconsistent now, those that have been so for longest first."""
    if reading.state is None:
        return []
    since = reading.state.since
    return sorted(reading.state.evaluation.pairs, key=lambda pair: (since[pair], pair))


def pairs_ever(reading: Reading) -> list[Pair]:
    """Return the pairs that ever were inconsistent: those of now first, then by the steps that they were so."""
    now = pairs_now(reading)
    others = reading.spells.keys() - set(now)
    return [*now, *sorted(others, key=lambda pair: (-reading.spells[pair].steps, pair))]


def pairs_back(reading: Reading) -> list[Pair]:
    """Return the pairs that became inconsistent more than once, the most often first, then the longest."""
    back = [pair for pair, spell in reading.spells.items() if spell.times > 1]
    return sorted(back, key=lambda pair: (-reading.spells[pair].times, -steps_inconsistent(reading, pair), pair))


def steps_inconsistent(reading: Reading, pair: Pair) -> int:
    """Return the number of steps after which this pair was inconsistent, the spell of now included."""
    return _spell(reading, pair).steps + _lasting(reading, pair)


def _spell(reading: Reading, pair: Pair) -> Spell:
    return reading.spells.get(pair, Spell(None, 0, 0))


def _lasting(reading: Reading, pair: Pair) -> int:
    since = _spell(reading, pair).since
    return reading.state.step - since if reading.state and since is not None else 0


def pair_line(reading: Reading, pair: Pair) -> PairLine:
    """Return one pair as people read it."""
    i, j = pair
    first, second = reading.run.dataset.examples[i], reading.run.dataset.examples[j]
    spell = _spell(reading, pair)
    return PairLine(
        pair,
        (first.id, second.id),
        (first.group, second.group),
        (example_text(reading, i), example_text(reading, j)),
        (first.answer, second.answer),
        (reading.labeling.get(i), reading.labeling.get(j)),
        spell.since,
        spell.times,
        steps_inconsistent(reading, pair),
        _lasting(reading, pair),
    )


# -- a pair in an address


def pair_code(ids: tuple[str, str]) -> str:
    """Return a pair as an address has it: two ids with a comma between them; a comma of an id is %2C.

    >>> pair_code(("a", "b,c"))
    'a,b%2Cc'
    """
    return ",".join(name.replace("%", "%25").replace(",", "%2C") for name in ids)


def pair_of(reading: Reading, code: str | None) -> Pair | None:
    """Return the pair that an address names, None if there is none such."""
    ids = [unquote(name) for name in (code or "").split(",")]
    if len(ids) != 2 or ids[0] == ids[1]:
        return None
    try:
        i, j = (reading.run.codec.index(name) for name in ids)
    except KeyError:
        return None
    return (i, j) if i < j else (j, i)


# -- what the rule says


def demand(reading: Reading, line: PairLine) -> str:
    """Return what the run's rule demands of a pair; text from outside may be in it."""
    rule, true = rule_name(reading), reading.run.dataset.task.true_label
    if rule == "same-answer" and line.answers[0] == line.answers[1]:
        return f"Both answer {line.answers[0]}: the labels must be equal."
    if rule == "same-answer":
        return f"One answers {line.answers[0]}, the other {line.answers[1]}: not both can be {true}."
    if rule == "exclusive":
        return f"At most one example of their group can be {true}."
    if rule == "asymmetry":
        return f"Each is the other one with its responses swapped: exactly one of the two must be {true}."
    if rule == "exactly-one":
        return f"Exactly one example of their group must be {true}: not two, and not none once all are labelled."
    return f"The rule {rule} says which labels they may have together."
