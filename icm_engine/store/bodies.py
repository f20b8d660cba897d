"""What each kind of event says, as it is stored: the types of the bodies that `store.events` encodes and decodes.

Examples are ids. A key that is `NotRequired` is absent in logs of before it was recorded, or where it says nothing.
"""

from typing import NotRequired, TypedDict

from icm_engine.core.interventions import Verb
from icm_engine.core.labeling import Cause, Label
from icm_engine.core.search import Verdict


class UsageBody(TypedDict):
    """What scoring cost."""

    prompts: int
    tokens_encoded: int
    tokens_full: int


class ScoredBody(TypedDict):
    """What every event says that scored labelings."""

    set_evaluations: int
    usage: UsageBody


class EvaluationBody(TypedDict):
    """U of a labeling with its parts; its log-probabilities are packed apart."""

    utility: float
    weighted_predictability: float
    mutual_predictability: float
    inconsistency: float
    pairs: list[list[str]]  # the inconsistent ones
    label_mass: float


class FlipBody(TypedDict):
    """One label change."""

    example: str
    old: Label | None
    new: Label | None
    cause: Cause


class OptionBody(TypedDict):
    """Labels that a repair tried, and U with them."""

    labels: list[Label]
    utility: float


class RepairBody(TypedDict):
    """One repair: an inconsistent pair, its labels, U, what was tried, and what was taken."""

    pair: list[str]
    labels: list[Label]
    utility: float
    options: list[OptionBody]
    taken: list[Label] | None
    withheld: NotRequired[list[list[Label]]]  # options that a pin forbids


class DrawnBody(TypedDict):
    """An initial label."""

    example: str
    label: Label


class MoverBody(TypedDict):
    """An example whose log p of its own label moved."""

    example: str
    before: float
    after: float


class InitialBody(TypedDict):
    """`initial`: the labels that a search begins with."""

    drawn: list[DrawnBody]
    repairs: list[RepairBody]
    flips: list[FlipBody]
    after: EvaluationBody
    scores: str
    set_evaluations: int
    usage: UsageBody
    data_sha256: NotRequired[str]


class StepBody(TypedDict):
    """`step`: one iteration of Algorithm 1. `after` is None where nothing was scored."""

    step: int
    temperature: float
    example: str
    old: Label | None
    proposed: Label
    log_probs: dict[Label, float]
    label_mass: float
    before: EvaluationBody
    after: EvaluationBody | None
    delta: float
    accept_probability: float
    draw: float
    accepted: bool
    verdict: Verdict
    repairs: list[RepairBody]
    flips: list[FlipBody]
    movers: list[MoverBody]
    scores: str | None  # of an accepted labeling
    set_evaluations: int
    paired: NotRequired[bool]
    reused: NotRequired[bool]
    tied: NotRequired[list[Label]]
    usage: UsageBody
    prompt_sha256: str


class ExampleStateBody(TypedDict):
    """What one example has."""

    label: Label | None
    pinned: bool
    note: str


class ChangeBody(TypedDict):
    """What an act changed of one example."""

    example: str
    before: ExampleStateBody
    after: ExampleStateBody


class ActBody(TypedDict):
    """What a person did, and what it changed."""

    verb: Verb
    examples: list[str]
    labels: list[Label]
    text: str
    changes: list[ChangeBody]


class HandBody(TypedDict):
    """`hand`: acts of a person between two steps."""

    step: int
    acts: list[ActBody]
    flips: list[FlipBody]
    after: EvaluationBody | None
    scores: str | None
    set_evaluations: int
    usage: UsageBody


class RetunedBody(TypedDict):
    """`retuned`: other settings from the next step on."""

    step: int
    settings: dict[str, float]
    after: EvaluationBody


class StateBody(TypedDict):
    """A whole state, as a snapshot keeps it."""

    step: int
    accepted: int
    labels: list[list[str]]  # id, label
    after: EvaluationBody
    scores: str
    hopeless: list[list[str]]
    pins: list[str]
    notes: dict[str, str]
    since: list[int]


class ForkedBody(StateBody):
    """`forked`: the state that a fork begins with, and where it is from."""

    run: str
    event: int
    data_sha256: NotRequired[str]


class RoundBody(TypedDict):
    """A round of a label source."""

    labelled: int
    balance: dict[Label, int]


class LabelledBody(StateBody):
    """`labelled`: all labels at once, from a label source."""

    source: str
    options: dict[str, object]
    given_from: str
    rounds: list[RoundBody]
    set_evaluations: int
    verdicts: list[dict[str, object]]
    usage: UsageBody
    utility_usage: UsageBody
    data_sha256: NotRequired[str]


class ControlBody(TypedDict):
    """`control`: start, resume, step, pause or stop; `left` are the steps of a run that waits for a server."""

    verb: str
    steps: NotRequired[int]
    reason: NotRequired[str]
    waits_for: NotRequired[str]
    left: NotRequired[int | None]


class FinishedBody(TypedDict):
    """`finished`: all steps are taken, or all labels are there."""

    steps: int


class FailedBody(TypedDict):
    """`failed`: the error, by its class, and what it said."""

    error: str
    message: str


class RefusedBody(TypedDict):
    """`refused`: a command that was not obeyed, and why."""

    verb: str
    message: str


class BreakpointsBody(TypedDict):
    """`breakpoints`: what a run pauses at."""

    flips: list[str]
    utility_falls: float | None
    inconsistent_for: int | None


class RetriedBody(TypedDict):
    """`retried`: how often a server was asked again since the last event, and why."""

    retries: int
    why: str


class ShrunkBody(TypedDict):
    """`shrunk`: a model reads fewer tokens at once since memory ran out."""

    tokens: int
    was: int
    why: str
