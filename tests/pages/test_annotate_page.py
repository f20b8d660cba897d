"""The Annotate page, drawn by Streamlit's own tester: keys, queues, what was sent, blind runs."""

from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from icm_engine.analysis.annotation import GIVEN_AWAY, queue
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.views import load
from icm_engine.core.labeling import Example, Task
from icm_engine.core.settings import PRESETS
from icm_engine.data.gold import load_human
from icm_engine.runs import control, worker
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store
from tests.support.drawn_pages import PHASES, button, frame, page, shown_markup, texts
from tests.support.stores import HOSTILE, add_run


def obey(store: Store, run: str) -> None:
    assert worker.main(["--db", str(store.path), run]) == 0


def bodies(store: Store, run: str) -> list[dict[str, object]]:
    return [command.body for command in store.pending(run)]


@pytest.mark.parametrize("phase", PHASES)
def test_every_phase_can_be_opened_and_says_what_to_do(store: Store, phase: str) -> None:
    run = add_run(store, phase)
    test = page("annotate", run=run)
    begun = phase not in ("created", "starting")
    assert button(test, "pin_0_0").disabled != begun
    assert ("This run has no labels yet" in shown_markup(test)) != begun
    assert HOSTILE not in shown_markup(test)
    assert f"What is 0 + 2? {HOSTILE}" in texts(test)


def test_a_label_is_sent_at_once_and_the_queue_moves_on(store: Store) -> None:
    run = add_run(store)
    test = page("annotate", run=run)
    assert test.query_params["example"] == "sums-0-0"
    assert button(test, "pin_1_0").label == "False"
    button(test, "pin_1_0").click().run()
    assert not test.exception
    assert test.query_params["example"] == "sums-0-1"
    assert bodies(store, run) == [{"verb": "pin", "examples": ["sums-0-0"], "labels": ["False"], "text": ""}]
    assert "Sent, not applied yet: pin sums-0-0 as False." in texts(test)
    assert "Undo: pin sums" in button(test, "turn_undo").help
    obey(store, run)
    button(test, "go_-1_1").click().run()
    assert "Sent, not applied yet" not in texts(test)
    assert "pinned: the search keeps it" in texts(test)


def test_undo_and_redo_are_offered_as_far_as_there_are_acts(store: Store) -> None:
    run = add_run(store)
    test = page("annotate", run=run)
    assert button(test, "turn_undo").disabled
    assert button(test, "turn_redo").disabled
    button(test, "pin_0_0").click().run()
    button(test, "turn_undo").click().run()  # both are on their way
    assert test.query_params["example"] == "sums-0-0"
    assert button(test, "turn_undo").disabled
    assert "Redo: pin sums" in button(test, "turn_redo").help
    obey(store, run)
    button(test, "turn_redo").click().run()
    obey(store, run)
    reading = load(store, run)
    assert (reading.labeling[0], reading.pins) == ("True", {0})


def test_a_queue_stays_while_its_examples_leave_it(store: Store) -> None:
    run = add_run(store)
    reading = load(store, run)
    empty = [reading.run.codec.ids[i] for i in range(18) if i not in reading.labeling]
    test = page("annotate", run=run, queue="unlabelled")
    assert test.query_params["example"] == empty[0]
    button(test, f"pin_0_{reading.run.codec.index(empty[0])}").click().run()
    obey(store, run)
    assert test.query_params["example"] == empty[1]
    assert f"2 of {len(empty)}" in texts(test)
    again = page("annotate", **{name: test.query_params[name] for name in ("run", "queue", "example", "at")})
    assert again.query_params["example"] == empty[1]  # the same view, the queue made anew
    assert f"1 of {len(empty) - 1}" in texts(again)


def test_one_act_on_a_whole_filtered_queue(store: Store) -> None:
    run = add_run(store)
    reading = load(store, run)
    labelled = [i for i in range(3, 6) if i in reading.labeling]
    test = page("annotate", run=run, filter="what is 1 +")
    assert "1 of 3" in texts(test)
    words = f"Pin {len(labelled)} example{'s' if len(labelled) != 1 else ''} as they are"
    assert button(test, "bulk_0").label == f"{words} …"
    assert button(test, "bulk_2").disabled  # none of them is pinned
    button(test, "bulk_0").click().run()
    button(test, "bulk_yes").click().run()
    (body,) = bodies(store, run)
    assert body["examples"] == [reading.run.codec.ids[i] for i in labelled]
    obey(store, run)
    assert load(store, run).pins == set(labelled)
    button(test, "turn_undo").click().run()
    obey(store, run)
    assert load(store, run).pins == set()


def test_the_queue_from_gold_has_no_acts_on_all(store: Store) -> None:
    run = add_run(store)
    test = page("annotate", run=run, queue="gold")
    assert "supervision" in shown_markup(test)
    assert not [button for button in test.button if str(button.key).startswith("bulk")]


def test_a_refused_act_is_said_until_it_is_read(store: Store) -> None:
    run = add_run(store)
    control.submit_intervention(store, run, "undo")
    obey(store, run)
    test = page("annotate", run=run)
    assert "there is nothing to undo" in test.code[0].value
    button(test, "refused_ok").click().run()
    assert not test.code


def test_own_labels_are_kept_under_a_name(store: Store) -> None:
    run = add_run(store)
    test = page("annotate", run=run)
    assert button(test, "keep_labels").disabled
    button(test, "pin_0_0").click().run()
    obey(store, run)
    test.run()
    assert button(test, "keep_labels").label == "Keep 1 labels"
    button(test, "keep_labels").click().run()
    assert load_human(store, "sums")["annotator"].labels == {"sums-0-0": "True"}
    button(test, "keep_labels").click().run()
    assert "has labels already" in "\n".join(code.value for code in test.code)


OTHERS = ("search", "steps", "examples", "flips", "consistency", "compare", "forks", "training")


def asked(test: AppTest) -> AppTest:
    """The page after a person asked for the labels of a blind run."""
    return button(test, "show_labels").click().run()  # type: ignore[no-any-return]


def gold_seen(test: AppTest) -> list[str]:
    """Every word of gold or accuracy that a page says."""
    said = [shown_markup(test), texts(test), *(metric.label + metric.value for metric in test.metric)]
    said += [f"{list(table.value.columns)}" for table in test.dataframe]
    return [words for words in said if "ccuracy" in words or "'gold'" in words]


def test_a_blind_run_shows_gold_nowhere_until_it_is_unblinded(store: Store) -> None:
    run = add_run(store)
    assert gold_seen(page("search", run=run))
    test = page("annotate", run=run)
    button(test, "go_blind").click().run()
    assert gold_seen(page("search", run=run)) == []  # at once
    obey(store, run)
    for name in OTHERS:
        assert gold_seen(asked(page(name, run=run))) == [], name
    assert gold_seen(page()) == []  # nor in the table of runs
    test = page("annotate", run=run, queue="gold")
    assert test.selectbox(key=f"queue_{run}_order").value == "order"
    button(test, "unblind").click().run()
    assert gold_seen(page("search", run=run)) == []  # not before it is in the log
    obey(store, run)
    assert gold_seen(page("search", run=run))
    assert [done.act.verb for done in load(store, run).acts] == ["blind", "unblind"]


def test_the_influence_of_a_pin_is_two_runs_and_their_difference(store: Store) -> None:
    run = add_run(store)
    control.submit_intervention(store, run, "pin", ["sums-0-0"], ["False"])
    obey(store, run)
    test = page("annotate", run=run)
    test.number_input(key="influence_steps").set_value(4)
    button(test, "influence_go").click().run()
    kept, without = test.query_params["influence"].split(",")
    for name in (kept, without):
        obey(store, name)
    test.run()
    assert not test.exception
    assert "with the pin: ❚❚ paused, 34 steps" in texts(test)
    assert "labelled by both" in texts(test)


def test_a_run_without_labels_offers_one_step(store: Store) -> None:
    run = add_run(store, "created")
    test = page("annotate", run=run)
    button(test, "first_step").click().run()
    assert [(command.verb, command.steps) for command in store.pending(run)] == [("step", 1)]
    assert "They will appear shortly." in texts(test)


# -- truly blind


def everything(test: AppTest) -> str:
    """Every word on a page: texts, markup, buttons with their help, badges, links, tables and choices."""
    said = [texts(test), shown_markup(test), *(code.value for code in test.code)]
    said += [f"{one.label} {one.help} {one.icon}" for one in test.button]
    said += [table.value.to_string() for table in test.dataframe]
    said += [str(proto.label) for proto in (element.proto for element in test.get("page_link"))]
    said += [one.label for one in test.expander]
    return "\n".join(said)


def mark_of(test: AppTest, place: int) -> list[str]:
    """The labels of the buttons that are marked as the current one."""
    found = [one for one in test.button if str(one.key).startswith("pin_") and str(one.key).endswith(f"_{place}")]
    return [one.label for one in found if one.icon == ":material/check:" and "(current)" in one.label]


TELLING = ("probability", "margin", "given all other labels", "What if", "(current)", "step 0:", "Step 30", " → ")


def unanswered_pair(reading: Reading) -> tuple[int, str]:
    """The first labelled example with a labelled one in its group, and the label that the model did not give it."""
    labelled = reading.labeling
    place = next(i for i in labelled if any(j in labelled for j in range(i // 3 * 3, i // 3 * 3 + 3) if j != i))
    return place, {"True": "False", "False": "True"}[labelled[place]]


def test_a_blind_page_tells_no_label_before_the_answer(store: Store) -> None:
    run = add_run(store)
    place, other = unanswered_pair(load(store, run))
    example = load(store, run).run.codec.ids[place]
    test = page("annotate", run=run, example=example)
    assert {words for words in TELLING if words in everything(test)} >= {"probability", "What if", "(current)", " → "}
    assert mark_of(test, place) == [f"{load(store, run).labeling[place]} (current)"]
    button(test, "go_blind").click().run()
    obey(store, run)
    test = page("annotate", run=run, example=example)
    assert [words for words in TELLING if words in everything(test)] == []
    assert "Hidden until you have labelled this example." in texts(test)
    assert mark_of(test, place) == []
    assert button(test, f"as_is_pin_{place}").disabled  # it would pin a label that nobody saw
    assert set(frame(test, "label")["label"].fillna("")) == {""}  # nor is that of the group told
    (spot,) = [k for k, one in enumerate(("True", "False")) if one == other]
    button(test, f"pin_{spot}_{place}").click().run()
    assert [words for words in TELLING if words in everything(test)] == []  # the next example is hidden too
    obey(store, run)
    test = page("annotate", run=run, example=example)
    assert mark_of(test, place) == [f"{other} (current)"]
    assert "probability" in texts(test)
    assert "(person)" in texts(test)
    assert set(frame(test, "label")["label"].fillna("")) == {""}  # the others are not answered yet
    assert "Step 30" not in everything(test)


def test_an_answer_taken_back_is_hidden_again(store: Store) -> None:
    run = add_run(store)
    place, other = unanswered_pair(load(store, run))
    example = load(store, run).run.codec.ids[place]
    for verb, examples, labels in (("blind", [], []), ("override", [example], [other]), ("undo", [], [])):
        control.submit_intervention(store, run, verb, examples, labels)  # type: ignore[arg-type]
    obey(store, run)
    assert load(store, run).labeling[place] != other
    test = page("annotate", run=run, example=example)
    assert mark_of(test, place) == []
    assert "0 of 18 labelled by you" in texts(test)
    acts = frame(test, "act")
    assert acts.set_index("act").loc["undo", "labels"] == ""


def test_other_tabs_of_a_blind_run_ask_before_they_show_its_labels(store: Store) -> None:
    run = add_run(store)
    control.submit_intervention(store, run, "blind")
    obey(store, run)
    for name in OTHERS:
        test = page(name, run=run)
        assert [words for words in TELLING if words in everything(test)] == [], name
        assert "annotated blind, and what comes here shows the model's labels" in texts(test)
        assert "annotated blind, and" not in texts(asked(test))
    test = page("tour", run=run)
    assert "In this run" not in shown_markup(test)
    assert "In this run" in shown_markup(asked(test))
    test = asked(page("steps", run=run))
    assert "Step 30" in everything(test)
    test.switch_page("pages/annotate.py").run()
    assert "Step 30" not in everything(test)  # what was asked for elsewhere is not shown here
    button(test, "unblind").click().run()
    obey(store, run)
    test.run()
    button(test, "go_blind").click().run()
    test.switch_page("pages/steps.py").run()
    assert "Step 30" not in everything(test)  # it asks again


def test_a_queue_says_what_its_order_gives_away_to_the_blind(store: Store) -> None:
    run = add_run(store)
    assert GIVEN_AWAY["margin"] not in shown_markup(page("annotate", run=run, queue="margin"))
    control.submit_intervention(store, run, "blind")
    obey(store, run)
    for name in ("order", *GIVEN_AWAY):
        markup = shown_markup(page("annotate", run=run, queue=name))
        said = [other for other, words in GIVEN_AWAY.items() if words in markup]
        tells = name in GIVEN_AWAY and queue(store, load(store, run), name)  # an empty one tells nothing
        assert said == ([name] if tells else [])


def test_labels_of_a_blind_run_are_not_pinned_unseen(store: Store) -> None:
    run = add_run(store)
    control.submit_intervention(store, run, "blind")
    control.submit_intervention(store, run, "override", ["sums-0-0"], ["False"])
    obey(store, run)
    test = page("annotate", run=run)
    assert button(test, "bulk_0").label == "Pin 1 example as they are …"
    assert "17 not labelled by you are left out" in button(test, "bulk_0").help
    assert "once the run is unblinded" in texts(test)  # the influence of a pin shows other labels


# -- the queue line, and many labels


def test_the_queue_counts_what_the_person_has_labelled(store: Store) -> None:
    run = add_run(store)
    own = load(store, run).labeling
    place = next(iter(own))
    test = page("annotate", run=run)
    assert "1 of 18 · 0 of 18 labelled by you" in texts(test)
    control.submit_intervention(store, run, "override", [load(store, run).run.codec.ids[place]], [own[place]])
    obey(store, run)
    assert "1 of 18 labelled by you" in texts(page("annotate", run=run))  # the same label, and yet a judgement


def many_labels(store: Store, count: int) -> str:
    labels = tuple(f"topic {k}" for k in range(count))
    examples = tuple(Example(f"e{k}", {"text": f"Text {k} {HOSTILE}"}, f"e{k}") for k in range(6))
    task = Task("topics", "Text: {text}\nTopic:", labels, true_label=labels[0], rule="none", fields=("text",))
    store.add_dataset(Dataset("topics", task, examples, tuple(dict(e.fields) for e in examples), task.fields, "topics"))
    run = control.create_run(store, RunSpec("topics", "fake", search=replace(PRESETS["default"], max_steps=40, seed=3)))
    control.step(store, run, 2)
    obey(store, run)
    return run


def test_many_labels_are_found_by_typing(store: Store) -> None:
    run = many_labels(store, 12)
    test = page("annotate", run=run, example="e0")
    assert [f"pin_{k}_0" in {one.key for one in test.button} for k in (8, 9)] == [True, False]
    now = load(store, run).labeling.get(0)
    picker = test.selectbox(key="pick_label_0")
    assert len(picker.options) == 12
    assert [one for one in picker.options if one.startswith("✓")] == ([f"✓ {now} (current)"] if now else [])
    picker.set_value("topic 11").run()
    assert not test.exception
    assert bodies(store, run) == [{"verb": "pin", "examples": ["e0"], "labels": ["topic 11"], "text": ""}]
    assert test.query_params["example"] == "e1"
    test.toggle(key="pin_picked").set_value(False).run()
    test.selectbox(key="pick_label_1").set_value("topic 10").run()
    assert bodies(store, run)[1] == {"verb": "override", "examples": ["e1"], "labels": ["topic 10"], "text": ""}
    assert not {one.key for one in test.button} & {"pin_3_2", "override_9_2"}
    button(test, "override_3_2").click().run()  # the switch holds for the buttons and their keys too
    assert bodies(store, run)[2] == {"verb": "override", "examples": ["e2"], "labels": ["topic 3"], "text": ""}
    assert HOSTILE not in shown_markup(test)
    button(test, "sheet").click().run()
    assert "find a label by typing" in texts(test)
    assert "Shift+1" not in texts(test)


def test_nine_labels_need_no_picker(store: Store) -> None:
    run = many_labels(store, 9)
    test = page("annotate", run=run, example="e0")
    assert "pin_8_0" in {one.key for one in test.button}
    assert "pick_label_0" not in {one.key for one in test.selectbox}
