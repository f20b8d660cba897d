"""What a limit takes of a data set: whole groups wherever they stand, in the order of the file."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from icm_engine.analysis.views import load
from icm_engine.cli.main import main
from icm_engine.core.batching import BatchPart, Cut, fitting_groups
from icm_engine.data.gold import gold_of
from icm_engine.data.importing import import_file
from icm_engine.jobs import batches
from icm_engine.jobs.downstream_eval import DatasetPart as DataPart
from icm_engine.jobs.downstream_eval import rest_of
from icm_engine.runs import control, new_run, worker
from icm_engine.store.events import RunSpec
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store

GROUPS = "abcabdcabd"  # a: 0 3 7, b: 1 4 8, c: 2 6, d: 5 9


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    file = tmp_path / "scattered.csv"
    rows = [f"Question {g}?,claim {i},{i % 2}" for i, g in enumerate(GROUPS)]
    file.write_text("\n".join(["question,claim,label", *rows]))
    with Store(tmp_path / "icm.db") as made:
        import_file(made, file, "truthfulness", "scattered", rule="exclusive")
        yield made


@pytest.mark.parametrize(
    ("limit", "version", "rule", "places"),
    [
        (None, 2, None, list(range(10))),
        (99, 2, None, list(range(10))),
        (9, 2, None, [0, 1, 2, 3, 4, 6, 7, 8]),  # a, b, c: d does not fit any more
        (5, 2, None, [0, 2, 3, 6, 7]),  # a, then c: b does not fit beside a
        (2, 2, None, [2, 6]),  # neither a nor b
        (1, 2, None, []),
        (5, 2, "none", [0, 1, 2, 3, 4]),  # a rule that ties nothing makes every row its own group
        (9, 1, None, []),  # version 1: the largest prefix that cuts no group, whatever the rule
        (9, 1, "none", []),
    ],
)
def test_whole_groups_wherever_they_stand(
    store: Store, limit: int | None, version: int, rule: str | None, places: list[int]
) -> None:
    cut = Cut(limit, rule, version)
    assert list(store.places("scattered", cut)) == places
    assert store.dataset_size("scattered", cut) == len(places)
    assert [e.fields["claim"] for e in store.dataset("scattered", cut).examples] == [f"claim {i}" for i in places]
    assert [e.fields["claim"] for e in store.open_dataset("scattered", cut).examples] == [f"claim {i}" for i in places]


def test_a_large_group_does_not_end_the_search_for_others() -> None:
    assert fitting_groups([("large", 100), ("a", 2), ("b", 2)], 3) == {"a"}


def test_a_run_labels_what_its_limit_takes_and_everything_about_it_agrees(store: Store, tmp_path: Path) -> None:
    run = control.create_run(store, RunSpec("scattered", "fake", limit=5))
    spec = store.spec(run)
    assert (spec.version, spec.search.max_steps) == (2, 20)
    assert new_run.taken_words(store, spec) == "5 of 10 examples, 2 of 4 groups"
    store.send(run, "start", "go")
    assert worker.main(["--db", str(store.path), run]) == 0
    ids = [e.id for e in store.dataset("scattered").examples]
    assert list(open_run(store, run).codec.ids) == [ids[i] for i in (0, 2, 3, 6, 7)]
    reading = load(store, run)
    assert dict(reading.gold) == gold_of(store, "scattered", [ids[i] for i in (0, 2, 3, 6, 7)])
    (rest,) = rest_of(store, spec)
    assert list(rest.places(store)) == [1, 4, 5, 8, 9]
    assert DataPart.from_json(json.loads(json.dumps(rest.to_json()))) == rest
    file = tmp_path / "labels.csv"
    assert main(["export", run, "--db", str(store.path), "--output", str(file)]) == 0
    assert len(file.read_text().splitlines()) == 6
    assert main(["verify", run, "--db", str(store.path)]) == 0


def test_what_is_taken_is_said(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--dataset", "scattered", "--model", "fake", "--limit", "5", "--steps", "2"]
    words += ["--db", str(store.path)]
    assert main(words) == 0
    assert "The limit takes 5 of 10 examples, 2 of 4 groups." in capsys.readouterr().err
    assert main([*words, "--rule", "none"]) == 0
    assert "The limit takes 5 of 10 examples." in capsys.readouterr().err


def test_a_run_of_version_1_keeps_its_examples(store: Store) -> None:
    """A spec without a version is of before there were any: its limit takes the largest prefix of whole groups."""
    old = {k: v for k, v in RunSpec("scattered", "fake", limit=9).to_json().items() if k != "version"}
    assert RunSpec.from_json(old).version == 1
    run = store.add_run(RunSpec.from_json(old))
    assert len(open_run(store, run).dataset.examples) == 0
    assert rest_of(store, store.spec(run)) == [DataPart("scattered", 0)]


def test_batches_of_what_a_limit_takes(store: Store) -> None:
    name = batches.submit(store, RunSpec("scattered", "fake", limit=9), 3)
    whole = batches.batched(store, name)
    parts = [store.places("scattered", whole.spec.cut, BatchPart(k, whole.of, 3, 0)) for k in range(1, whole.of + 1)]
    assert sorted(place for part in parts for place in part) == [0, 1, 2, 3, 4, 6, 7, 8]
    assert all(len({GROUPS[place] for place in part}) == 1 for part in parts)
