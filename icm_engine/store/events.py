"""The contents of a log, to and from JSON: RunSpec, search records, interventions, whole states.

Examples appear in events by id. The label log-probabilities of an accepted labeling are packed (zlib, base64,
little-endian float64, one row per labelled example in slot order), so a replay restores the same digits. Forks and
snapshots store a whole state.
"""

import base64
import struct
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, TypedDict

from icm_engine.core.advance import Breakpoints
from icm_engine.core.batching import FIRST, NEWEST, BatchPart, Cut
from icm_engine.core.errors import StoreError
from icm_engine.core.folds import Fit, RoundInfo
from icm_engine.core.interventions import Act, AppliedIntervention, ExampleChange, ExampleState, Hand
from icm_engine.core.labeling import Flip, Label, Labeling
from icm_engine.core.objective import Evaluation
from icm_engine.core.repair import Option, Repair
from icm_engine.core.sampled_terms import Block, DeltaEstimate
from icm_engine.core.scoring import LabelLogProbs, Usage
from icm_engine.core.search import HandInfo, InitialInfo, RefreshInfo, State, StepInfo, TuneInfo, apply, flipped
from icm_engine.core.server_address import settle_server
from icm_engine.core.settings import ModelChoice, SearchConfig
from icm_engine.store.bodies import (
    ActBody,
    BlockBody,
    BreakpointsBody,
    EstimateBody,
    EvaluationBody,
    ExampleStateBody,
    FlipBody,
    FoldBody,
    HandBody,
    InitialBody,
    KeptBlockBody,
    MoverBody,
    RefreshedBody,
    RepairBody,
    RetunedBody,
    RoundOfFoldsBody,
    SampledStateBody,
    StateBody,
    StepBody,
    UsageBody,
)
from icm_engine.store.database import DAMAGED

Json = dict[str, Any]
Scores = Mapping[int, LabelLogProbs]
SEARCH, GIVEN = "icm", "given"  # label sources: the search, and labels that come with the spec
OF_SAMPLED_TERMS = ("terms", "redraw_every", "exact_every")
_USUAL = ModelChoice("fake")  # what is asked of a model where nobody chose
MOVERS = 20  # examples with the largest change of predictability, stored for every proposal


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Everything that decides what a run does; runs with equal specs give equal events (a server may round).

    `model` and the four fields after it are those of a `ModelChoice`. `limit` is the maximum of examples taken, in
    whole groups (None: all). A fork begins where run `forked_from` stood after its event `forked_at`. `source` is `icm`
    for the search, `given` for labels in the spec, or one of `baselines.label_sources`. `given` are labels by example
    id: all labels of such a run, or the initial labels of a search in place of coin flips; `given_from` describes their
    origin, and a run whose labels were made with gold is `supervised`. `experiment` names the suite that asked for the
    run. `part` is the one batch that the run labels (None: everything). `version` is that of the method's details
    (`core.batching`), fixed for the run's whole life.
    """

    dataset: str
    model: str
    quantization: str = _USUAL.quantization
    dtype: str = _USUAL.dtype
    device: str = _USUAL.device
    encoding: str = _USUAL.encoding
    limit: int | None = None
    rule: str | None = None
    preset: str = "default"
    supervised: bool = False
    forked_from: str | None = None
    forked_at: int | None = None
    source: str = SEARCH
    source_options: Json = field(default_factory=dict)
    given: dict[str, Label] | None = None
    given_from: str = ""
    experiment: str | None = None
    part: BatchPart | None = None
    search: SearchConfig = field(default_factory=SearchConfig)
    version: int = NEWEST

    def __post_init__(self) -> None:
        settle_server(self, self.model)

    @property
    def cut(self) -> Cut:
        """Which examples of the data set the run, or all of its batches together, take."""
        return Cut(self.limit, self.rule, self.version)

    @property
    def model_choice(self) -> ModelChoice:
        """The model that the run asks for."""
        return ModelChoice(self.model, self.quantization, self.dtype, self.device, self.encoding, self.version)

    @property
    def preset_name(self) -> str:
        """The present name of the run's preset: until the centred form became it, `default` was `mean-log-odds`."""
        before = self.preset == "default" and self.search.predictability == "mean_log_odds"
        return "mean-log-odds" if before else self.preset

    def with_model(self, choice: ModelChoice) -> "RunSpec":
        """Return the spec with this model and its version."""
        return replace(self, **asdict(choice))

    @staticmethod
    def of(dataset: str, choice: ModelChoice, **rest: Any) -> "RunSpec":
        """Return the spec of a run on a data set with this model; `rest` are the other fields."""
        return RunSpec(dataset, **asdict(choice), **rest)

    def to_json(self) -> Json:
        """Return the spec as stored; settings of sampled terms are left out where they are the usual ones."""
        found, usual = asdict(self), asdict(SearchConfig())
        found["search"] = {k: v for k, v in found["search"].items() if k not in OF_SAMPLED_TERMS or v != usual[k]}
        return found

    @staticmethod
    def from_json(value: Json) -> "RunSpec":
        part = value.get("part")  # absent in specs older than batches, as the version is in those older than versions
        read = {"search": SearchConfig(**value["search"]), "part": BatchPart(**part) if part else None}
        return RunSpec(**{"version": FIRST, **value, **read})


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one step: prompts and tokens, and the hash of the prompt about the drawn example."""

    usage: Usage
    prompt_sha256: str = ""


class _Tied(TypedDict, total=False):
    tied: list[Label]


class _Estimated(TypedDict, total=False):
    estimate: EstimateBody


class _Sampled(TypedDict, total=False):
    sampled: SampledStateBody


class _Bounded(TypedDict, total=False):
    most: int | None


class _Withheld(TypedDict, total=False):
    withheld: list[list[Label]]


def encode_usage(usage: Usage) -> UsageBody:
    """Return the cost of scoring as stored in an event."""
    return {
        "prompts": usage.prompts,
        "tokens_encoded": usage.tokens_encoded,
        "tokens_full": usage.tokens_full,
    }


class Codec:
    """Encodes records of the search as event bodies and decodes them, for one run's examples, labels and version."""

    def __init__(
        self,
        ids: Sequence[str],
        labels: Sequence[Label],
        place: Callable[[str], int] | None = None,
        version: int = NEWEST,
    ) -> None:
        self.ids, self.labels, self.version = ids, tuple(labels), version
        self._place = place or {name: index for index, name in enumerate(ids)}.__getitem__

    def index(self, example_id: str) -> int:
        """Return the index of an example in the run's data set."""
        return self._place(example_id)

    # -- records to bodies

    def encode_initial(self, info: InitialInfo, cost: Cost) -> InitialBody:
        """Return the body of the `initial` event."""
        return {
            "drawn": [{"example": self.ids[i], "label": y} for i, y in info.drawn],
            "repairs": [self._encode_repair(repair) for repair in info.repairs],
            "flips": [self.encode_flip(flip) for flip in info.flips],
            "after": self.encode_evaluation(info.after),
            "scores": self.pack(info.after.scores),
            "set_evaluations": info.set_evaluations,
            "usage": encode_usage(cost.usage),
        }

    def encode_step(self, info: StepInfo, cost: Cost, before: Labeling) -> StepBody:
        """Return the body of a `step` event; `before` is the labeling the step started from."""
        kept = info.verdict == "accepted" and info.after is not None
        tied: _Tied = {"tied": list(info.tied)} if info.tied and self.version > FIRST else {}
        estimated: _Estimated = {"estimate": self._encode_estimate(info.estimate)} if info.estimate else {}
        return {
            "step": info.number,
            "temperature": info.temperature,
            "example": self.ids[info.example],
            "old": info.old,
            "proposed": info.proposed,
            "log_probs": dict(zip(self.labels, info.scores.raw, strict=True)),
            "label_mass": info.scores.mass,
            "before": self.encode_evaluation(info.before),
            "after": self.encode_evaluation(info.after) if info.after else None,
            "delta": info.delta,
            "accept_probability": info.accept_probability,
            "draw": info.draw,
            "accepted": info.verdict == "accepted",
            "verdict": info.verdict,
            "repairs": [self._encode_repair(repair) for repair in info.repairs],
            "flips": [self.encode_flip(flip) for flip in info.flips],
            "movers": self._movers(info, before),
            "scores": self.pack(info.after.scores) if kept and info.after else None,
            "set_evaluations": info.set_evaluations,
            "paired": info.paired,
            "reused": info.reused,
            **tied,
            **estimated,
            "usage": encode_usage(cost.usage),
            "prompt_sha256": cost.prompt_sha256,
        }

    def encode_evaluation(self, evaluation: Evaluation) -> EvaluationBody:
        """Return U with its parts and its inconsistent pairs; log-probabilities are packed separately."""
        return {
            "utility": evaluation.utility,
            "weighted_predictability": evaluation.weighted_predictability,
            "mutual_predictability": evaluation.mutual_predictability,
            "inconsistency": evaluation.inconsistency,
            "pairs": [[self.ids[i], self.ids[j]] for i, j in evaluation.pairs],
            "label_mass": evaluation.label_mass,
        }

    def _encode_repair(self, repair: Repair) -> RepairBody:
        withheld: _Withheld = {"withheld": [list(labels) for labels in repair.withheld]} if repair.withheld else {}
        return {
            "pair": [self.ids[i] for i in repair.pair],
            "labels": list(repair.labels),
            "utility": repair.utility,
            "options": [{"labels": list(option.labels), "utility": option.utility} for option in repair.options],
            "taken": list(repair.taken) if repair.taken else None,
            **withheld,
        }

    def _encode_estimate(self, estimate: DeltaEstimate) -> EstimateBody:
        return {
            "error": estimate.error,
            "terms": estimate.terms,
            "of": estimate.of,
            "certain": [self.ids[i] for i in estimate.certain],
            "read": [self.ids[i] for i in estimate.before],
            "before": self.pack(estimate.before),
        }

    def encode_block(self, block: Block) -> BlockBody:
        """Return a block with the scores read in it."""
        return {
            "number": block.number,
            "size": block.size,
            "prefix": [self.ids[i] for i in block.prefix],
            "front": [self.ids[i] for i in block.front],
            "sample": [self.ids[i] for i in block.sample],
            "read": [self.ids[i] for i in block.read],
            "scores": self.pack(block.read),
        }

    def encode_flip(self, flip: Flip) -> FlipBody:
        """Return one label change."""
        return {"example": self.ids[flip.example], "old": flip.old, "new": flip.new, "cause": flip.cause}

    def _movers(self, info: StepInfo, before: Labeling) -> list[MoverBody]:
        """The examples whose log p of their own label changed most from before the step to its proposal."""
        if info.after is None:
            return []
        return self.movers(info.after.scores, info.before.scores, flipped(before, info.flips), before)

    def movers(self, now: Scores, then: Scores, proposal: Labeling, before: Labeling) -> list[MoverBody]:
        """Return the examples whose log p of their own label changed most, as stored in an event."""
        moved = [(i, self.own(then[i], before[i]), self.own(now[i], proposal[i])) for i in now if i in then]
        moved.sort(key=lambda row: -abs(row[2] - row[1]))
        return [{"example": self.ids[i], "before": old, "after": new} for i, old, new in moved[:MOVERS]]

    def own(self, scores: LabelLogProbs, label: Label) -> float:
        """Return log p of this label, renormalised over the labels."""
        return scores.normalized[self.labels.index(label)]

    def pack(self, scores: Mapping[int, LabelLogProbs]) -> str:
        """Return the label log-probabilities, in their order, packed as text."""
        values = [value for score in scores.values() for value in score.raw]
        return base64.b64encode(zlib.compress(struct.pack(f"<{len(values)}d", *values))).decode()

    # -- bodies to records

    def decode_initial(self, body: InitialBody) -> InitialInfo:
        """Return the record of an `initial` event."""
        flips = self.decode_flips(body["flips"])
        labeling = flipped(Labeling(), flips)
        return InitialInfo(
            tuple((self.index(row["example"]), row["label"]) for row in body["drawn"]),
            tuple(self._decode_repair(repair) for repair in body["repairs"]),
            flips,
            self.decode_evaluation(body["after"], self.unpack(body["scores"], labeling)),
            body["set_evaluations"],
        )

    def decode_step(self, body: StepBody, state: State) -> StepInfo:
        """Return the record of a `step` event; `state` is the one it started from."""
        flips = self.decode_flips(body["flips"])
        scores = self.unpack(body["scores"], flipped(state.labeling, flips)) if body["scores"] else {}
        return StepInfo(
            number=body["step"],
            temperature=body["temperature"],
            example=self.index(body["example"]),
            old=body["old"],
            proposed=body["proposed"],
            scores=LabelLogProbs(tuple(body["log_probs"][label] for label in self.labels)),
            before=self.decode_evaluation(body["before"], {}),
            after=self.decode_evaluation(body["after"], scores) if body["after"] else None,
            repairs=tuple(self._decode_repair(repair) for repair in body["repairs"]),
            flips=flips,
            delta=body["delta"],
            accept_probability=body["accept_probability"],
            draw=body["draw"],
            verdict=body["verdict"],
            set_evaluations=body["set_evaluations"],
            paired=body.get("paired", False),  # absent in logs older than these fields
            reused=body.get("reused", False),
            tied=tuple(body.get("tied", ())),
            estimate=self._decode_estimate(body["estimate"]) if "estimate" in body else None,
        )

    def _decode_estimate(self, body: EstimateBody) -> DeltaEstimate:
        scores = dict(self.unpack(body["before"], self._indices(body["read"])))
        return DeltaEstimate(body["error"], body["terms"], body["of"], self._indices(body["certain"]), scores)

    def decode_block(self, body: BlockBody, begun: Block | None, strata: Mapping[int, int], old: Scores) -> Block:
        """Return a block; if it goes on with one of the same number, that is `begun`.

        `strata` and `old` are the labels and the scores known when its sample was drawn.
        """
        prefix, front, sample = (self._indices(some) for some in (body["prefix"], body["front"], body["sample"]))
        read = dict(self.unpack(body["scores"], self._indices(body["read"])))
        strain, changes = (begun.strain, begun.changes) if begun else (0.0, 0)
        return Block(body["number"], body["size"], prefix, front, sample, strata, old, read, strain, changes)

    def _indices(self, examples: Sequence[str]) -> tuple[int, ...]:
        return tuple(map(self.index, examples))

    def encode_fold(self, fit: Fit, round: int, fold: int, labels: str) -> FoldBody:
        """Return the body of a `fold` event; `labels` is the hash of the labels that the round tries."""
        return {
            "round": round,
            "fold": fold,
            "labels": labels,
            "held_out": [self.ids[i] for i in fit.scores],
            "scores": self.pack(fit.scores),
            "rows": fit.rows,
            "steps": fit.steps,
            "tokens": fit.tokens,
            "first_loss": fit.first_loss,
            "last_loss": fit.last_loss,
            "set_evaluations": 0,
            "usage": encode_usage(fit.usage),
        }

    def decode_fold(self, body: FoldBody) -> Scores:
        """Return the predictions of a `fold` event."""
        return self.unpack(body["scores"], self._indices(body["held_out"]))

    def encode_round(self, info: RoundInfo, state: State, data_sha256: str | None) -> RoundOfFoldsBody:
        """Return the body of a `round` event; `state` is the one after it, the hash that of what the run labels."""
        return {
            "before": self.encode_evaluation(info.before) if info.before else None,
            "tried": self.encode_evaluation(info.after),
            "kept": info.accepted,
            "flips": [self.encode_flip(flip) for flip in info.proposal.flips],
            "repairs": [self._encode_repair(repair) for repair in info.proposal.repairs],
            "groups": info.proposal.groups,
            "most": info.most,
            "left": info.left,
            "data_sha256": data_sha256,
            "set_evaluations": 1 if info.number else 0,
            "usage": encode_usage(Usage()),
            **encode_state(self, state),
        }

    def decode_evaluation(self, body: EvaluationBody, scores: Mapping[int, LabelLogProbs]) -> Evaluation:
        """Return an evaluation with these log-probabilities."""
        pairs = tuple((self.index(a), self.index(b)) for a, b in body["pairs"])
        terms = (body["weighted_predictability"], body["mutual_predictability"], body["inconsistency"])
        return Evaluation(*terms, pairs, scores)

    def _decode_repair(self, body: RepairBody) -> Repair:
        return Repair(
            (self.index(body["pair"][0]), self.index(body["pair"][1])),
            (body["labels"][0], body["labels"][1]),
            body["utility"],
            tuple(Option((o["labels"][0], o["labels"][1]), o["utility"]) for o in body["options"]),
            (body["taken"][0], body["taken"][1]) if body["taken"] else None,
            tuple((a, b) for a, b in body.get("withheld", [])),
        )

    def decode_flips(self, flips: Sequence[FlipBody]) -> tuple[Flip, ...]:
        """Return the label changes of an event."""
        return tuple(Flip(self.index(f["example"]), f["old"], f["new"], f["cause"]) for f in flips)

    def unpack(self, packed: str, labeling: Collection[int]) -> Mapping[int, LabelLogProbs]:
        """Return packed label log-probabilities by example of this labeling, unpacked on first access.

        A replay passes thousands of labelings and reads only the last one's scores. Damaged data raises StoreError on
        access.
        """
        return _Packed(packed, labeling, len(self.labels))


class _Packed(Mapping[int, LabelLogProbs]):
    """Label log-probabilities that are not unpacked yet."""

    def __init__(self, packed: str, labeling: Collection[int], width: int) -> None:
        self._packed, self._labeling, self._width = packed, labeling, width

    @cached_property
    def _rows(self) -> dict[int, LabelLogProbs]:
        try:
            rows = struct.iter_unpack(f"<{self._width}d", zlib.decompress(base64.b64decode(self._packed)))
            return {i: LabelLogProbs(row) for i, row in zip(self._labeling, rows, strict=True)}
        except (ValueError, zlib.error, struct.error) as error:
            raise StoreError(f"log-probabilities cannot be read from the database ({error}): {DAMAGED}") from None

    def __getitem__(self, example: int) -> LabelLogProbs:
        return self._rows[example]

    def __iter__(self) -> Iterator[int]:
        return iter(self._labeling)

    def __len__(self) -> int:
        return len(self._labeling)


# settings that can change during a run; the others would make it another algorithm
RETUNABLE = ("alpha", "initial_temperature", "final_temperature", "cooling_rate", "neighbour_weight")


def encode_hand(codec: Codec, info: HandInfo, state: State, cost: Cost) -> HandBody:
    """Return the body of a `hand` event; `state` is the one before it."""
    return {
        "step": state.step,
        "acts": [_encode_done(codec, done) for done in info.done],
        "flips": [codec.encode_flip(flip) for flip in info.flips],
        "after": codec.encode_evaluation(info.after) if info.after else None,
        "scores": codec.pack(info.after.scores) if info.after else None,
        "set_evaluations": info.set_evaluations,
        "usage": encode_usage(cost.usage),
    }


def decode_hand(codec: Codec, body: HandBody, state: State) -> HandInfo:
    """Return the record of a `hand` event; `state` is the one before it."""
    info = HandInfo(tuple(decode_done(codec, done) for done in body["acts"]), codec.decode_flips(body["flips"]))
    if body["after"] is None:
        return info
    order = apply(state, replace(info, after=state.evaluation)).labeling  # the order the scores were packed in
    after = codec.decode_evaluation(
        body["after"], codec.unpack(body["scores"] or "", order)
    )  # none is damage, and raises
    return replace(info, after=after, set_evaluations=body["set_evaluations"])


def _encode_done(codec: Codec, done: AppliedIntervention) -> ActBody:
    return {
        "verb": done.act.verb,
        "examples": [codec.ids[i] for i in done.act.examples],
        "labels": list(done.act.labels),
        "text": done.act.text,
        "changes": [
            {"example": codec.ids[c.example], "before": _encode_example(c.before), "after": _encode_example(c.after)}
            for c in done.changes
        ],
    }


def _encode_example(state: ExampleState) -> ExampleStateBody:
    return {"label": state.label, "pinned": state.pinned, "note": state.note}


def decode_done(codec: Codec, body: ActBody) -> AppliedIntervention:
    """Return one act with its changes."""
    changes = tuple(
        ExampleChange(codec.index(c["example"]), ExampleState(**c["before"]), ExampleState(**c["after"]))
        for c in body["changes"]
    )
    return AppliedIntervention(decode_act(codec, body), changes)


def decode_act(codec: Codec, body: Mapping[str, Any]) -> Act:
    """Return a person's act from the body of an event or command. Raises KeyError for an unknown example."""
    examples = tuple(codec.index(example) for example in body.get("examples", []))
    return Act(body["verb"], examples, tuple(body.get("labels", [])), body.get("text", ""))


def encode_tune(codec: Codec, info: TuneInfo, state: State) -> RetunedBody:
    """Return the body of a `retuned` event."""
    return {"step": state.step, "settings": dict(info.settings), "after": codec.encode_evaluation(info.after)}


def decode_tune(codec: Codec, body: RetunedBody, state: State) -> TuneInfo:
    """Return the record of a `retuned` event; the log-probabilities are those of the state before it."""
    return TuneInfo(body["settings"], codec.decode_evaluation(body["after"], state.evaluation.scores))


def encode_refresh(codec: Codec, info: RefreshInfo, state: State, cost: Cost) -> RefreshedBody:
    """Return the body of a `refreshed` event."""
    return {
        "step": state.step,
        "why": info.why,
        "block": codec.encode_block(info.block) if info.block else None,
        "after": codec.encode_evaluation(info.exact) if info.exact else None,
        "scores": codec.pack(info.exact.scores) if info.exact else None,
        "estimated_change": info.estimated_change,
        "exact_change": info.exact_change,
        "set_evaluations": info.set_evaluations,
        "usage": encode_usage(cost.usage),
    }


def decode_refresh(codec: Codec, body: RefreshedBody, state: State) -> RefreshInfo:
    """Return the record of a `refreshed` event; `state` is the one before it."""
    exact = body["after"] and codec.decode_evaluation(body["after"], codec.unpack(body["scores"] or "", state.labeling))
    block = None
    if (drawn := body["block"]) is not None:
        begun = state.block if state.block is not None and state.block.number == drawn["number"] else None
        old = exact.scores if exact else begun.old if begun else state.evaluation.scores
        labels = {i: codec.labels.index(y) for i, y in state.labeling.items()}
        block = codec.decode_block(drawn, begun, begun.strata if begun else labels, old)
    changes = body["estimated_change"], body["exact_change"]
    return RefreshInfo(body["why"], block, exact, *changes, set_evaluations=body["set_evaluations"])


def _encode_sampled(codec: Codec, state: State) -> SampledStateBody:
    """The part of a state that only a search with sampled terms has."""
    block: KeptBlockBody | None = None
    if (kept := state.block) is not None:
        old = {codec.ids[i]: list(score.raw) for i, score in kept.old.items()}
        strata = [kept.strata[i] for i in kept.old]
        usual = codec.encode_block(kept)
        block = {**usual, "old": old, "strata": strata, "strain": kept.strain, "changes": kept.changes}
    return {
        "block": block,
        "exact_at": state.exact_at,
        "exact_utility": state.exact_utility,
        "read_at": [state.read_at[i] for i in state.labeling],
    }


def _with_sampled(codec: Codec, body: SampledStateBody, state: State) -> State:
    """The state with the part written by `_encode_sampled`."""
    block = None
    if (kept := body["block"]) is not None:
        old = {codec.index(example): LabelLogProbs(tuple(raw)) for example, raw in kept["old"].items()}
        strata = dict(zip(old, kept["strata"], strict=True))
        block = codec.decode_block(kept, None, strata, old)
        block = replace(block, strain=kept["strain"], changes=kept["changes"])
    return replace(
        state,
        block=block,
        exact_at=body["exact_at"],
        exact_utility=body["exact_utility"],
        read_at=dict(zip(state.labeling, body["read_at"], strict=True)),
    )


def encode_state(codec: Codec, state: State) -> StateBody:
    """Return a whole state: the body of a `forked` event or a snapshot."""
    sampled: _Sampled = {"sampled": _encode_sampled(codec, state)} if state.read_at else {}
    bounded: _Bounded = {} if state.most is None else {"most": state.most}
    return {
        "step": state.step,
        "accepted": state.accepted,
        "labels": [[codec.ids[i], label] for i, label in state.labeling.items()],
        "after": codec.encode_evaluation(state.evaluation),
        "scores": codec.pack(state.evaluation.scores),
        "hopeless": [[codec.ids[i], codec.ids[j]] for i, j in sorted(state.unrepairable)],
        "pins": [codec.ids[i] for i in sorted(state.hand.pins)],
        "notes": {codec.ids[i]: note for i, note in state.hand.notes.items()},
        "since": [state.since[pair] for pair in state.evaluation.pairs],
        **sampled,
        **bounded,
    }


def decode_state(codec: Codec, body: StateBody) -> State:
    """Return the state written by `encode_state`."""
    labeling = Labeling({codec.index(example): label for example, label in body["labels"]})
    evaluation = codec.decode_evaluation(body["after"], codec.unpack(body["scores"], labeling))
    state = State(
        labeling,
        evaluation,
        body["step"],
        body["accepted"],
        frozenset((codec.index(a), codec.index(b)) for a, b in body["hopeless"]),
        Hand(frozenset(map(codec.index, body["pins"])), {codec.index(k): v for k, v in body["notes"].items()}),
        dict(zip(evaluation.pairs, body["since"], strict=True)),
        codec.version,
        most=body.get("most"),
    )
    return _with_sampled(codec, body["sampled"], state) if "sampled" in body else state


def breakpoints_of(body: BreakpointsBody) -> Breakpoints:
    """Return the breakpoints of a command or an event."""
    return Breakpoints(tuple(body["flips"]), body["utility_falls"], body["inconsistent_for"])


def tuned(config: SearchConfig, settings: Mapping[str, Any]) -> SearchConfig:
    """Return the settings in force after a retuning."""
    return replace(config, **settings)
