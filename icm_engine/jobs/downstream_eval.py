"""Labels in use: a run's labels serve as demonstrations for test examples. No gold is read here.

For each number of shots and each shuffle, that many labelled examples of the run precede each test example, in a random
order that all test examples share as a prefix. The result is log-probabilities; `analysis` compares them with gold.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from icm_engine.core.batching import Cut
from icm_engine.core.errors import PromptTooLong, SettingError
from icm_engine.core.labeling import Example, Labeling, Task
from icm_engine.core.prompting import Prompt, Segment, demonstration, render
from icm_engine.core.rng import random_of, sample
from icm_engine.core.scoring import Scorer
from icm_engine.jobs.job_process import Job
from icm_engine.store.events import Json, RunSpec
from icm_engine.store.replay import current_state, open_run
from icm_engine.store.store import Store


@dataclass(frozen=True, slots=True)
class DatasetPart:
    """Examples of a data set from a position on; with `beyond`, only those that this limit does not take."""

    dataset: str
    start: int = 0
    beyond: Cut | None = None

    def to_json(self) -> Json:
        """Return the part as stored in a job's body."""
        found = asdict(self)
        return found if self.beyond else {"dataset": self.dataset, "start": self.start}

    @staticmethod
    def from_json(value: Json) -> "DatasetPart":
        beyond = value.get("beyond")
        return DatasetPart(value["dataset"], value["start"], Cut(**beyond) if beyond else None)

    def places(self, store: Store) -> Sequence[int]:
        """Return the positions of its examples, ascending."""
        places = range(self.start, store.dataset_size(self.dataset))
        if self.beyond is None:
            return places
        taken = set(store.places(self.dataset, self.beyond))
        return [place for place in places if place not in taken]


def rest_of(store: Store, spec: RunSpec) -> list[DatasetPart]:
    """Return the rest of the data set that a run's limit leaves out, as a list of at most one part."""
    places = store.places(spec.dataset, spec.cut)
    if len(places) == store.dataset_size(spec.dataset):
        return []
    if isinstance(places, range):
        return [DatasetPart(spec.dataset, len(places))]
    return [DatasetPart(spec.dataset, 0, spec.cut)]


KIND = "use"
FIT = "fit"  # as many shots as fit the context


def use_labels(job: Job, scorer: Scorer) -> Json:
    """Return the label log-probabilities of every test example. Raises IcmError, NotFound.

    The body names the run, the test examples (data sets, each from a position on, and a maximum for all together), the
    numbers of shots ("fit", or whole numbers), the number of shuffles, and the seed. Parts that are already stored are
    not asked again; each new one is stored.
    """
    store, body = job.store, job.spec.body
    opened = open_run(store, body["run"]).whole()
    state = current_state(store, opened)
    if state is None or not state.labeling:
        raise SettingError(f"run {body['run']!r} has no labels to use: let it finish first")
    task, test = opened.dataset.task, test_part(store, body["test"], body["most"])
    if not test:
        raise SettingError(f"there is no test example besides those of run {body['run']!r}: name a test data set")
    shown = _demonstrations(task, opened.dataset.examples, state.labeling)
    queries = [(render(task, example),) for _, example in test]
    counts = [_count(asked, shown, queries, task, scorer) for asked in body["shots"]]
    wanted = [
        (shots, shuffle) for shots in dict.fromkeys(counts) for shuffle in range(body["shuffles"] if shots else 1)
    ]
    parts = {(part["shots"], part["shuffle"]): part for part in job.kept()}
    for shots, shuffle in wanted:
        if (shots, shuffle) in parts:
            continue
        job.progress(len(parts), len(wanted), f"asking with {shots} shots")
        chosen = [shown[k] for k in sample(random_of(body["seed"], shuffle), len(shown), shots)]
        before = scorer.usage
        scores = scorer.score([Prompt((*chosen, query), task.labels) for query in queries])
        usage = asdict(scorer.usage - before)
        part = {"shots": shots, "shuffle": shuffle, "usage": usage, "log_probs": [list(s.raw) for s in scores]}
        parts[shots, shuffle] = part
        job.keep(part)
    return {
        "run": body["run"],
        "labels": list(task.labels),
        "available": len(shown),
        "examples": [[dataset, example.id] for dataset, example in test],
        "parts": [parts[key] for key in wanted],
        "model": dict(scorer.describe()),
    }


def test_part(store: Store, parts: Sequence[Json], most: int) -> list[tuple[str, Example]]:
    """Return the first examples of these parts, at most so many, each with the name of its data set."""
    found = list[tuple[str, Example]]()
    for part in parts:
        examples = store.open_dataset(part["dataset"]).examples
        places = DatasetPart.from_json(part).places(store)[: most - len(found)]
        found += [(part["dataset"], examples[place]) for place in places]
    return found


def _demonstrations(task: Task, examples: Sequence[Example], labeling: Labeling) -> list[Segment]:
    return [demonstration(render(task, examples[i]), label) for i, label in sorted(labeling.items())]


def _count(asked: int | str, shown: Sequence[Segment], queries: Sequence[Segment], task: Task, scorer: Scorer) -> int:
    """The number of shots, never more than there are labels; "fit" is the most that fit in any order."""
    if asked != FIT:
        return min(int(asked), len(shown))
    longest = sorted(shown, key=lambda segment: -len(segment[0]))
    query = max(queries, key=lambda segment: len(segment[0]))
    low, high = 0, len(shown)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (
            (middle, high) if _fits(scorer, Prompt((*longest[:middle], query), task.labels)) else (low, middle - 1)
        )
    return low


def _fits(scorer: Scorer, prompt: Prompt) -> bool:
    try:
        scorer.check_fits([prompt])
    except PromptTooLong:
        return False
    return True
