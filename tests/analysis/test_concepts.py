"""Which concept labels follow: features of texts by hand, single words, witnesses, the sentence, and where gold is."""

import math
from collections.abc import Mapping

import pytest

from icm_engine import jobs
from icm_engine.analysis.compare_figures import concepts_frame
from icm_engine.analysis.landscape import (
    ConceptRow,
    ask_witness,
    concept_facts,
    concept_words,
    concepts,
    telling_words,
    witness_words,
)
from icm_engine.analysis.views import load
from icm_engine.core.labeling import Example, Label, Task
from icm_engine.core.settings import ModelChoice
from icm_engine.data.gold import add_gold
from icm_engine.jobs.job_process import main
from icm_engine.jobs.job_worker import perform
from icm_engine.runs import control
from icm_engine.store.store import Store
from tests.support.labelled_runs import PAIRS, add, labelled, pair
from tests.support.stores import add_run

NOTES = Task("notes", "Note: {text}\nLabel:", rule="none", fields=("text",))
LONG = "and so on and on and on"


def notes(store: Store, texts: Mapping[str, Label], gold: Mapping[str, Label] | None = None) -> dict[str, ConceptRow]:
    """The agreement of these labels of texts with every reference."""
    examples = tuple(Example(str(k), {"text": text}, str(k)) for k, text in enumerate(texts))
    add(store, "notes", NOTES, examples)
    if gold is not None:
        add_gold(store, "notes", dict(gold))
    run = labelled(store, "notes", {str(k): label for k, label in enumerate(texts.values())})
    return {row.name: row for row in concepts(store, load(store, run))}


def test_length_and_negation_by_hand(store: Store) -> None:
    """Lengths 3, 9, 26, 29: the median is 17.5. The labels are True for long texts but the third."""
    texts = {"one": "False", "not a two": "False", f"one {LONG[:22]}": "False", f"don't {LONG}": "True"}
    found = notes(store, texts)
    long, negated = found["long text"], found["negated text"]
    assert (long.agreement.mean, long.examples) == (0.75, 4)
    assert long.mirrored is not None
    assert long.mirrored.mean == 0.25
    assert long.best[0] == "long text"
    assert negated.agreement.mean == 0.75  # the second and the fourth are negated, of which the fourth is True
    assert "gold" not in found


def test_full_agreement_has_wilsons_interval_over_groups(store: Store) -> None:
    found = notes(store, {"a": "True", "b c": "False", "d": "True", f"e {LONG}": "False"})["long text"]
    assert (found.agreement.mean, found.agreement.low) == (0.0, 0.0)
    assert found.agreement.high == pytest.approx(0.4899, abs=1e-4)  # z² / (n + z²), n = 4, z = 1.96
    assert found.best == ("short text", found.mirrored)


def animals(count: int) -> tuple[tuple[Example, ...], dict[str, Label]]:
    """Pairs of an animal and a thing, each with its twin; the labels are True where the first option is the animal."""
    examples, labels = list[Example](), dict[str, Label]()
    for k in range(count):
        animal, thing = f"a {('cat', 'dog')[k % 2]} and {k}", f"a {('pen', 'cup')[k // 2 % 2]} and {k}"
        first = (animal, thing) if k % 3 else (thing, animal)
        examples += [pair(f"p{k}", *first), pair(f"p{k}~", first[1], first[0], twin_of=f"p{k}")]
        labels |= {f"p{k}": str(k % 3 > 0), f"p{k}~": str(k % 3 == 0)}
    return tuple(examples), labels


def test_a_concept_of_single_words_is_named(store: Store) -> None:
    examples, labels = animals(12)
    add(store, "animals", PAIRS, examples)
    add_gold(store, "animals", {name: str(int(name.strip("p~")) % 2 == int("~" in name)) for name in labels})
    reading = load(store, labelled(store, "animals", labels))
    assert telling_words(reading) == (("cat", "dog"), ("pen", "cup"))
    rows = concepts(store, reading)
    found = {row.name: row for row in rows}
    assert (found["single words"].examples, found["single words"].agreement.mean) == (12, 1.0)  # no twin is counted
    assert found["first option"].agreement.mean == pytest.approx(8 / 12)
    assert found["gold"].agreement.mean == pytest.approx(0.5)
    said = concept_words(rows, reading)
    assert said.startswith("The labels agree with ‘single words’ (cat, dog against pen, cup) in 100% [76%, 100%]")
    assert ", with gold in 50% [" in said
    facts = concept_facts(reading, rows)
    assert (facts["words_for"], facts["words_against"], facts["verdict"]) == (["cat", "dog"], ["pen", "cup"], said)


def test_a_word_is_weighed_without_the_examples_own_group(store: Store) -> None:
    """One word a text: of three others with it two or three have its label. (2 + 1) / (1 + 1) is less than three."""
    texts = {f"cat {k}": "True" for k in range(3)} | {f"pen {k}": "False" for k in range(3)}
    # the others of `cat 0`: cat 2 of 2 True, pen 0 of 3; shares (2 + 1) / (2 + 2) and (0 + 1) / (3 + 2): 3.75
    found = notes(store, texts)["single words"]
    assert math.log(3 / 4) - math.log(1 / 5) > math.log(3)
    assert (found.examples, found.agreement.mean) == (6, 1.0)
    alone = {"cat x": "True", "cow y": "True", "pen z": "False", "ink w": "False"}
    assert "single words" not in notes_of(store, alone)  # no word is in two texts


def notes_of(store: Store, texts: Mapping[str, Label]) -> dict[str, ConceptRow]:
    add(store, "more", NOTES, tuple(Example(str(k), {"text": text}, str(k)) for k, text in enumerate(texts)))
    run = labelled(store, "more", {str(k): label for k, label in enumerate(texts.values())})
    return {row.name: row for row in concepts(store, load(store, run))}


def test_a_witness_predicts_every_label_from_the_others(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = add_run(store, "finished")
    monkeypatch.setattr(jobs, "spawn", lambda store, module, name: None)
    reading = load(store, run)
    job = ask_witness(store, reading, ModelChoice("fake", "none"))
    assert main(perform, ["--db", str(store.path), job]) == 0
    result = jobs.result(store, job)
    assert result is not None
    own, mirror = result["rows"]
    assert (own["name"], mirror["name"]) == ("found", "mirror")
    predicted = dict(own["predicted"])
    row = next(row for row in concepts(store, load(store, run)) if row.name == "witness fake")
    labels = {reading.run.codec.ids[i]: label for i, label in reading.labeling.items()}
    assert set(predicted) == set(labels)
    assert row.agreement.mean == pytest.approx(sum(predicted[x] == y for x, y in labels.items()) / len(labels))
    words = witness_words(result, reading, "fake")
    assert words.startswith("P(D) under fake: ")
    assert f"of the {len(labels)} labels at step 30, of the mirrored ones" in words


def test_gold_is_last_and_not_there_while_a_run_is_annotated_blind(store: Store) -> None:
    run = add_run(store, "paused")
    rows = concepts(store, load(store, run))
    assert [row.kind for row in rows][-1] == "gold"
    assert list(concepts_frame(rows)["from"])[-1] == "gold"
    control.submit_intervention(store, run, "blind")
    act = {"verb": "blind", "examples": [], "labels": [], "text": "", "changes": []}
    store.append(run, "hand", {"acts": [act], "flips": [], "after": None})
    hidden = concepts(store, load(store, run))
    assert "gold" not in [row.kind for row in hidden]
    assert "gold" not in concept_words(hidden, load(store, run))
