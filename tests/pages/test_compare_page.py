"""The Evaluate tab in every state, drawn by Streamlit's own tester on runs made by the real search."""

import pytest
from streamlit.testing.v1 import AppTest

from icm_engine import jobs
from icm_engine.analysis import audit, landscape, paired, views
from icm_engine.analysis.gold_agreement import against_gold, gold_by_place
from icm_engine.data.gold import add_human
from icm_engine.jobs.job_process import main
from icm_engine.jobs.job_worker import perform
from icm_engine.store.store import Store
from tests.support.drawn_pages import frame, page, shown_markup, texts
from tests.support.stores import HOSTILE, add_run, small_dataset


def metrics(test: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in test.metric}


def test_without_a_run_the_page_says_what_it_needs(store: Store) -> None:
    test = page("compare")
    assert test.title[0].value == "Evaluate"
    assert "No runs yet" in shown_markup(test)
    add_run(store, "finished")
    assert "Choose a run above" in shown_markup(page("compare", run="nothing-1"))


def test_a_run_without_labels_says_so(store: Store) -> None:
    assert "This run has no labels yet." in texts(page("compare", run=add_run(store, "created")))


def test_a_cell_of_the_address_shows_its_examples_and_no_others(store: Store) -> None:
    run = add_run(store, "finished")
    reading = views.load(store, run)
    everything = range(len(reading.run.dataset.examples))
    against = against_gold(reading, gold_by_place(store, reading, everything), everything)
    wrong = against.cell("True", "False")
    test = page("compare", run=run, cell="True,False")
    shown = frame(test, "probability")
    assert sorted(shown["example"]) == sorted(reading.run.codec.ids[i] for i in wrong)
    assert set(shown["label"]) == {"False"}
    assert set(shown["gold"]) == {"True"}
    assert list(shown["probability"]) == sorted(shown["probability"], reverse=True)


def test_the_keyboard_reaches_every_cell(store: Store) -> None:
    run = add_run(store, "finished")
    test = page("compare", run=run)
    box = test.selectbox(key=f"cell_{run}_None")
    assert len(box.options) == 1 + 2 * 3
    box.set_value("True,True").run()
    assert test.query_params["cell"] in ("True,True", ["True,True"])
    assert set(frame(test, "probability")["label"]) == {"True"}


def test_accuracy_is_told_raw_and_flipped_with_intervals(store: Store) -> None:
    test = page("compare", run=add_run(store, "finished"))
    shown = frame(test, "accuracy")
    assert list(shown["accuracy"]) == ["raw", "flipped"] * 2
    (raw, labelled), (flipped, _), (_, everything), _ = (
        [int(n) for n in row.split(" of ")] for row in shown["examples"]
    )
    assert raw + flipped == labelled  # of the labelled ones, what is not right is right when swapped
    assert everything == 18
    assert shown["share"].str.contains(r"\d+% \(\d+ to \d+%\)").all()
    assert "AUROC of the log-odds against gold: " in texts(test)


def test_without_gold_the_page_opens_on_seeds(store: Store) -> None:
    small_dataset(store, "plain", gold=False)
    test = page("compare", run=add_run(store, "finished", dataset="plain"))
    assert "no other run with labels that differs from this one in its seed alone" in texts(test)
    assert "This data set has no gold labels." in texts(page("compare", run="plain-1", view="Gold"))


def test_seeds_are_the_runs_that_differ_in_their_seed_alone(store: Store) -> None:
    first, second, _ = (add_run(store, "finished", seed=seed) for seed in (3, 4, 5))
    add_run(store, "finished", steps=10, seed=6)  # other steps: another setting
    test = page("compare", run=first, view="Seeds")
    assert metrics(test)["Seeds"] == "3"
    assert "Fleiss' kappa" in metrics(test)
    assert len(frame(test, "kappa")) == 3
    examples = next(found.value for found in test.dataframe if second in found.value)
    assert len(examples) == int(metrics(test)["Labelled in all"])
    assert list(examples["agreement"]) == sorted(examples["agreement"])


def test_runs_are_overlaid_and_their_differences_listed(store: Store) -> None:
    first, second = (add_run(store, "finished", seed=seed) for seed in (3, 6))
    test = page("compare", run=first, **{"with": second, "by": "tokens"})
    assert f"{second} differs in: seed." in texts(test)
    test.toggle(key="table_utilities_tokens").set_value(True).run()
    curve = frame(test, "tokens encoded")
    assert set(curve["run"]) == {first, second}
    own = curve[curve["run"] == first]["tokens encoded"]
    assert list(own) == sorted(own, reverse=True)
    differing = frame(test, "agreement")
    assert len(differing) > 0
    assert (differing[first] != differing[second]).all()


def test_the_choice_of_runs_and_of_the_axis_is_in_the_address(store: Store) -> None:
    runs = [add_run(store, "finished", seed=seed) for seed in (3, 6, 7)]
    test = page("compare", run=runs[0], view="Runs")
    test.multiselect(key=f"with_{runs[0]}").set_value(runs[1:]).run()
    test.segmented_control(key="by_axis").set_value("tokens").run()
    assert not test.exception
    assert test.query_params["with"] == runs[1:]
    assert test.query_params["by"] in ("tokens", ["tokens"])
    assert "Utility by tokens encoded" in shown_markup(test)


def test_selected_runs_are_compared_in_pairs_against_gold(store: Store) -> None:
    first, second = (add_run(store, "finished", seed=seed) for seed in (3, 6))
    shown = frame(page("compare", run=first, **{"with": second}), "McNemar p")
    _, found = paired.compare(store, first, second, "gold")
    against = found.against
    assert against is not None
    assert list(shown["and"]) == [second]
    assert list(shown["only first"]) == [against.only_one]
    assert list(shown["difference"]) == [paired.points(against.difference)]


def test_two_label_sources_are_compared_and_are_in_the_address(store: Store) -> None:
    first, second = (add_run(store, "finished", seed=seed) for seed in (3, 6))
    ids = [example.id for example in store.examples("sums")]
    add_human(store, "sums", f"ann {HOSTILE}", dict.fromkeys(ids, "True"))
    test = page("compare", run=first, view="Pair")
    assert test.selectbox(key="pair_other_None").value == second
    assert test.selectbox(key="pair_against_None").value == "gold"
    for words in paired.paired_words(paired.compare(store, first, second, "gold")[1]):
        assert words in texts(test)
    test.selectbox(key="pair_other_None").set_value(f"ann {HOSTILE}").run()
    assert test.query_params["other"] in (f"ann {HOSTILE}", [f"ann {HOSTILE}"])
    assert f"{first} and ann {HOSTILE} agree on" in texts(test)
    assert HOSTILE not in shown_markup(test)
    test.selectbox(key="pair_against_None").set_value("nothing").run()
    assert "Against" not in texts(test)
    same = page("compare", run=first, one=second, other=second)
    assert "These are the same labels twice" in texts(same)


def test_a_run_with_nothing_beside_it_says_so(store: Store) -> None:
    small_dataset(store, "plain", gold=False)
    test = page("compare", run=add_run(store, "finished", dataset="plain"), view="Pair")
    assert "There is nothing to compare these labels with" in texts(test)


def test_the_concepts_that_labels_follow_are_a_table_and_a_sentence(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = add_run(store, "finished")
    test = page("compare", run=run, view="Concepts")
    reading = views.load(store, run)
    rows = landscape.concepts(store, reading)
    assert landscape.concept_words(rows, reading) in texts(test)
    shown = frame(test, "reference")
    assert list(shown["reference"]) == [row.name for row in rows]
    assert {"single words", "gold"} <= set(shown["reference"])  # all texts are equally long
    asked = list[str]()
    monkeypatch.setattr(jobs, "spawn", lambda store, module, name: asked.append(name))
    test.selectbox(key="witness_model").set_value("fake")
    test.button(key="witness").click().run()
    assert not test.exception
    assert asked == ["witness.1"]
    assert main(perform, ["--db", str(store.path), "witness.1"]) == 0
    done = page("compare", run=run, view="Concepts")
    assert "P(D) under fake: " in texts(done)
    assert "witness fake" in list(frame(done, "reference")["reference"])
    assert HOSTILE not in shown_markup(done)


def test_the_landscape_says_its_cost_first_and_its_verdict_after(store: Store) -> None:
    run = add_run(store, "finished")
    labelled = len(views.load(store, run).labeling)
    test = page("compare", run=run, view="Landscape")
    # found, two constants, the mirror, three random ones, zero-shot: eight, and gold; and one prompt each for zero-shot
    assert f"Scores 9 labelings of the {labelled} labelled examples: {10 * labelled} prompts" in texts(test)
    test.button(key="landscape").click().run()
    assert not test.exception
    (job,) = jobs.names(store, "landscape", run=run)
    assert test.query_params["job"] in (job, [job])
    assert main(perform, ["--db", str(store.path), job]) == 0
    done = page("compare", run=run, view="Landscape", job=job)
    shown = frame(done, "same as found")
    assert len(shown) == 9
    assert dict(zip(shown["labeling"], shown["same as found"], strict=True))["mirror"] == 0.0
    assert "the found labels" in texts(done).split("References:")[1]


def test_text_from_outside_is_never_markup(store: Store) -> None:
    first, second = (add_run(store, "finished", seed=seed) for seed in (3, 4))
    for query in ({"cell": "True,True"}, {"view": "Seeds"}, {"with": second}, {"view": "Landscape"}):
        assert HOSTILE not in shown_markup(page("compare", run=first, **query))


def asked(store: Store, run: str) -> tuple[audit.Audit, str]:
    """The last audit of a run, and the label of the example that it asks about next."""
    now = audit.audit_of(store, views.load(store, run))
    place = now.place(now.next)
    assert place is not None
    return now, now.labeling[place]


def test_an_audit_shows_one_example_without_its_label_and_takes_an_answer(store: Store) -> None:
    run = add_run(store, "finished")
    now, label = asked(store, run)
    test = page("compare", run=run, view="Audit")
    place = now.place(1)
    assert place is not None
    for text in views.load(store, run).run.dataset.examples[place].fields.values():
        assert text in texts(test)
    assert not [button for button in test.button if "current" in button.label]
    assert "12 labels are audited." in texts(test)
    assert store.last_event(run, ("audit",)) is None  # looking is no answer
    test.button(key=f"audit_{1 + now.labels.index(label)}_1_1").click().run()
    event = store.last_event(run, ("audit",))
    assert event is not None
    assert event.audit["answer"] == event.audit["label"] == label
    assert "1 of 1 answers agree with the label." in texts(test)
    assert "**Question 2**" in shown_markup(test)
    test.button(key="audit_0_1_2").click().run()
    assert asked(store, run)[0].finding.unsure == 1
    test.button(key="audit_back_1_3").click().run()
    assert "**Question 2**" in shown_markup(test)
    test.button(key="audit_2_1_2").click().run()
    assert asked(store, run)[0].finding.unsure == 0


def test_a_new_audit_draws_other_examples_and_keeps_the_answers(store: Store) -> None:
    run = add_run(store, "finished")
    for _ in range(3):
        now, label = asked(store, run)
        audit.record(store, views.load(store, run), now, now.next, label)
    test = page("compare", run=run, view="Audit")
    assert "**Question 4**" in shown_markup(test)
    test.button(key="audit_anew").click().run()
    assert "**Question 1**" in shown_markup(test)
    test.button(key="audit_1_2_1").click().run()
    assert "**Question 2**" in shown_markup(test)
    assert [event.audit["audit"] for event in store.read_after(run, kinds=("audit",))] == [1, 1, 1, 2]


def test_every_label_asked_about_and_labels_that_changed_are_said(store: Store) -> None:
    run = add_run(store, "finished")
    now, _ = asked(store, run)
    for _ in now.places:
        now, label = asked(store, run) if now.next <= len(now.places) else (now, "")
        audit.record(store, views.load(store, run), now, now.next, label)
    test = page("compare", run=run, view="Audit")
    assert "**Every label was asked about.**" in shown_markup(test)
    assert "**Right**" in shown_markup(test)
    assert "100% of the labels are right: every one was judged." in texts(test)


def test_a_run_annotated_blind_is_audited_without_showing_its_labels(store: Store) -> None:
    run = add_run(store, "paused")
    store.send(run, "hand", "blind", 0, {"verb": "blind", "examples": [], "labels": [], "text": ""})
    assert "This run is annotated blind" in texts(page("compare", run=run, view="Seeds"))
    test = page("compare", run=run, view="Audit")
    assert "This run is annotated blind" not in texts(test)
    assert "**Question 1**" in shown_markup(test)


def test_a_refused_answer_says_why(store: Store) -> None:
    run = add_run(store, "finished")
    test = page("compare", run=run, view="Audit")
    newer = audit.audit_of(store, views.load(store, run))
    audit.record(store, views.load(store, run), newer, 1, "True")
    fresh = audit.audit_of(store, views.load(store, run), fresh=True)
    audit.record(store, views.load(store, run), fresh, 1, "True")
    test.button(key="audit_2_1_1").click().run()
    assert "has gone on elsewhere" in " ".join(code.value for code in test.code)
