"""The types of event bodies as stored; `store.events` encodes and decodes them.

Examples are ids. A key that is `NotRequired` is absent in logs older than that key, or where it does not apply.
"""

from typing import NotRequired, TypedDict

from icm_engine.core.interventions import Verb
from icm_engine.core.labeling import Cause, Label
from icm_engine.core.search import Reason, Verdict


class UsageBody(TypedDict):
    """The cost of scoring."""

    prompts: int
    tokens_encoded: int
    tokens_full: int


class ScoredBody(TypedDict):
    """Fields of every event that scored labelings."""

    set_evaluations: int
    usage: UsageBody


class EvaluationBody(TypedDict):
    """U of a labeling with its parts; log-probabilities are packed separately."""

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
    """Labels that a repair tried, and their U."""

    labels: list[Label]
    utility: float


class RepairBody(TypedDict):
    """One repair: an inconsistent pair, its labels and U, the options tried, and the one taken."""

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
    """An example whose log p of its own label changed."""

    example: str
    before: float
    after: float


class InitialBody(TypedDict):
    """`initial`: the labels a search starts from."""

    drawn: list[DrawnBody]
    repairs: list[RepairBody]
    flips: list[FlipBody]
    after: EvaluationBody
    scores: str
    set_evaluations: int
    usage: UsageBody
    data_sha256: NotRequired[str]


class EstimateBody(TypedDict):
    """How a step with sampled terms estimated delta; `terms` stand for `of` terms.

    `before` are the packed scores of the examples in `read`, for the labels before the step.
    """

    error: float
    terms: int
    of: int
    certain: list[str]
    read: list[str]
    before: str


class BlockBody(TypedDict):
    """What stays in place for some steps of a search with sampled terms.

    `scores` are the packed scores of the examples in `read`, for the labels after the event.
    """

    number: int
    size: int
    prefix: list[str]
    front: list[str]
    sample: list[str]
    read: list[str]
    scores: str


class KeptBlockBody(BlockBody):
    """A block within a whole state: with the scores known when its sample was drawn, and how its steps went."""

    old: dict[str, list[float]]
    strata: list[int]  # of these examples
    strain: float
    changes: int


class SampledStateBody(TypedDict):
    """The part of a whole state that only a search with sampled terms has."""

    block: KeptBlockBody | None
    exact_at: int | None
    exact_utility: float | None
    read_at: list[int]  # in the order of the labels


class RefreshedBody(TypedDict):
    """`refreshed`: a new block, an exact evaluation, or both, between two steps with sampled terms."""

    step: int
    why: Reason
    block: BlockBody | None
    after: EvaluationBody | None
    scores: str | None
    estimated_change: float
    exact_change: float
    set_evaluations: int
    usage: UsageBody


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
    estimate: NotRequired[EstimateBody]  # with sampled terms
    usage: UsageBody
    prompt_sha256: str


class ExampleStateBody(TypedDict):
    """The state of one example."""

    label: Label | None
    pinned: bool
    note: str


class ChangeBody(TypedDict):
    """What an act changed on one example."""

    example: str
    before: ExampleStateBody
    after: ExampleStateBody


class ActBody(TypedDict):
    """A person's act and its changes."""

    verb: Verb
    examples: list[str]
    labels: list[Label]
    text: str
    changes: list[ChangeBody]


class HandBody(TypedDict):
    """`hand`: a person's acts between two steps."""

    step: int
    acts: list[ActBody]
    flips: list[FlipBody]
    after: EvaluationBody | None
    scores: str | None
    set_evaluations: int
    usage: UsageBody


class RetunedBody(TypedDict):
    """`retuned`: changed settings from the next step on."""

    step: int
    settings: dict[str, float]
    after: EvaluationBody


class StateBody(TypedDict):
    """A whole state, as in a snapshot."""

    step: int
    accepted: int
    labels: list[list[str]]  # id, label
    after: EvaluationBody
    scores: str
    hopeless: list[list[str]]
    pins: list[str]
    notes: dict[str, str]
    since: list[int]
    sampled: NotRequired[SampledStateBody]
    most: NotRequired[int | None]  # in a search with folds: groups that the next round may change, None for all


class ForkedBody(StateBody):
    """`forked`: the state a fork starts from, and its origin."""

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


class FoldBody(ScoredBody):
    """`fold`: the predictions for one fold by a model tuned on the others; fold 0 is all examples, predicted untuned.

    `labels` is the hash of the labels that the round tries. `tokens` are those read in tuning.
    """

    round: int
    fold: int
    labels: str
    held_out: list[str]
    scores: str  # packed, of the examples held out
    rows: int
    steps: int
    tokens: int
    first_loss: float | None
    last_loss: float | None


class RoundOfFoldsBody(StateBody):
    """`round`: labels tried by a search with folds, U predicted from them, the verdict, and the state after it.

    `left` is the number of groups that the next round will change. The cost of scoring stands in the events of its
    folds.
    """

    before: EvaluationBody | None
    tried: EvaluationBody
    kept: bool
    flips: list[FlipBody]
    repairs: list[RepairBody]
    groups: int
    left: int
    set_evaluations: int
    usage: UsageBody
    data_sha256: str | None  # of the first round


class ControlBody(TypedDict):
    """`control`: start, resume, step, pause or stop; `left` counts the steps left to a run that waits for a server."""

    verb: str
    steps: NotRequired[int]
    reason: NotRequired[str]
    waits_for: NotRequired[str]
    left: NotRequired[int | None]


class FinishedBody(TypedDict):
    """`finished`: all steps or labels are done."""

    steps: int


class FailedBody(TypedDict):
    """`failed`: the error's class and message."""

    error: str
    message: str


class RefusedBody(TypedDict):
    """`refused`: a command that was not applied, and why."""

    verb: str
    message: str


class BreakpointsBody(TypedDict):
    """`breakpoints`: when a run pauses."""

    flips: list[str]
    utility_falls: float | None
    inconsistent_for: int | None


READING = "reading"  # the key of a `model` event with what the model reads otherwise than it stands in the data


class AuditBody(TypedDict):
    """`audit`: a person's answer about one example, which no search reads; a later one of the same number replaces it.

    The labels are those after the event `after`. `probability` is that of drawing this example, given the answers
    before it.
    """

    audit: int  # the audits of a run count from 1
    number: int  # so do the questions of an audit
    after: int
    design: str
    seed: int
    example: str
    probability: float
    label: Label  # the run's
    answer: Label | None  # None: the person cannot tell


class RetriedBody(TypedDict):
    """`retried`: how often requests to a server were retried since the last event, and why."""

    retries: int
    why: str


class ShrunkBody(TypedDict):
    """`shrunk`: the model reads fewer tokens per call since memory ran out."""

    tokens: int
    was: int
    why: str
