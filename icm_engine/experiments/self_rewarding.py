"""The self-rewarding loop: a policy samples responses, a judge labels them, and the policy is tuned on the labels.

A round (Yuan et al. 2024, arXiv 2401.10020, with ICM as the judge) takes four steps, each a run or job of its own:

1. the policy responds to the training prompts;
2. the judge labels the distinct responses: a search by ICM, or another label source;
3. preference tuning (DPO) trains the policy further, with itself as the reference;
4. the new policy responds to held-out prompts. The judge labels these responses together with the start's, so every
   round has the same opponent: its *win rate*.

Such loops rise and then fall. So the round with the highest win rate is kept, the start counting one half, and the loop
ends after some rounds that are no better (`patience`), or when nothing is left to prefer.

The judge is the model that the loop starts from. Two settings judge the judge, in the manner of meta-rewarding (Wu et
al. 2024, arXiv 2407.19594): several searches of ICM label a round's responses, and the labels with the highest U count
(`judgements`); the judge is tuned on these labels and labels the next round's responses (`tune_judge`). The win rate is
always that of the judge at the start, so that rounds can be compared.

This process drives; it has no model. Gold is read only for the judge `golden`, whose runs and policies are marked
supervised. What was made is kept as parts of the job, so a killed loop continues with what is left.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from statistics import fmean

from icm_engine import jobs
from icm_engine.analysis.evaluation import Estimate, Right, above, estimate, truth_of, wins
from icm_engine.core.errors import NothingToPrefer, RunError, SettingError
from icm_engine.core.folds import FOLDS
from icm_engine.core.labeling import Example, Label
from icm_engine.core.rng import seed_of
from icm_engine.core.settings import PRESETS, ModelChoice, TuneSettings, with_settings
from icm_engine.core.training_rows import CLAIM, Form, form_of
from icm_engine.data.answers import reader_for
from icm_engine.jobs import JobSpec, finetuning, policies, scheduler
from icm_engine.jobs.downstream_eval import DatasetPart
from icm_engine.jobs.finetuning import free_name, free_stem, require_new
from icm_engine.jobs.job_process import Job
from icm_engine.jobs.policies import PreferenceSettings, Sampling, keep_responses, settings_from
from icm_engine.jobs.scheduler import SharedWorkers
from icm_engine.runs import control, model_registry
from icm_engine.runs.new_run import resolved
from icm_engine.store.events import GIVEN, SEARCH, Json, RunSpec
from icm_engine.store.replay import current_state, open_run
from icm_engine.store.store import Store

KIND = "self-rewarding"
GOLDEN, MAJORITY = "golden", "majority"  # judges whose labels are given to the run
ROUNDS_DONE, NO_BETTER, NOTHING_LEFT = "all rounds done", "no better", "nothing left to prefer"


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """Settings of the loop.

    `prompts` with `samples` responses each are for training, `test_prompts` with `test_samples` for the win rate. A
    judge is `icm`, another label source, `majority` (the most frequent answer is True) or `golden` (supervised).
    `patience` is the number of rounds without a higher win rate after which the loop ends. `judgements` are searches
    of each round's responses, compared by U; with `tune_judge` the judge is tuned on those that counted. With `thought`
    the policy writes a line of so many tokens at most before each response, which the judge does not see (thought
    preference optimisation, Wu et al. 2024, arXiv 2410.10630): it is trained by how its responses are judged.
    """

    rounds: int = 3
    judge: str = SEARCH
    prompts: int = 16
    samples: int = 6
    test_prompts: int = 16
    test_samples: int = 8
    temperature: float = 1.0
    max_tokens: int = 16
    patience: int = 2
    judgements: int = 1
    tune_judge: bool = False
    thought: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, str | bool) and not value > 0 and field.name != "thought":
                raise SettingError(f"{field.name} is {value}: use a value above 0")
        if self.samples < 2:
            raise SettingError("samples is 1: a preference needs two responses to a prompt, use 2 or more")
        if self.judgements > 1 and self.judge != SEARCH:
            raise SettingError(
                f"judgements are compared by U, which judge {self.judge} does not raise: use judge {SEARCH}, or one "
                "judgement"
            )
        if self.tune_judge and self.judge in (GOLDEN, MAJORITY, FOLDS):
            raise SettingError(
                f"judge {self.judge} has no model that could be tuned: use another judge, or do not tune it"
            )


EXPLANATIONS = {
    "rounds": "rounds at most",
    "judge": f"who labels the responses: {SEARCH}, another label source, {MAJORITY}, or {GOLDEN} (supervised)",
    "prompts": "training prompts",
    "samples": "responses to each training prompt",
    "test_prompts": "held-out prompts",
    "test_samples": "responses to each held-out prompt",
    "temperature": "temperature of sampling",
    "max_tokens": "maximum tokens of a response",
    "patience": "rounds without a higher win rate after which the loop ends",
    "judgements": "searches of each round's responses by ICM, of which the one with the highest U counts",
    "thought": "maximum tokens of a hidden line of thought before each response; 0 for none",
    "tune_judge": "whether the judge is tuned on its labels after each round (true or false)",
}


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop as requested: its data, its settings, and the names and settings of its runs and jobs.

    `test` is the data set of the held-out prompts; None for the prompts of `dataset` after those for training.
    """

    name: str
    dataset: str
    test: str | None
    settings: LoopSettings
    training: PreferenceSettings
    model: ModelChoice

    @staticmethod
    def of(spec: JobSpec) -> "Loop":
        """Return the loop of a job. Raises SettingError if it names no model."""
        if spec.model is None:
            raise SettingError("a loop needs a model to start from: name one (--model)")
        body = spec.body
        training = settings_from(PreferenceSettings, body["settings"])
        return Loop(body["name"], body["dataset"], body["test"], LoopSettings(**body["loop"]), training, spec.model)

    def to_json(self) -> Json:
        """Return the body of the job."""
        told = {"name": self.name, "dataset": self.dataset, "test": self.test}
        return {**told, "loop": asdict(self.settings), "settings": asdict(self.training)}

    def source(self, held_out: bool) -> tuple[str, int, int]:
        """Return the data set of the prompts, how many of them are passed over, and how many are taken."""
        how = self.settings
        if not held_out:
            return self.dataset, 0, how.prompts
        return (self.test, 0, how.test_prompts) if self.test else (self.dataset, how.prompts, how.test_prompts)

    def sampling(self, number: int, held_out: bool) -> Sampling:
        """Return how the policy of a round responds; round 0 is the start."""
        how = self.settings
        samples = how.test_samples if held_out else how.samples
        seed = seed_of(self.training.seed, 2 * number + held_out)
        return Sampling(samples, how.temperature, how.max_tokens, seed, how.thought)

    def rule(self, store: Store) -> str:
        """Return the rule under which responses are labelled."""
        return policies.rule_of_responses(store, self.dataset)

    def policy(self, number: int) -> ModelChoice:
        """Return the policy after a round; round 0 is the start."""
        if number == 0:
            return self.model
        return replace(self.model, model=f"{model_registry.PREFIX}{self.named(number)}")

    def named(self, number: int) -> str:
        """Return the name of a round's policy."""
        return f"{self.name}-{number}"

    def judge_named(self, number: int) -> str:
        """Return the name of the judge that is tuned on the labels of all rounds up to this one."""
        return f"{self.name}-judge-{number}"

    def judge_of(self, number: int) -> ModelChoice:
        """Return the model that labels the training responses of a round."""
        if number == 1 or not self.settings.tune_judge:
            return self.model
        return replace(self.model, model=f"{model_registry.PREFIX}{self.judge_named(number - 1)}")

    def responses(self, number: int, held_out: bool) -> str:
        """Return the name of the data set of a round's responses."""
        return f"{self.name}-{'test' if held_out else 'round'}-{number}"


def ask(store: Store, loop: Loop) -> str:
    """Create the job of a loop, without starting it, and return its name.

    Raises NotFound, SettingError, NotInstalled.
    """
    model_registry.require_installed()
    policies.local(loop.model, "trained")
    for held_out in (False, True):
        dataset, skip, most = loop.source(held_out)
        policies.responding_form(store, [DatasetPart(dataset)])
        form, asked = policies.prompts_of(store, [DatasetPart(dataset).to_json()], most, skip)
        loop.sampling(0, held_out)  # settings that do not go together are refused at once
        if loop.settings.thought:
            form.thinking()
        if loop.settings.judge == GOLDEN:  # gold must know what is right for every prompt
            truth_of(store, dataset, {"asked": asked, "responses": [[] for _ in asked]})
    if loop.settings.judge == MAJORITY and form.answered != CLAIM:
        raise SettingError(f"judge {MAJORITY} counts equal answers, and {loop.dataset!r} has pairs: use another judge")
    if loop.settings.judge not in (GOLDEN, MAJORITY):
        resolved(store, _judging(loop, loop.dataset, loop.model))  # an unknown label source or model is refused at once
    require_new(store, KIND, loop.name)
    names = [loop.responses(n, held_out) for n in range(1, loop.settings.rounds + 1) for held_out in (False, True)]
    if taken := next(filter(store.has_dataset, names), None):
        raise SettingError(f"data set {taken!r} exists, and the loop would store another: use a different --name")
    for number in range(1, loop.settings.rounds + 1):
        free_name(store, "", loop.named(number))
        if loop.settings.tune_judge:
            free_name(store, "", loop.judge_named(number))
    return jobs.create(store, JobSpec(KIND, loop.to_json(), loop.model))


def free_loop_name(store: Store, dataset: str) -> str:
    """Return the first name for a loop on a data set that no loop has yet."""
    return free_stem(store, KIND, f"{dataset}-loop")


def _judging(
    loop: Loop, dataset: str, by: ModelChoice, given: Mapping[str, Label] | None = None, judgement: int = 0
) -> RunSpec:
    """The spec of the run that labels a data set of responses; each judgement has its own seed."""
    model = {name: getattr(by, name) for name in ("model", "quantization", "dtype", "device", "encoding")}
    own = loop.training.seed
    search = with_settings(PRESETS["default"], {"seed": seed_of(own, judgement) if judgement else own})
    judge, spec = loop.settings.judge, RunSpec(dataset, experiment=f"{KIND} {loop.name}", search=search, **model)
    if given is None:
        return replace(spec, source=judge)
    return replace(spec, source=GIVEN, given=dict(given), given_from=judge, supervised=judge == GOLDEN)


# -- the job's process


def self_rewarding(job: Job) -> Json:
    """Do the rounds and return them, with the number of the best. Raises RunError for a run or job that failed."""
    loop = Loop.of(job.spec)
    job.ready({"model": loop.model.model})
    driven = _Driven(job, loop)
    start, rounds, best, ended = driven.start(), list[Json](), 0, ROUNDS_DONE
    for number in range(1, loop.settings.rounds + 1):
        done = driven.round(number)
        if "ended" in done:
            ended = done["ended"]
            break
        rounds.append(done)
        best = best_of([one["win_rate"] for one in rounds])
        if number - best >= loop.settings.patience and number < loop.settings.rounds:
            ended = NO_BETTER
            break
    return {
        **loop.to_json(),
        "judge": loop.settings.judge,
        "model": loop.model.model,
        "start": start,
        "rounds": rounds,
        "best": best,
        "policy": loop.policy(best).model if best else None,
        "ended": ended,
    }


def best_of(rates: Sequence[float]) -> int:
    """Return the number of the round with the highest win rate, the first of equals; 0 if none is above one half."""
    every = [0.5, *rates]
    return every.index(max(every))


@dataclass
class _Driven:
    """The loop in the process of its job: makes what is missing, has it done, and keeps what was made."""

    job: Job
    loop: Loop

    @property
    def store(self) -> Store:
        return self.job.store

    def start(self) -> Json:
        """Return round 0, the start: as it was kept, or done now."""
        if (known := self.kept(0)) is None:
            held_out = self.respond(0, held_out=True)
            known = self.keep_round(0, self.loop.model.model, held_out, Estimate(0.5, 0.5, 0.5, (0.5,)))
        return known

    def round(self, number: int) -> Json:
        """Return a round: as it was kept, or done now. One with nothing to prefer has only its number and `ended`."""
        if (known := self.kept(number)) is not None:
            return known
        sampled = self.respond(number - 1, held_out=False)
        try:
            run, judged = self.judge(number, sampled)
            _, preferred = policies.preferences(self.store, run)
        except NothingToPrefer as error:
            done = {"number": number, "ended": f"{NOTHING_LEFT} ({error})"}
            self.job.keep({"round": done})
            return done
        tuning = self.tune(number, run, sampled)
        start, now = self.respond(0, held_out=True), self.respond(number, held_out=True)
        test_run = self.label(number, start, now) if self.differ(start, now) else None
        rate = estimate([win_rates(self.store, test_run, start, now)])
        made = {"responses": sampled, "run": run, "tuning": tuning, "test_run": test_run, **judged}
        return self.keep_round(number, self.loop.policy(number).model, now, rate, len(preferred.rows), made)

    def differ(self, start: str, now: str) -> bool:
        """Whether there is anything to judge between two jobs of responses."""
        both = (_texts(_found(self.store, job)) for job in (start, now))
        return any(
            len({*some, *others} - {""}) > 1 for some, others in zip(*(one.values() for one in both), strict=True)
        )

    def kept(self, number: int) -> Json | None:
        """Return a round that this or an earlier process of the job has done."""
        rounds = (part["round"] for part in self.job.kept() if "round" in part)
        return next((dict(one) for one in rounds if one["number"] == number), None)

    def keep_round(
        self, number: int, policy: str, held_out: str, rate: Estimate, pairs: int = 0, made: Json | None = None
    ) -> Json:
        """Keep what a round came to, and return it."""
        done = {
            "number": number,
            "policy": policy,
            "held_out": held_out,
            "pairs": pairs,
            "win_rate": rate.mean,
            "low": rate.low,
            "high": rate.high,
            **variety(_found(self.store, held_out)),
            **(made or {}),
        }
        self.job.keep({"round": done})
        return done

    def respond(self, number: int, held_out: bool) -> str:
        """Return the finished job of the responses of a round's policy."""
        dataset, skip, most = self.loop.source(held_out)
        policy, how = self.loop.policy(number), self.loop.sampling(number, held_out)
        return self.done(
            f"{'held-out ' if held_out else ''}responses of round {number}",
            lambda: policies.ask_responses(self.store, policy, [DatasetPart(dataset)], how, most=most, skip=skip),
        )

    def judge(self, number: int, sampled: str) -> tuple[str, Json]:
        """Return the run whose labels of a round's responses count, and what led to it. Raises NothingToPrefer."""
        how, by = self.loop.settings, self.loop.judge_of(number)
        told: Json = {}
        if by != self.loop.model:
            told = {"judge": by.model, "judge_tuning": self.tune_judge(number - 1)}
        runs = [self.label(number, sampled, by=by, judgement=k) for k in range(how.judgements)]
        if len(runs) == 1:
            return runs[0], told
        utilities = [_utility(self.store, run) for run in runs]
        judged = [{"run": run, "utility": u} for run, u in zip(runs, utilities, strict=True)]
        return runs[utilities.index(max(utilities))], {**told, "judgements": judged}

    def tune_judge(self, number: int) -> str:
        """Return the finished job that tunes the judge on the labels that counted in all rounds up to this one."""
        runs = [done["run"] for k in range(1, number + 1) if (done := self.kept(k)) is not None]
        settings, name = TuneSettings(seed=self.loop.training.seed), self.loop.judge_named(number)
        return self.done(
            f"tuning of judge {number}",
            lambda: finetuning.create(self.store, runs, settings, name, self.loop.model),
        )

    def label(
        self, number: int, sampled: str, beside: str | None = None, by: ModelChoice | None = None, judgement: int = 0
    ) -> str:
        """Return the finished run that labels responses, as a data set: by the start, or by another model.

        Raises NothingToPrefer.
        """
        held_out = beside is not None
        name = self.loop.responses(number, held_out)
        self.made(f"data set {name}", lambda: self.keep(name, sampled, beside))
        found = [_found(self.store, job) for job in (sampled, beside) if job is not None]
        return self.done(
            f"run {name}, judgement {judgement + 1}" if judgement else f"run {name}",
            lambda: control.create_run(
                self.store,
                _judging(self.loop, name, by or self.loop.model, self.given(name, found, held_out), judgement),
            ),
        )

    def keep(self, name: str, sampled: str, beside: str | None) -> str:
        read = reader_for(self.store.examples(jobs.spec(self.store, sampled).body["dataset"]))
        return keep_responses(self.store, sampled, name, self.loop.rule(self.store), beside, read).name

    def given(self, name: str, found: Sequence[Json], held_out: bool) -> dict[str, Label] | None:
        """The labels of a judge that is no label source; None for any other judge."""
        judge = self.loop.settings.judge
        if judge not in (GOLDEN, MAJORITY):
            return None
        task, examples = self.store.dataset_info(name).task, list(self.store.examples(name))
        if judge == MAJORITY:
            true = majority(form_of(task), examples, found)
        else:
            dataset, _, _ = self.loop.source(held_out)
            true = {
                (asked, text)
                for one in found
                for asked, scores in truth_of(self.store, dataset, one).items()
                for text, score in zip(_texts(one)[asked], scores, strict=True)
                if score
            }
        other = next(label for label in task.labels if label != task.true_label)
        shown = form_of(task)
        return {e.id: task.true_label if (shown.asked(e), *shown.responses(e)) in true else other for e in examples}

    def tune(self, number: int, run: str, sampled: str) -> str:
        """Return the finished job that trains the policy further on a run's labels of sampled responses."""
        name, start = self.loop.named(number), self.loop.policy(number - 1)
        thoughts = sampled if self.loop.settings.thought else None
        return self.done(
            f"tuning {number}",
            lambda: policies.ask_preference_tuning(
                self.store, run, self.loop.training, name=name, model=start, thoughts=thoughts
            ),
        )

    def made(self, what: str, make: Callable[[], str]) -> str:
        """Return the name of what was made under this heading: in an earlier process of this job, or now."""
        known = {part["made"]: part["name"] for part in self.job.kept() if "made" in part}
        if what not in known:
            with self.store.transaction():
                known[what] = make()
                self.job.keep({"made": what, "name": known[what]})
        return str(known[what])

    def done(self, what: str, make: Callable[[], str]) -> str:
        """Return the run or job of this heading, finished. Raises RunError if it failed."""
        name = self.made(what, make)
        if not scheduler.is_done(self.store, name):
            scheduler.work_off(SharedWorkers(self.store, [name], 1), lambda: self.look(what))
        if why := scheduler.missing(self.store, name):
            raise RunError(f"{name!r} did not finish: {why}")
        return name

    def look(self, words: str) -> None:
        """Report what is being done, in rounds; ends the loop if it was cancelled."""
        self.job.stop_if_cancelled()
        rounds = sum("round" in part for part in self.job.kept())
        self.job.progress(max(0, rounds - 1), self.loop.settings.rounds, f"{words}; rounds done")


def _found(store: Store, job: str) -> Json:
    found = jobs.result(store, job)
    assert found is not None, job
    return found


def _utility(store: Store, run: str) -> float:
    """U of the labels that a run ended with."""
    state = current_state(store, open_run(store, run).whole())
    assert state is not None, run
    return state.evaluation.utility


def _texts(found: Json) -> dict[str, list[str]]:
    """Sampled responses by prompt."""
    return dict(zip(found["asked"], found["responses"], strict=True))


def variety(found: Json) -> Json:
    """Return what shows that a policy has collapsed: the share of distinct responses to a prompt, and of cut ones."""
    some = found["responses"]
    return {
        "distinct": fmean(len(set(texts)) / len(texts) for texts in some),
        "cut": found["cut"] / sum(map(len, some)),
    }


def majority(form: Form, examples: Sequence[Example], found: Sequence[Json]) -> set[tuple[str, ...]]:
    """Return the claims with the most frequent answer to their question, the first sampled of equals."""
    answers = {(form.asked(e), *form.responses(e)): e.answer or e.fields["claim"] for e in examples}
    counts = defaultdict[str, Counter[str]](Counter)
    for one in found:
        for asked, texts in _texts(one).items():
            counts[asked].update(answers[asked, text] for text in texts if (asked, text) in answers)
    return {claim for claim, answer in answers.items() if counts[claim[0]].most_common(1)[0][0] == answer}


# -- the win rate


def win_rates(store: Store, run: str | None, start: str, now: str) -> Right:
    """Return how often a response of job `now` beats one of job `start` by a run's labels, by prompt.

    A claim labelled True beats one labelled False; an empty response is as good as a False one, an unlabelled one
    stands between. In a pair the preferred response wins; equal responses, and pairs without a judgement, tie. Without
    a run there was nothing to judge, and all tie.
    """
    if run is None:
        return {asked: (0.5, 1) for asked in _found(store, now)["asked"]}
    opened = open_run(store, run).whole()
    state, task = current_state(store, opened), opened.dataset.task
    form, labels = form_of(task), state.labeling if state is not None else {}
    said = [(example, labels.get(i)) for i, example in enumerate(opened.dataset.examples)]
    texts = [_texts(_found(store, job)) for job in (now, start)]
    worth = {None: 0.5, task.true_label: 1.0}
    if form.answered == CLAIM:
        known = {(form.asked(e), *form.responses(e)): worth.get(label, 0.0) for e, label in said}
        return wins(*({q: [known.get((q, t), 0.5 if t else 0.0) for t in some[q]] for q in some} for some in texts))
    lost = dict(_lost(form, said, task.true_label))
    return {
        q: (fmean(1 - lost.get((q, a, b), 0.5) for a, b in zip(texts[1][q], own, strict=True)), 1)
        for q, own in texts[0].items()
    }


def _lost(
    form: Form, said: Sequence[tuple[Example, Label | None]], true_label: Label
) -> Iterator[tuple[tuple[str, str, str], float]]:
    """For each pair, whether its first response was preferred: 1, 0, or a half if its two orders contradict."""
    by_pair = defaultdict[str, list[tuple[Example, Label]]](list)
    for example, label in said:
        if label is not None:
            by_pair[example.twin_of or example.id].append((example, label))
    for pair in by_pair.values():
        first = [(label == true_label) != (e.twin_of is not None) for e, label in pair]
        example, _ = pair[0]
        a, b = form.responses(example)[:: -1 if example.twin_of else 1]
        yield (form.asked(example), a, b), above(sum(first), len(first) / 2)
