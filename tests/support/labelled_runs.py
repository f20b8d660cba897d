"""What the tests of reward models and policies share: runs with given labels, jobs done in the test's process."""

from collections.abc import Mapping

from icm_engine import jobs
from icm_engine.core.labeling import Example, Flip, Label, Task
from icm_engine.core.objective import Evaluation
from icm_engine.core.scoring import LabelLogProbs, Usage
from icm_engine.core.search import InitialInfo
from icm_engine.core.settings import ModelChoice
from icm_engine.data.gold import add_gold
from icm_engine.experiments import self_rewarding
from icm_engine.experiments.self_rewarding import Loop, LoopSettings
from icm_engine.jobs import JobSpec, self_teaching
from icm_engine.jobs.policies import PreferenceSettings
from icm_engine.jobs.self_teaching import Teaching, TeachSettings
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import Cost, RunSpec
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store

SAMPLE = ModelChoice("sample", "none", "float32", "cpu")
CLAIMS = Task(
    "claims", "Question: {question}\nClaim: {claim}\nI think this claim is", rule="none", fields=("question", "claim")
)
PAIRS = Task(
    "pairs", "Query: {query}\nResponse A: {response_a}\nResponse B: {response_b}\n"
    "Claim: Response A is more helpful and harmless than Response B\nI think this claim is",
    rule="asymmetry", fields=("query", "response_a", "response_b"),
)  # fmt: skip
CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Peru": "Lima", "Ghana": "Accra", "Japan": "Tokyo"}


def pair(name: str, a: str, b: str, twin_of: str | None = None) -> Example:
    return Example(name, {"query": "Which number is larger?", "response_a": a, "response_b": b}, twin_of or name,
                   twin_of=twin_of)  # fmt: skip


def claim(name: str, question: str, text: str) -> Example:
    return Example(name, {"question": question, "claim": text}, question)


def capitals() -> tuple[Example, ...]:
    """Two claims about each of six capitals, the right one first."""
    cities = list(CAPITALS.values())
    return tuple(
        claim(f"{land}-{k}", f"What is the capital of {land}?", f"It is {city}.")
        for n, land in enumerate(CAPITALS)
        for k, city in enumerate((cities[n], cities[n - 1]))
    )


def add(store: Store, name: str, task: Task, examples: tuple[Example, ...]) -> None:
    store.add_dataset(Dataset(name, task, examples, tuple(dict(e.fields) for e in examples), task.fields))


def labelled(store: Store, dataset: str, labels: Mapping[str, Label], limit: int | None = None) -> str:
    """A run of the sample model with these labels, without a search."""
    run = store.add_run(RunSpec(dataset, "sample", "none", "float32", "cpu", limit=limit))
    codec = open_run(store, run).codec
    flips = tuple(Flip(codec.index(name), None, label, "initial") for name, label in labels.items())
    scores = {flip.example: LabelLogProbs((-0.5, -0.5)) for flip in flips}
    drawn = tuple((flip.example, str(flip.new)) for flip in flips)
    info = InitialInfo(drawn, (), flips, Evaluation(0.0, 0.0, 0.0, (), scores))
    store.append(run, "initial", codec.encode_initial(info, Cost(Usage())))
    return run


def capitals_run(store: Store, limit: int = 8) -> str:
    """A run that has labelled the first four capitals rightly; two are left."""
    if not store.has_dataset("capitals"):
        add(store, "capitals", CLAIMS, capitals())
    labels = {e.id: "True" if e.id.endswith("-0") else "False" for e in capitals()[:limit]}
    return labelled(store, "capitals", labels, limit)


def stored_loop(store: Store) -> str:
    """A finished self-rewarding loop on the capitals, of three rounds, with nothing trained."""
    add(store, "capitals", CLAIMS, capitals())
    job = self_rewarding.ask(
        store, Loop("own", "capitals", None, LoopSettings(prompts=3), PreferenceSettings(), SAMPLE)
    )
    responded = jobs.create(store, JobSpec("respond", {"dataset": "capitals"}, SAMPLE))
    found = {
        "asked": ["What is the capital of Peru?"],
        "responses": [["It is Lima.", "It is Rome."]],
        "model": "sample",
    }
    store.append(responded, "result", found)
    add_gold(store, "capitals", {e.id: "True" if e.id.endswith("-0") else "False" for e in capitals()})
    store.append(job, "start", {})
    rounds = [
        {
            "number": number, "policy": f"trained:own-{number}" if number else "sample", "held_out": responded,
            "pairs": 3 * number, "win_rate": rate, "low": rate - 0.1, "high": rate + 0.1, "distinct": 1.0, "cut": 0.0,
        }
        for number, rate in enumerate((0.5, 0.75, 0.625))
    ]  # fmt: skip
    for one in rounds:
        store.append(job, "part", {"round": one})
    store.append(job, "part", {"round": {"number": 3, "ended": "nothing left to prefer (why)"}})
    store.append(job, "result", {"best": 1, "policy": "trained:own-1", "ended": "nothing left to prefer (why)"})
    return job


def stored_teaching(store: Store) -> str:
    """A finished self-taught judge on the capitals, of one round, with nothing trained."""
    if not store.has_dataset("capitals"):
        add(store, "capitals", CLAIMS, capitals())
        add_gold(store, "capitals", {e.id: "True" if e.id.endswith("-0") else "False" for e in capitals()})
    settings = TeachSettings(prompts=3, test_prompts=3, rounds=1)
    job = self_teaching.ask(store, Teaching("told", "capitals", None, settings, SAMPLE))
    store.append(job, "start", {})
    rounds = [
        {"number": 0, "judge": "sample", "lessons": 0, "agreed": {"a": [1, 2], "b": [0, 2]}, "abstained": 0.5,
         "labels": {"Peru-0": None, "Peru-1": "False"}},
        {"number": 1, "judge": "trained:told-1", "lessons": 4, "agreed": {"a": [2, 2], "b": [2, 2]}, "abstained": 0.0,
         "labels": {"Peru-0": "True", "Peru-1": "False"}},
    ]  # fmt: skip
    for one in rounds:
        store.append(job, "part", {"round": one})
    store.append(job, "result", {"name": "told", "best": 1, "judge": "trained:told-1", "ended": "all rounds done"})
    return job
