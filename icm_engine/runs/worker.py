"""The process that searches: python -m icm_engine.runs.worker --db FILE RUN.

It claims the run, builds the scorer, takes steps, appends each one whole, and applies commands between steps. It can be
killed at any moment: every appended event is a whole step, and the next worker continues from there.

When a server goes away, the run pauses and commands (stop, pause, resume) still work. The worker waits as long as in
any pause; after that, resume starts another one.
"""

import functools
import hashlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from icm_engine.baselines.llm_judge import Chat, NoChat, TableChat
from icm_engine.core.advance import advance, evaluated, reached
from icm_engine.core.errors import IcmError, PromptTooLong, ServerUnavailable
from icm_engine.core.folds import FOLDS, Fitter, ShownFitter, fold_settings
from icm_engine.core.objective import Objective
from icm_engine.core.prompting import Prompt, demonstration, render
from icm_engine.core.scoring import (
    Scorer,
    TableScorer,
    Usage,
    agreeable_belief,
    begin_calls,
    calls_of,
    reading_of,
    retries_of,
)
from icm_engine.core.search import RefreshInfo, State, apply, asked, initialize
from icm_engine.core.server_address import is_server
from icm_engine.core.settings import ModelChoice, TuneSettings
from icm_engine.runs.baseline_run import FoldsRun, given_labels, label_at_once
from icm_engine.runs.command_handler import CommandHandler
from icm_engine.runs.control import steps_left
from icm_engine.runs.lease import claim, guarded, heartbeat, in_database
from icm_engine.runs.model_registry import located, model_of_run
from icm_engine.store.bodies import READING
from icm_engine.store.events import SEARCH, Cost, Json, RunSpec, encode_refresh, encode_state
from icm_engine.store.replay import OpenRun, calls_of_run, current_state, open_run
from icm_engine.store.store import Command, Event, Store

SERVER_LOOK = 3.0  # seconds between two checks whether the server is back
SERVER_POLL = 0.1  # seconds between two looks at commands
SERVER = "server"  # what a run waits for when it pauses by itself
BACK = "the server is back"


@dataclass
class ServerWait:
    """A worker's wait for its server; `obey` applies pending commands, `ended` says whether the run is over.

    `connect` builds the scorer again, and raises as long as that fails.
    """

    store: Store
    run: str
    idle: float
    append: Callable[[str, Json], None]
    obey: Callable[[], None]
    ended: Callable[[], bool]
    connect: Callable[[], Scorer]

    def wait(self, error: ServerUnavailable) -> bool:
        """Pause the run because of an error; return whether to continue: the server is back, or a person says so."""
        if steps_left(self.store, self.run) != 0:
            self._pause(str(error), SERVER)
        began = looked = time.monotonic()
        while (now := time.monotonic()) - began <= self.idle:
            self.obey()
            if self.ended():
                return False
            if steps_left(self.store, self.run) != 0:
                return True  # resumed by a person
            if now - looked >= SERVER_LOOK:
                looked = now
                if self._back():
                    return True
            time.sleep(SERVER_POLL)
        return False

    def _pause(self, reason: str, waits_for: str | None) -> None:
        last = self._last()
        left = last.control["left"] if _waits(last) else steps_left(self.store, self.run)
        waiting = {"waits_for": waits_for, "left": left} if waits_for else {}
        self.append("control", {"verb": "pause", "reason": reason, **waiting})

    def _back(self) -> bool:
        """Whether the server is back; a waiting run continues only with the same model."""
        last = self._last()
        try:
            found = dict(self.connect().describe())
        except IcmError as error:  # not yet; the obstacle may have changed
            if _waits(last) and last.control["reason"] != str(error):
                self._pause(str(error), SERVER)
            return False
        if not _waits(last):
            return True  # paused by a person: only their other commands are applied
        if different := self._different(found):
            self._pause(f"the server is back, but not as it was ({different}): resume continues with it as it is", None)
            return True
        steps = {"verb": "step", "steps": last.control["left"]} if last.control["left"] else {"verb": "resume"}
        self.append("control", {**steps, "reason": BACK})
        return True

    def _different(self, found: Json) -> str:
        before = self.store.last_event(self.run, ("model",))
        known = before.body if before is not None else found
        return ", ".join(  # an earlier version may have recorded fewer facts
            f"{k}: {known[k]} -> {found[k]}" for k in found if k in known and known[k] != found[k]
        )

    def _last(self) -> Event | None:
        return self.store.last_event(self.run, ("control", "failed", "finished"))


def _waits(last: Event | None) -> TypeGuard[Event]:
    return last is not None and last.kind == "control" and last.control.get("waits_for") == SERVER


POLL = 0.1  # seconds between looks at commands while paused
IDLE = 600.0  # seconds for which a paused worker keeps the model in memory
SNAPSHOT_EVERY = 500  # events: replaying so many takes a tenth of a second


@functools.lru_cache(maxsize=1)
def make_scorer(spec: ModelChoice) -> Scorer:
    """Return the scorer that a run or job asks for; a process that does several keeps the last one. Raises ModelError.

    The one place where a model runtime is imported.
    """
    if spec.model == "fake":
        return TableScorer(agreeable_belief)
    if is_server(spec.model):
        from icm_engine.models.server_scorer import ServerScorer

        return ServerScorer(spec.model, spec.encoding, version=spec.version)
    from icm_engine.models.loading import load
    from icm_engine.models.transformers_scorer import TransformersScorer

    loaded = load(spec)
    return TransformersScorer(loaded, spec.encoding, version=spec.version)


def make_chat(scorer: Scorer) -> Chat:
    """Return the chat of a scorer's model."""
    if isinstance(scorer, TableScorer):
        return TableChat()
    if "server" in scorer.describe():
        return NoChat(
            "a server scores labels only and is not asked in words: load a chat model on this machine for that"
        )
    from icm_engine.models.generator import TransformersChat
    from icm_engine.models.transformers_scorer import TransformersScorer

    assert isinstance(scorer, TransformersScorer)
    return TransformersChat(scorer.loaded)


def make_tuner(
    choice: ModelChoice, objective: Objective, tuning: TuneSettings, interrupted: Callable[[], bool]
) -> Fitter:
    """Return what tunes a run's model fold by fold. Raises NotInstalled."""
    from icm_engine.training.sft import FoldTuner

    return FoldTuner(choice, objective, tuning, interrupted)


@dataclass
class Worker:
    """One process's hold on one run."""

    store: Store
    opened: OpenRun
    lease: str
    idle: float = 0.0  # seconds it waits while the run is paused
    state: State | None = None
    retries: int = 0  # the scorer's facts as last recorded
    tokens: int = 0  # tokens per call as last recorded

    def __post_init__(self) -> None:
        self.folds = FoldsRun(self.store, self.opened)

    def work(self) -> None:
        """Search until the run is finished, stopped, failed, or has been paused for long."""
        run = self.opened.name
        self.state = current_state(self.store, self.opened)
        hand = CommandHandler(self.store, self.opened, self.lease)
        self.state = hand.obey(self.state, None)
        if not self.store.pending(run) and (self._ended() or self._waiting()):
            return  # the commands needed no model
        while True:
            try:
                self._search(hand, self._prepared(hand))
                return
            except ServerUnavailable as error:
                if self.store.last_event(run, ("model",)) is None:
                    raise  # never reachable: more likely a wrong address than a pause
                make_scorer.cache_clear()
                if not self._wait(hand).wait(error):
                    return

    def _prepared(self, hand: CommandHandler) -> Scorer:
        """The scorer, once checked that it can score the run. Raises ModelError."""
        scorer = self._connected()
        self.retries = retries_of(scorer).count
        begin_calls(scorer, *calls_of_run(self.store, self.opened.name))
        self.tokens = calls_of(scorer).tokens
        objective = self.opened.objective(hand.config, scorer)
        require_context(objective, self.opened.spec)
        self._record_model(scorer, objective)
        self.store.update_lease(self.opened.name, self.lease, ready=1)
        return scorer

    def _wait(self, hand: CommandHandler) -> ServerWait:
        def obey() -> None:
            self.state = hand.obey(self.state, None)

        return ServerWait(self.store, self.opened.name, self.idle, self._append, obey, self._ended, self._connected)

    def _connected(self) -> Scorer:
        return make_scorer(located(self.store, model_of_run(self.store, self.opened.name)))

    def _search(self, hand: CommandHandler, scorer: Scorer) -> None:
        idle_since = time.monotonic()
        while True:
            self.state = hand.obey(self.state, scorer)
            self._record_shrunk(scorer)
            if self._ended():
                return
            if self._waiting():
                if time.monotonic() - idle_since >= self.idle or self._dismissed():
                    return
                time.sleep(POLL)
                continue
            try:
                self._advance(self.opened.objective(hand.config, scorer), hand)
            finally:
                self._record_retries(scorer)
            idle_since = time.monotonic()

    def _waiting(self) -> bool:
        """Whether no step may be taken now."""
        return steps_left(self.store, self.opened.name) == 0 and not self._settling()

    def _settling(self) -> bool:
        """Whether all steps of a search with sampled terms are taken, and U is still a sum of estimates."""
        state, spec = self.state, self.opened.spec
        return spec.source == SEARCH and state is not None and state.step >= spec.search.max_steps and state.estimated

    def _dismissed(self) -> bool:
        """Whether the run was deleted, or taken over by another worker."""
        return self.store.lease_token(self.opened.name) != self.lease

    def fail(self, error: Json) -> None:
        """Record why the run cannot continue; it can be resumed once the cause is gone."""
        self.store.append(self.opened.name, "failed", error, lease=self.lease)

    def _ended(self) -> bool:
        last = self.store.last_event(self.opened.name, ("control", "finished"))
        if last is not None and last.kind == "finished":
            return True
        if self.state is None or not self._at_end(self.state):
            return last is not None and last.control["verb"] == "stop"
        self._append("finished", {"steps": self.state.step})  # commands sent too late
        return True

    def _at_end(self, state: State) -> bool:
        spec = self.opened.spec
        if spec.source == FOLDS:
            return self.folds.at_end(state)
        return not self._settling() and (spec.source != SEARCH or state.step >= spec.search.max_steps)

    def _advance(self, objective: Objective, hand: CommandHandler) -> None:
        """Draw the initial labels or take one step, append it whole, then check whether to stop."""
        began, used = time.perf_counter(), objective.scorer.usage
        codec, before, spec = self.opened.codec, self.state, self.opened.spec
        if spec.source == FOLDS:
            self._advance_folds(objective, hand)
            return
        if before is None and spec.source != SEARCH:
            state, body = label_at_once(self.opened, objective, hand.config, make_chat(objective.scorer))
            if not self._record_shrunk(objective.scorer):
                self.state = state
                self._append("labelled", {**body, "data_sha256": self.opened.data_sha256}, time.perf_counter() - began)
            return
        if before is None:
            given = given_labels(self.opened) if spec.given else None
            state, first = initialize(objective, hand.config, given, spec.version)
            if not self._record_shrunk(objective.scorer):
                self.state, cost = state, Cost(objective.scorer.usage - used)
                begun = {**codec.encode_initial(first, cost), "data_sha256": self.opened.data_sha256}
                self._append("initial", begun, time.perf_counter() - began)
            return
        self._take_step(before, objective, hand)

    def _advance_folds(self, objective: Objective, hand: CommandHandler) -> None:
        """Fit one fold, or end a round, and append it."""
        began = time.perf_counter()
        found = self.folds.next(self.state, objective, hand.config, self._fitter(objective))
        if found is None or self._record_shrunk(objective.scorer):
            return
        self._append(found.kind, found.body, time.perf_counter() - began)
        self.state = found.state or self.state

    def _fitter(self, objective: Objective) -> Fitter:
        if isinstance(objective.scorer, TableScorer):
            return ShownFitter(objective)
        choice = located(self.store, model_of_run(self.store, self.opened.name))
        settings = fold_settings(self.opened.spec.source_options, self.opened.spec.search.seed)
        return make_tuner(choice, objective, settings.tuning, self._wanted_back)

    def _wanted_back(self) -> bool:
        """Whether a person asked the run to pause or to stop."""
        return any(command.verb in ("pause", "stop") for command in self.store.pending(self.opened.name))

    def _take_step(self, before: State, objective: Objective, hand: CommandHandler) -> None:
        """Take one step and append all that it records; at the end of a search with sampled terms, evaluate exactly."""
        codec, scorer = self.opened.codec, objective.scorer
        end = [evaluated(before, objective, "end")] if self._settling() else []
        records = iter(end) if end else advance(before, objective, hand.config)
        while True:
            began, used = time.perf_counter(), scorer.usage
            after, info = next(records, (None, None))
            if after is None or info is None or self._record_shrunk(scorer):
                return  # after less memory, the step is taken again, with calls of one size
            cost, seconds = Cost(scorer.usage - used), time.perf_counter() - began
            if isinstance(info, RefreshInfo):
                self._append("refreshed", encode_refresh(codec, info, before, cost), seconds)
                self.state = before = after
                continue
            prompt = asked(before, objective, info.example, info.reused)
            cost = replace(cost, prompt_sha256=hashlib.sha256(prompt.text.encode()).hexdigest())
            self._append("step", codec.encode_step(info, cost, before.labeling), seconds, after)
            self.state = after
            if (reason := reached(hand.breakpoints, before, info, after, codec.ids)) is not None:
                self._append("control", {"verb": "pause", "reason": reason})

    def _append(self, kind: str, body: Mapping[str, Any], seconds: float = 0.0, state: State | None = None) -> None:
        """Append an event, and regularly a snapshot of the state after it."""
        number = self.store.append(self.opened.name, kind, body, seconds, self.lease)
        if state is not None and number % SNAPSHOT_EVERY == 0:
            self.store.keep_snapshot(self.opened.name, number, encode_state(self.opened.codec, state))

    def _record_retries(self, scorer: Scorer) -> None:
        """Record how often a server was asked again, and why: a circumstance of a step, not part of its result."""
        now = retries_of(scorer)
        if now.count > self.retries:
            self._append("retried", {"retries": now.count - self.retries, "why": now.why})
            self.retries = now.count

    def _record_shrunk(self, scorer: Scorer) -> bool:
        """Record that the model reads fewer tokens per call since memory ran out; return whether that is new.

        Scores depend slightly on that number, so the step in which it changed is taken again after this event.
        """
        now = calls_of(scorer)
        if now.tokens >= self.tokens:
            return False
        self._append("shrunk", {"tokens": now.tokens, "was": self.tokens, "why": now.why})
        self.tokens = now.tokens
        if self.state is not None and self.state.block is not None:  # its scores were read in larger calls
            info = RefreshInfo("memory", None)
            self._append("refreshed", encode_refresh(self.opened.codec, info, self.state, Cost(Usage())))
            self.state = apply(self.state, info)
        return True

    def _record_model(self, scorer: Scorer, objective: Objective) -> None:
        """Record which model scores and how it reads the examples; again only if that changed."""
        found = reading_of(scorer, (render(objective.task, example) for example in objective.examples))
        facts = {**scorer.describe(), **({READING: found} if found else {})}
        last = self.store.last_event(self.opened.name, ("model",))
        if last is None or last.body != facts:
            self._append("model", facts)


def require_context(objective: Objective, spec: RunSpec) -> None:
    """Refuse at the start what would not fit later. Raises PromptTooLong with the numbers and the remedy.

    The longest prompt has as many demonstrations as can ever be labelled: the initial ones and one per step.
    """
    texts = [render(objective.task, example) for example in objective.examples]
    require_example(objective, texts)
    if spec.source == FOLDS:
        return  # nothing is shown before a question
    most = spec.search.initial_labels + spec.search.max_steps if spec.source == SEARCH else len(texts)
    count = min(len(texts), most)
    longest = sorted(texts, key=len)[-count:]
    label = max(objective.task.labels, key=len)
    shown = tuple(demonstration(text, label) for text in longest[1:])
    objective.scorer.check_fits([Prompt((*shown, (longest[0],)), objective.task.labels)])


def require_example(objective: Objective, texts: Sequence[str]) -> None:
    """Refuse an example that does not fit even alone, where a smaller limit would not help. Raises PromptTooLong."""
    place = max(range(len(texts)), key=lambda i: len(texts[i]))
    try:
        objective.scorer.check_fits([Prompt(((texts[place],),), objective.task.labels)])
    except PromptTooLong as error:
        raise PromptTooLong(
            f"example {objective.examples[place].id!r} is too long by itself ({str(error).split(':')[0]}): "
            "shorten its text or leave it out of the file, or use a model with a longer context"
        ) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one worker to its end; 0 if the run can be left as it is, 1 if it failed or another worker holds it."""
    return in_database("run", work, arguments)


def work(store: Store, run: str) -> int:
    """Hold a run until there is nothing to do; 0, or 1 if it failed. Raises RunBusy."""
    return obeying(lambda: store.pending(run), lambda: run_in_process(store, run, IDLE))


def obeying(pending: Callable[[], Sequence[Command]], hold: Callable[[], int]) -> int:
    """Hold a run, and again for commands sent while its worker was exiting; a failed command is not repeated."""
    while True:
        before = {command.token for command in pending()}
        code = hold()
        if {command.token for command in pending()} <= before:
            return code


def run_in_process(store: Store, run: str, idle: float) -> int:
    """Take a run as far as it goes, waiting `idle` seconds while paused; 0, or 1 if it failed. Raises RunBusy."""
    lease = claim(store, run)
    with heartbeat(store, run, lease):
        searching = Worker(store, open_run(store, run).whole(), lease, idle)
        return guarded(searching.work, searching.fail)


if __name__ == "__main__":
    sys.exit(main())
