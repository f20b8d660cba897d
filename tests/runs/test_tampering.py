"""Verify finds every changed value of a step, but for those of a written list, which only the model can tell."""

import json
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest

from icm_engine.core.batching import FIRST, NEWEST
from icm_engine.core.settings import SearchConfig
from icm_engine.runs import control, worker
from icm_engine.runs.fork import fork
from icm_engine.runs.verify import verify
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.replay import OpenRun, open_run
from icm_engine.store.store import Event, Store
from tests.support.processes import score_by
from tests.support.stores import moody_belief
from tests.support.tampered_logs import is_found, walked

KINDS = {
    False: {"accepted", "rejected", "repaired", "kept", "undecided"},
    True: {"accepted", "repaired", "kept", "undecided"},
}
Path = tuple[str | int, ...]

# what no log decides: docs/reliability.md has the same list in words
# (a labeling that a repair tried and left may have any U that leaves it so: test_verify.py has one that does not)
TRIED = r"repairs\.\d+\.(options\.\d+\.)?utility"
UNDECIDABLE = {
    "any": (r"usage\.\w+", TRIED),
    "rejected": (r"after\.label_mass", r"movers\.\d+\.after"),
    "repaired": (r"after\.label_mass", r"movers\.\d+\.after"),
}
PAIRED = (r"before\.label_mass", r"movers\.\d+\.before", r"movers\.\d+\.after", r"after\.label_mass")


def searched(
    store: Store,
    pairs: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    paired: bool = False,
    seed: int = 5,
    version: int = NEWEST,
) -> str:
    """A finished run with steps of every kind."""
    score_by(monkeypatch, moody_belief)
    if not store.has_dataset("pairs"):
        store.add_dataset(pairs)
    search = SearchConfig(seed=seed, max_steps=40, initial_labels=6, paired=paired)
    run = control.create_run(store, RunSpec("pairs", "fake", limit=16, version=version, search=search))
    store.send(run, "start", run)
    assert worker.main(["--db", str(store.path), run]) == 0
    return run


def kind_of(event: Event) -> str:
    body = event.body
    if body["after"] is None:
        return "undecided"
    if body["verdict"] == "rejected" and body["repairs"]:
        return "repaired"
    return "kept" if body["verdict"] == "unchanged" else str(body["verdict"])


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value of a body that is no list or object, and every list."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
        return
    yield path, value
    if isinstance(value, list):
        for place, inner in enumerate(value[:2]):
            yield from leaves(inner, (*path, place))


def others(value: Any) -> list[Any]:
    """Other values of the same kind."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, float | int):
        return [value + 1e-6, value + 1, -value - 0.5] if isinstance(value, float) else [value + 1]
    if isinstance(value, list):
        return [value[1:], value[:-1], [*value, value[0]]] if value else []
    if isinstance(value, str):
        return ["e9", "True", "False", "unchanged", "0" * 64]
    return ["True", 0]


def with_value(body: Any, path: Path, value: Any) -> Any:
    changed = json.loads(json.dumps(body))
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


@pytest.mark.parametrize("paired", [False, True])
def test_every_value_of_a_step(store: Store, pairs: Dataset, monkeypatch: pytest.MonkeyPatch, paired: bool) -> None:
    run = searched(store, pairs, monkeypatch, paired)
    steps = {kind_of(event): (event, walk) for event, walk in walked(store, run) if event.kind == "step"}
    assert set(steps) >= KINDS[paired]
    missed: set[tuple[str, str]] = set()
    for kind, (event, walk) in steps.items():
        allowed = (*UNDECIDABLE["any"], *UNDECIDABLE.get(kind, ()), *(PAIRED if paired else ()))
        for path, value in leaves(event.body):
            name = ".".join(map(str, path))
            if any(re.fullmatch(pattern, name) for pattern in allowed):
                continue
            for other in others(value):
                changed = replace(event, body=with_value(event.body, path, other))
                if other != value and not is_found(walk.again(), changed):
                    missed.add((kind, name))
    assert missed == set()


def test_every_value_of_the_initial_labels(store: Store, pairs: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    run = searched(store, pairs, monkeypatch, seed=10)
    event, walk = next((event, walk) for event, walk in walked(store, run) if event.kind == "initial")
    missed = set()
    for path, value in leaves(event.body):
        name = ".".join(map(str, path))
        for other in others(value):
            changed = replace(event, body=with_value(event.body, path, other))
            if other != value and not is_found(walk.again(), changed):
                missed.add(name)
    assert {name for name in missed if not re.fullmatch(rf"usage\.\w+|{TRIED}", name)} == set()


def rewritten(event: Event, **values: Any) -> Event:
    """A step that says it scored no proposal, or whatever else, in every place at once."""
    nothing: dict[str, Any] = {
        "after": None, "delta": 0.0, "accept_probability": 0.0, "draw": 0.0, "accepted": False, "verdict": "unchanged",
        "repairs": [], "flips": [], "movers": [], "scores": None, "set_evaluations": 0, "paired": False,
    }  # fmt: skip
    return replace(event, body={**event.body, **nothing, **values})


def test_a_step_that_is_rewritten_whole(store: Store, pairs: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    run = searched(store, pairs, monkeypatch)
    steps = {kind_of(event): (event, walk) for event, walk in walked(store, run) if event.kind == "step"}
    for kind, words in (
        ("rejected", "scored no proposal against its labels and inconsistent pairs"),
        ("kept", "scored no proposal against its labels and inconsistent pairs"),  # its repairs are dropped
    ):
        event, walk = steps[kind]
        told = walk.again()
        told.take(rewritten(event))
        assert told.wrong == [f"event {event.number}: {words}"], kind
    event, walk = steps["rejected"]
    told = walk.again()
    told.take(rewritten(event, proposed=event.body["old"]))
    assert "proposed" in told.wrong[0]


CHANGED_SETTINGS: dict[str, Any] = {
    "predictability": "sum_log_prob", "alpha": 49.0, "pair_weight": 2.0, "initial_temperature": 9.0,
    "final_temperature": 9.0, "cooling_rate": 0.5, "cooling": "per-acceptance", "initial_labels": 7,
    "initial_draw": "balanced", "max_repairs": 0, "offer_neither": False, "keep_worse_repair": True,
    "centring": 0.5, "repair_unchanged": False, "paired": True, "neighbour_weight": 99, "max_steps": 39, "seed": 12,
    "terms": 8, "redraw_every": 4, "exact_every": 32,
}  # fmt: skip
RUNS = ((5, NEWEST), (11, FIRST))  # one search meets what another does not
# with exactly one True in a pair, FF is no option; centring is of a form of its own (tests/core/test_centred.py), and
# the last two are of searches with sampled terms (tests/core/test_sampled_terms.py)
OF_NO_EFFECT = {"offer_neither", "centring", "redraw_every", "exact_every"}


def test_a_setting_that_would_decide_otherwise(store: Store, pairs: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(CHANGED_SETTINGS) == {field.name for field in fields(SearchConfig)}
    missed = set(CHANGED_SETTINGS)
    for seed, version in RUNS:
        opened = open_run(store, searched(store, pairs, monkeypatch, seed=seed, version=version))
        assert verify(store, opened) == (40, [])
        missed &= {name for name, value in CHANGED_SETTINGS.items() if not wrong_under(store, opened, **{name: value})}
        assert wrong_under(store, opened, max_steps=41)
        assert verify(store, replace(opened, spec=replace(opened.spec, rule="none")))[1]
    assert missed == OF_NO_EFFECT


def wrong_under(store: Store, opened: OpenRun, **settings: Any) -> list[str]:
    """What is wrong with a log if its run was asked for with other settings."""
    search = replace(opened.spec.search, **settings)
    return verify(store, replace(opened, spec=replace(opened.spec, search=search)))[1]


@pytest.mark.parametrize(
    "change",
    [
        "update datasets set task = json_set(task, '$.template', '{text} was')",
        "update datasets set task = json_set(task, '$.labels', json('[\"False\", \"True\"]'))",
        "update examples set fields = json_object('text', 'another claim') where id = 'e3'",
        "update examples set consistency_group = 'g9' where id = 'e3'",
        "update examples set consistency_group = 'g0' where id = 'e3'",
        "update examples set answer = '7' where id = 'e3'",
    ],
)
def test_a_changed_text_or_template(store: Store, pairs: Dataset, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    run = searched(store, pairs, monkeypatch)
    assert verify(store, open_run(store, run)) == (40, [])
    store.db.execute(change)
    wrong = verify(store, open_run(store, run))[1]
    assert any("began with other texts, or another task" in problem for problem in wrong)
    if "template" in change or "fields" in change:
        assert any("asked another prompt" in problem for problem in wrong)  # also where a log has no hash of its data


def test_a_fork_and_a_hand_are_checked(store: Store, pairs: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    run = searched(store, pairs, monkeypatch)
    at = store.last_number(run) - 5
    child = fork(store, run, at, {"seed": 9, "max_steps": 45})
    control_put_in(store, child)
    assert worker.main(["--db", str(store.path), child]) == 0
    opened = open_run(store, child)
    assert verify(store, opened) == (9, [])
    (hand,) = store.read_after(child, kinds=("hand",))
    begun = store.event(child, 1)
    changes = {
        ("hand", "acts.0.changes.0.after.pinned"): False,
        ("hand", "set_evaluations"): 5,
        ("forked", "step"): begun.body["step"] - 1,
        ("forked", "accepted"): begun.body["accepted"] + 1,
        ("forked", "event"): at - 1,
        ("forked", "pins"): ["e0"],
        ("forked", "data_sha256"): "0" * 64,
        ("forked", "labels.0.1"): "False" if begun.body["labels"][0][1] == "True" else "True",
    }
    for (kind, name), value in changes.items():
        event = hand if kind == "hand" else begun
        path = tuple(int(key) if key.isdecimal() else key for key in name.split("."))
        text = json.dumps(with_value(event.body, path, value))
        store.db.execute("update events set body = ? where run = ? and number = ?", [text, child, event.number])
        wrong = verify(store, opened)[1]
        assert any(problem.startswith(f"event {event.number}") for problem in wrong), name
        text = json.dumps(event.body)
        store.db.execute("update events set body = ? where run = ? and number = ?", [text, child, event.number])
    assert verify(store, opened) == (9, [])


def control_put_in(store: Store, run: str) -> None:
    """Ask for a pin and for a start, without a process."""
    body = {"verb": "override", "examples": ["e0"], "labels": ["True"], "text": ""}
    store.send(run, "hand", "pin", 0, {**body, "verb": "pin"})
    store.send(run, "start", f"start {run}")
