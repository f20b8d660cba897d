"""Files in: what is recognised as what, gold kept apart, twins, ids, and the forms a file may have."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from icm_engine.core.errors import SettingError
from icm_engine.core.prompting import render
from icm_engine.data.gold import load_gold, load_human
from icm_engine.data.importing import import_file
from icm_engine.store.store import Store
from tests.support.data_files import CLAIMS, PAIRS, WORKED, csv_import, json_import, refusal

# -- the three shapes of real files


def test_claims_in_json(store: Store) -> None:
    report = json_import(store, CLAIMS, name="tq")
    dataset, gold = store.dataset("tq"), load_gold(store, "tq")
    assert (report.examples, report.groups, report.constraints, report.gold_column) == (3, 2, 0, "label")
    assert [e.group for e in dataset.examples] == ["88", "88", "101"]
    assert dict(dataset.examples[0].fields) == {"question": "Can sharks get cancer?", "claim": "No, they can't."}
    assert [gold.labels[e.id] for e in dataset.examples] == ["False", "True", "False"]
    assert any("'label' was set apart as gold" in note for note in report.notes)


def test_worked_answers_in_jsonl(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "worked.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in WORKED) + "\n\n")
    report = import_file(store, path, "maths-verification")
    examples = store.dataset("worked").examples
    # three answers to question 0 make three pairs; the last row has no answer, so it is in none
    assert (report.examples, report.groups, report.constraints) == (4, 2, 3)
    assert [e.answer for e in examples] == ["42", "42", "43", None]
    assert report.without_answer == (examples[3].id,)
    assert any(examples[3].id in note for note in report.notes)


def test_pairs_in_csv_get_their_twins(store: Store) -> None:
    report = csv_import(store, PAIRS, "preference")
    examples, gold = store.dataset("data").examples, load_gold(store, "data").labels
    assert (report.rows, report.examples, report.twins, report.groups, report.constraints) == (2, 4, 2, 2, 2)
    first, twin = examples[:2]
    assert (twin.id, twin.twin_of, twin.group) == (f"{first.id}~swapped", first.id, first.group)
    assert (twin.fields["response_a"], twin.fields["response_b"]) == ("It is 5", "It is 4")
    assert [gold[e.id] for e in examples] == ["True", "False", "False", "True"]
    assert store.dataset("data").inputs[1] == {"query": "Sum?", "response_a": "It is 5", "response_b": "It is 4"}


def test_twins_already_in_the_file_are_found(store: Store) -> None:
    swapped = "Sum?,It is 5,It is 4,no\n"
    report = csv_import(store, PAIRS + swapped, "preference")
    examples = store.dataset("data").examples
    assert (report.rows, report.examples, report.twins) == (3, 4, 2)
    assert examples[3].twin_of == examples[3].group == examples[0].id
    assert examples[2].twin_of == examples[1].id


def test_the_same_pair_twice_makes_two_groups_of_two(store: Store) -> None:
    report = csv_import(store, PAIRS + "Sum?,It is 4,It is 5,yes\n", "preference")
    assert (report.examples, report.groups, report.constraints) == (6, 3, 3)


def test_a_twin_never_takes_a_name_that_is_taken(store: Store) -> None:
    csv_import(store, "id,query,response_a,response_b\nx,q,a,b\nx~swapped,q,c,d\n", "preference")
    assert [e.id for e in store.dataset("data").examples] == ["x", "x~swapped2", "x~swapped", "x~swapped~swapped"]


# -- gold and human labels stay apart


def test_the_worker_sees_no_gold_and_no_human_label(store: Store) -> None:
    csv_import(store, "question,claim,gold,crowd,source\nq,c,True,False,web\n")
    dataset = store.dataset("data")
    assert dataset.inputs == ({"question": "q", "claim": "c", "source": "web"},)
    assert dataset.columns == ("question", "claim", "source")
    assert "True" not in repr((dataset.examples, dataset.inputs))
    assert list(load_gold(store, "data").labels.values()) == ["True"]
    assert list(load_human(store, "data")["crowd"].labels.values()) == ["False"]


def test_permuted_or_missing_gold_gives_the_same_data_set(store: Store) -> None:
    other = [{**row, "label": 1 - int(str(row["label"]))} for row in CLAIMS]
    without = [{k: v for k, v in row.items() if k != "label"} for row in CLAIMS]
    for name, rows in (("a", CLAIMS), ("b", other), ("c", without)):
        json_import(store, rows, name=name)
    a, b, c = (store.dataset(name) for name in "abc")
    assert (a.examples, a.inputs, a.columns) == (b.examples, b.inputs, b.columns) == (c.examples, c.inputs, c.columns)
    assert load_gold(store, "a").labels != load_gold(store, "b").labels
    assert not load_gold(store, "c")


def test_gold_can_be_switched_off_and_still_does_not_come_in(store: Store) -> None:
    report = json_import(store, CLAIMS, mapping={"gold": ""})
    assert report.gold_column is None
    assert not load_gold(store, "data")
    assert all("label" not in row for row in store.dataset("data").inputs)
    assert any("'label'" in note and "left out" in note for note in report.notes)


def test_two_columns_that_look_like_gold_need_a_word(store: Store) -> None:
    text = "question,claim,label,is_correct\nq,c,1,0\n"
    assert "label and is_correct" in refusal(store, text)
    csv_import(store, text, mapping={"gold": "is_correct"})
    assert list(load_gold(store, "data").labels.values()) == ["False"]
    assert store.dataset("data").columns == ("question", "claim")


def test_several_human_columns(store: Store) -> None:
    text = "question,claim,ann,bob\nq,c,yes,no\nq,d,,yes\n"
    csv_import(store, text, mapping={"human": ["ann", "bob"]})
    human = load_human(store, "data")
    assert [list(human[name].labels.values()) for name in ("ann", "bob")] == [["True"], ["False", "True"]]


@pytest.mark.parametrize(
    ("task", "cells", "labels"),
    [
        ("truthfulness", ["True", "false", "1", "0", "YES", "no", "1.0", ""], "TFTFTFT "),
        ("preference", ["A", "b", "yes", "0"], "TFTF"),
    ],
)
def test_spellings_of_gold(store: Store, task: str, cells: Sequence[str], labels: str) -> None:
    fields = ("question", "claim") if task == "truthfulness" else ("query", "response_a", "response_b")
    rows = [{**{f: f"{f} {k}" for f in fields}, "gold": cell} for k, cell in enumerate(cells)]
    json_import(store, rows, task)
    gold, examples = load_gold(store, "data").labels, store.dataset("data").examples
    found = [gold.get(e.id, " ")[0] for e in examples if e.twin_of is None]
    assert "".join(found) == labels


def test_gold_of_a_classification_is_a_label_name(store: Store) -> None:
    text = "text,label\nfine weather,Good\nrain,bad\nfog,so-so\n"
    csv_import(store, text, "classification", labels=["good", "bad", "so-so"])
    task = store.dataset("data").task
    assert list(load_gold(store, "data").labels.values()) == ["good", "bad", "so-so"]
    assert (task.labels, task.true_label) == (("good", "bad", "so-so"), "good")
    assert render(task, store.dataset("data").examples[0]).startswith("Text: fine weather\n")


def test_a_classification_needs_its_labels(store: Store) -> None:
    with pytest.raises(SettingError, match=r"--labels A,B.*Good, bad"):
        csv_import(store, "text,label\nx,Good\ny,bad\n", "classification")
    with pytest.raises(SettingError, match="two or more"):
        csv_import(store, "text\nx\n", "classification", labels=["one"])


# -- columns


@pytest.mark.parametrize("name", ["claim", "choice", "solution", "answer", "statement", "Choice", " Statement "])
def test_names_of_the_claim(store: Store, name: str) -> None:
    csv_import(store, f"question,{name}\nq,c\n")
    assert store.dataset("data").examples[0].fields["claim"] == "c"


def test_a_column_of_final_answers_is_used_if_it_is_mapped(store: Store) -> None:
    text = 'question,claim,answer\nq,So A: 5,"1,000.0"\nq,none,\n'
    report = csv_import(store, text, "maths-verification", mapping={"answer": "answer"})
    assert [e.answer for e in store.dataset("data").examples] == ["1000", None]
    assert "Final answers were taken from column 'answer', not read from the claims." in report.notes


def test_mapped_columns(store: Store) -> None:
    text = "topic,frage,aussage,wahr\nt,q,c,1\n"
    mapping = {"question": "frage", "claim": "aussage", "gold": "wahr", "group": "topic"}
    report = csv_import(store, text, mapping=mapping)
    assert store.dataset("data").examples[0].group == "t"
    assert (report.gold_column, dict(report.fields)) == ("wahr", {"question": "frage", "claim": "aussage"})


def test_a_mapped_name_that_is_two_columns(store: Store) -> None:
    text = "question,Text,text (raw)\nq,It is.,It was.\n"
    assert "may be 'Text' or 'text (raw)'" in refusal(store, text, mapping={"claim": "TEXT"})
    csv_import(store, text, mapping={"claim": "Text"})


def test_impossible_mappings(store: Store) -> None:
    text = "question,claim,x\nq,c,1\n"
    with pytest.raises(SettingError, match="field 'colour' does not exist"):
        csv_import(store, text, mapping={"colour": "x"})
    with pytest.raises(SettingError, match="mapped to both"):
        csv_import(store, text, mapping={"claim": "x", "gold": "x"})
    assert "column 'y', mapped to gold, is not in the file" in refusal(store, text, mapping={"gold": "y"})
    assert "--map claim=COLUMN" in refusal(store, text, mapping={"claim": ""})


def test_author_without_queries_loses_the_query_line(store: Store) -> None:
    csv_import(store, "post_a,post_b\nhi,ho\n", "author")
    dataset = store.dataset("data")
    assert render(dataset.task, dataset.examples[0]).startswith("Response A: hi\nResponse B: ho\nClaim: Response A was")


def test_a_group_is_the_column_else_the_question(store: Store) -> None:
    csv_import(store, "question,claim\nq,c\nq,d\nr,c\n", rule="exactly-one")
    assert [e.group for e in store.dataset("data").examples] == ["q", "q", "r"]


# -- ids


def test_ids_are_hashes_of_the_texts_alone(store: Store) -> None:
    csv_import(store, "question,claim,note\nq,c,1\nq,d,2\nq,c,3\n", name="a")
    csv_import(store, "note,claim,question\n9,d,q\n8,c,q\n", name="b")
    a, b = ([e.id for e in store.dataset(name).examples] for name in "ab")
    assert a == [b[1], b[0], f"{b[1]}#2"]


def test_ids_of_a_column(store: Store) -> None:
    csv_import(store, "id,question,claim\nx,q,c\ny,q,d\n")
    assert [e.id for e in store.dataset("data").examples] == ["x", "y"]


def test_an_id_twice_names_both_rows(store: Store) -> None:
    message = refusal(store, "id,question,claim\nx,q,c\ny,q,d\nx,r,c\n")
    assert "row 1 (line 2) and row 3 (line 4)" in message
    assert "--map id=" in message


# -- what a file may look like


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_byte_order_mark(store: Store, newline: str, mark: bytes) -> None:
    content = mark + newline.join(["question,claim", 'q,"a, ""b"" é"', ""]).encode()
    import_file(store, "d.csv", "truthfulness", content=content)
    assert store.dataset("d").examples[0].fields["claim"] == 'a, "b" é'


def test_a_cell_of_a_megabyte(store: Store) -> None:
    csv_import(store, f"question,claim\nq,{'long ' * 200_000}\n")
    assert len(store.dataset("data").examples[0].fields["claim"]) == 1_000_000


def test_numbers_and_truth_values_become_text_as_they_are_written(store: Store) -> None:
    import_file(
        store,
        "d.json",
        "truthfulness",
        content=b'[{"question": 1.10, "claim": true, "x": 12345678901234567890}]',
    )
    assert store.dataset("d").inputs == ({"question": "1.10", "claim": "True", "x": "12345678901234567890"},)


def test_keys_missing_in_some_rows_are_empty_cells(store: Store) -> None:
    json_import(store, [{"question": "q", "claim": "c"}, {"question": "q", "claim": "d", "seen": 1}])
    assert [row["seen"] for row in store.dataset("data").inputs] == ["", "1"]
