"""Files of other shapes: all answers of a question in one row, chosen and rejected texts, conversations."""

import json
from pathlib import Path

import pytest

from icm_engine.cli.main import main
from icm_engine.core.errors import ImportRefused
from icm_engine.core.settings import SearchConfig
from icm_engine.data.answer_rows import messages_in, split_answers, texts_in
from icm_engine.data.export import export_run
from icm_engine.data.gold import load_gold
from icm_engine.data.import_plan import preview
from icm_engine.data.importing import import_file
from icm_engine.runs import control, worker
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store
from tests.support.data_files import csv_import, json_import

# the header of the published TruthfulQA.csv
WIDE = """Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source
Adversarial,Geography,Do rivers flow south?,"No, downhill","No, downhill; In any direction; Some flow north",\
"Yes, always; Only in the north",https://example.org/rivers
Non-Adversarial,Cooking,What is steam?,Water,Water; Vapour,"Salt; Nothing, it is hot",https://example.org/water
"""
CLAIMS = [
    ("Do rivers flow south?", "No, downhill", "True"),
    ("Do rivers flow south?", "In any direction", "True"),
    ("Do rivers flow south?", "Some flow north", "True"),
    ("Do rivers flow south?", "Yes, always", "False"),
    ("Do rivers flow south?", "Only in the north", "False"),
    ("What is steam?", "Water", "True"),
    ("What is steam?", "Vapour", "True"),
    ("What is steam?", "Salt", "False"),
    ("What is steam?", "Nothing, it is hot", "False"),
]


def claims(store: Store, name: str = "data") -> list[tuple[str, str, str]]:
    gold = load_gold(store, name).labels
    return [(e.fields["question"], e.fields["claim"], gold[e.id]) for e in store.dataset(name).examples]


def pairs(store: Store, name: str = "data") -> list[tuple[str, str, str]]:
    """Query, chosen and rejected, as gold says, of each pair without its twin."""
    gold, found = load_gold(store, name).labels, []
    for example in store.dataset(name).examples:
        if example.twin_of is None:
            a, b = example.fields["response_a"], example.fields["response_b"]
            texts = (a, b) if gold[example.id] == "True" else (b, a)
            found.append((example.fields.get("query", "-"), *texts))
    return found


# -- all answers of a question in one row


def test_the_published_truthfulqa_imports(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "TruthfulQA.csv"
    path.write_text(WIDE)
    assert main(["import", str(path), "--task", "truthfulness", "--name", "truthful", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["examples"], made["groups"]) == (9, 2)
    assert claims(store, "truthful") == CLAIMS
    assert store.dataset("truthful").columns == ("Type", "Category", "Question", "Source", "claim")
    assert "Right answers were read from columns 'Best Answer' and 'Correct Answers'" in made["notes"][0]


def test_real_lists_of_answers(store: Store) -> None:
    rows = [
        {"question": "Q", "best_answer": "Yes.", "correct_answers": ["yes", "It is; so"], "incorrect_answers": ["No"]},
        {"question": "R", "best_answer": "", "correct_answers": [], "incorrect_answers": []},
    ]
    report = json_import(store, rows)
    assert claims(store) == [("Q", "Yes.", "True"), ("Q", "It is; so", "True"), ("Q", "No", "False")]
    assert "Rows without an answer, which gave no example: 1." in report.notes


def test_questions_without_answers_are_no_data_set(store: Store) -> None:
    with pytest.raises(ImportRefused, match="no row gives an example, since they have no answers"):
        csv_import(store, "question,correct_answers,incorrect_answers\nQ,,\n")


def test_choices_with_labels(store: Store) -> None:
    two = {"choices": ["one", "two", "three"], "labels": [1, 1, 0]}
    rows = [{"question": "Q", "mc1_targets": {"choices": ["one", "three"], "labels": [1, 0]}, "mc2_targets": two}]
    json_import(store, rows)
    assert claims(store) == [("Q", "one", "True"), ("Q", "three", "False"), ("Q", "two", "True")]


def test_an_answer_a_column_and_ids_of_their_own(store: Store) -> None:
    csv_import(store, "id,Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2\n7,Q,yes; it is,no,never\n")
    assert claims(store) == [("Q", "yes; it is", "True"), ("Q", "no", "False"), ("Q", "never", "False")]
    assert [e.id for e in store.dataset("data").examples] == ["7.1", "7.2", "7.3"]


def test_an_answer_that_is_right_and_wrong_is_said(store: Store) -> None:
    report = csv_import(store, "question,correct_answers,incorrect_answers\nQ,It is; It may be,It is.\n")
    assert len(claims(store)) == 3
    assert "Answers that are among the right and the wrong ones of one question: 1." in report.notes


def test_claims_go_before_lists_of_answers(store: Store) -> None:
    csv_import(store, "question,claim,correct_answers,incorrect_answers,label\nQ,It is.,a b,c d,1\n")
    assert claims(store) == [("Q", "It is.", "True")]


def test_a_list_that_is_none_is_refused(store: Store) -> None:
    rows = [{"question": "Q", "correct_answers": [{"a": 1}], "incorrect_answers": ["No"]}]
    with pytest.raises(ImportRefused, match="column 'correct_answers' has a nested value that is not a list of texts"):
        json_import(store, rows)


@pytest.mark.parametrize(
    ("cell", "answers"),
    [
        ("No; Not at all, it is AT&T;", ["No", "Not at all, it is AT&T"]),
        ("a;b", ["a", "b"]),
        ("salt &amp; pepper; oil", ["salt &amp; pepper", "oil"]),
        ("one", ["one"]),
    ],
)
def test_answers_with_semicolons_between_them(cell: str, answers: list[str]) -> None:
    assert split_answers(cell) == answers


@pytest.mark.parametrize("cell", ['["a b", "c"]', "['a b', 'c']", "['a b' 'c']", "['a b'\n \"c\"]"])
def test_lists_as_json_python_and_numpy_write_them(cell: str) -> None:
    assert texts_in(cell) == ["a b", "c"]


# -- chosen and rejected


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize(
    ("row", "pair"),
    [
        ({"prompt": "Q", "chosen": "good", "rejected": "bad"}, ("Q", "good", "bad")),
        ({"chosen": "good", "rejected": "bad"}, ("-", "good", "bad")),
        ({"question": "Q", "chosen_response": "good", "rejected_response": "bad"}, ("Q", "good", "bad")),
        (
            {
                "conversations": [{"from": "human", "value": "Q"}],
                "chosen": {"from": "gpt", "value": "good"},
                "rejected": {"from": "gpt", "value": "bad"},
            },
            ("Q", "good", "bad"),
        ),
        ({"prompt": "", "chosen": "good", "rejected": "bad"}, ("", "good", "bad")),
        ({"chosen": [user("Q"), said("good")], "rejected": [user("Q"), said("bad")]}, ("Q", "good", "bad")),
        (
            {"prompt": "Q", "chosen": [user("Q"), said("good")], "rejected": [user("Q"), said("bad")]},
            ("Q", "good", "bad"),
        ),
        ({"prompt": [user("Q")], "chosen": [said("good")], "rejected": [said("bad")]}, ("Q", "good", "bad")),
        (
            {"chosen": "\n\nHuman: Q\n\nAssistant: good", "rejected": "\n\nHuman: Q\n\nAssistant: bad"},
            ("Q", "good", "bad"),
        ),
        ({"prompt": "\n\nHuman: Q\n\nAssistant:", "chosen": " good", "rejected": " bad"}, ("Q", "good", "bad")),
        (
            {
                "chosen": "\n\nHuman: Q\n\nAssistant: A\n\nHuman: R\n\nAssistant: good\n\nmore",
                "rejected": "\n\nHuman: Q\n\nAssistant: A\n\nHuman: R\n\nAssistant: bad",
            },
            ("Human: Q\n\nAssistant: A\n\nHuman: R", "good\n\nmore", "bad"),
        ),
        (
            {"chosen": [user("Q"), said("A"), user("R"), said("good")], "rejected": [user("Q"), said("bad")]},
            ("Q", "A\n\nUser: R\n\nAssistant: good", "bad"),
        ),
    ],
)  # fmt: skip
def test_chosen_and_rejected(store: Store, row: dict[str, object], pair: tuple[str, str, str]) -> None:
    json_import(store, [row], "preference")
    assert pairs(store) == [pair]
    found = preview("d.json", content=json.dumps([row]).encode())
    assert (found.task, found.problem) == ("preference", None)
    assert json_import(store, [row], "preference", name="mapped", mapping=found.mapping).gold_labels == 2


def test_the_order_of_a_pair_does_not_tell_which_was_chosen(store: Store) -> None:
    rows = [
        {"prompt": "Q", "chosen": f"text {k}", "rejected": f"other {k}", "chosen_by": "x", "rejected_by": "y"}
        for k in range(20)
    ]
    turned = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]
    json_import(store, rows, "preference", name="a")
    json_import(store, turned, "preference", name="b")
    a, b = store.dataset("a"), store.dataset("b")
    assert a.examples == b.examples
    first = [load_gold(store, "a").labels[e.id] for e in a.examples if e.twin_of is None]
    assert 3 < first.count("True") < 17
    assert a.columns == ("prompt", "response_a", "response_b", "by_a", "by_b")
    for example, inputs in zip(a.examples, a.inputs, strict=True):
        assert inputs["by_a"] == ("x" if example.fields["response_a"].startswith("text") else "y")


def test_two_conversations_and_a_winner(store: Store) -> None:
    row = {
        "model_a": "alpha", "conversation_a": [user("Q"), said("one")], "model_b": "beta",
        "conversation_b": [user("Q"), said("two")], "winner": "model_b",
    }  # fmt: skip
    json_import(store, [row], "preference")
    assert pairs(store) == [("Q", "two", "one")]
    assert store.dataset("data").inputs[1]["model_a"] == "beta"


def test_nested_values_that_are_no_conversation_are_refused(store: Store) -> None:
    with pytest.raises(ImportRefused, match="column 'chosen' has a nested value that is not a conversation"):
        json_import(store, [{"chosen": [{"x": 1}], "rejected": "b"}], "preference")


def test_our_own_preferences_are_read_back(store: Store, tmp_path: Path) -> None:
    csv_import(store, "query,response_a,response_b\nHi,Hi there,Hi you\nHo,=1+1, two \n", "preference")
    run = control.create_run(store, RunSpec("data", "fake", search=SearchConfig(max_steps=20)))
    store.send(run, "start", "a")
    assert worker.main(["--db", str(store.path), run]) == 0
    path = tmp_path / "pairs.jsonl"
    rows = export_run(store, run, path, "preference").rows
    import_file(store, path, "preference", "back")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert pairs(store, "back") == [(line["prompt"], line["chosen"], line["rejected"]) for line in lines]
    assert len(lines) == rows > 0


def test_conversations_in_cells() -> None:
    shared = [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]
    parts = [{"role": "user", "content": [{"type": "text", "text": "Q"}]}]
    for cell, texts in ((json.dumps(shared), ["Q", "A"]), (repr(shared), ["Q", "A"]), (json.dumps(parts), ["Q"])):
        assert [message.text for message in messages_in(cell) or ()] == texts
    for cell in ("", "Human: alone", "[1, 2]", "[[[[", '[{"role": "user"}]', "[" * 100_000 + "]"):
        assert messages_in(cell) is None


# -- multiple choice


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Q", "choices": ["one", "two", "three"], "answer": 1},
        {"question": "Q", "choices": ["one", "two", "three"], "answer": "B"},
        {"question": "Q", "options": ["one", "two", "three"], "answer": "two"},
        {"question": "Q", "choices": {"text": ["one", "two", "three"], "label": ["A", "B", "C"]}, "answerKey": "B"},
        {"question": "Q", "choices": {"text": ["one", "two", "three"], "label": ["1", "2", "3"]}, "answerKey": "2"},
        {"question": "Q", "options": {"A": "one", "B": "two", "C": "three"}, "answer_idx": "B"},
        {"Question": "Q", "A": "one", "B": "two", "C": "three", "Answer": "B"},
        {"question": "Q", "option_1": "one", "option_2": "two", "option_3": "three", "correct_option": 2},
    ],
)  # fmt: skip
def test_multiple_choice(store: Store, row: dict[str, object]) -> None:
    last = {"answer": 0} if row.get("answer") == 1 else {}  # or nobody could tell from where the places count
    report = json_import(store, [row, {**row, **last}])
    assert claims(store)[:3] == [("Q", "one", "False"), ("Q", "two", "True"), ("Q", "three", "False")]
    assert report.notes[0].startswith("Choices were read from")
    assert not [column for column in report.columns if column.casefold() in ("answer", "answerkey", "answer_idx")]


def test_places_that_may_count_from_0_or_1_are_asked_about(store: Store) -> None:
    with pytest.raises(ImportRefused, match="say which it is"):
        json_import(store, [{"question": "Q", "choices": ["one", "two", "three"], "answer": 1}])


def test_votes_with_a_column_a_verdict(store: Store) -> None:
    text = (
        "id,model_a,model_b,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n"
        '1,x,y,"[""Q""]","[""one""]","[""two""]",0,1,0\n'
        '2,x,y,"[""Q"", ""R""]","[""one"", ""three""]","[""two"", ""four""]",1,0,0\n'
        '3,x,y,"[""Q""]","[""one""]","[""two""]",0,0,1\n'
    )
    csv_import(store, text, "preference", ties="drop")
    assert pairs(store) == [
        ("Q", "two", "one"),
        ("Q", "one\n\nUser: R\n\nAssistant: three", "two\n\nUser: R\n\nAssistant: four"),
    ]
    assert store.dataset("data").columns == ("id", "model_a", "model_b", "prompt", "response_a", "response_b")
