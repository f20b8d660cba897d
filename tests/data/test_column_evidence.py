"""Which column is what, where a name alone would mislead: answers, claims, gold, ties, sides, labels, groups."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from icm_engine.cli.main import main
from icm_engine.core.errors import ImportRefused, SettingError
from icm_engine.core.prompting import render
from icm_engine.data.gold import load_gold
from icm_engine.data.import_plan import preview
from icm_engine.data.importing import import_file
from icm_engine.data.rule_check import check_rule
from icm_engine.data.spellings import looks_like_labels, one_sided, plain, response_columns, side_pairs
from icm_engine.data.tasks.spec import make_task, parse_task
from icm_engine.store.store import Store
from tests.support.data_files import csv_import, json_import, refusal

# GSM8K's own layout: two answers a question, and the reference solution beside each
REFERENCE = [
    {
        "question": f"What is {n} + 1?",
        "solution": f"It is so.\nA: {n + 1 + wrong}",
        "answer": f"#### {n + 1}",
        "label": 1 - wrong,
    }
    for n in range(3)
    for wrong in (0, 1)
]


def golds(store: Store, name: str = "data") -> list[str | None]:
    """The gold of each example that is no twin, in order."""
    gold = load_gold(store, name).labels
    return [gold.get(e.id) for e in store.dataset(name).examples if e.twin_of is None]


# -- final answers


def test_a_reference_solution_never_becomes_the_rule(store: Store) -> None:
    report = json_import(store, REFERENCE, "maths-verification")
    assert [e.answer for e in store.dataset("data").examples] == ["1", "2", "2", "3", "3", "4"]
    assert any("Column 'answer' was not used as the final answer" in note for note in report.notes)
    found = check_rule(store, "data")
    assert (found.pairs, found.gold_pairs, found.gold_violated) == (3, 3, 0)


def test_a_mapped_reference_gets_warnings_with_counts(store: Store) -> None:
    report = json_import(store, REFERENCE, "maths-verification", mapping={"answer": "answer"})
    notes = " ".join(report.notes)
    assert "the same final answer for different claims in 3 of 3 groups" in notes
    assert "differs from the claim's in 3 of 6 examples" in notes
    assert check_rule(store, "data").gold_violated == 3


def test_a_mapped_column_of_labels_gets_a_warning(store: Store) -> None:
    rows = [{**row, "answer": str(row["label"] == 1)} for row in REFERENCE]
    report = json_import(store, rows, "maths-verification", mapping={"answer": "answer", "gold": "label"})
    assert any("holds labels, not final answers, in 6 of 6 examples" in note for note in report.notes)


def test_a_task_file_may_name_its_answer_column(store: Store, tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text(
        'template = "{question} {claim}:"\nrule = "same-answer"\n[columns]\nanswer = ["final"]\n'
    )
    csv_import(store, "question,claim,final\nq,It is 5,6\n", str(tmp_path / "t.toml"))
    assert [e.answer for e in store.dataset("data").examples] == ["6"]


def test_a_group_of_truth_words_never_becomes_the_rule(store: Store) -> None:
    text = "question,claim,group\nq,It is.,true\nq,It is not.,false\n"
    report = csv_import(store, text, rule="exclusive")
    assert report.groups == 1
    assert any("'group' was not used as group" in note for note in report.notes)
    assert store.dataset("data").columns == ("question", "claim")


# -- claims


@pytest.mark.parametrize(
    ("cells", "gold"),
    [(["True", "False"], ["True", "False"]), (["yes", "no"], ["True", "False"]), (["0", "1"], ["False", "True"]),
     (["A", "B"], [None, None])],
)  # fmt: skip
def test_labels_are_no_claims(store: Store, cells: Sequence[str], gold: Sequence[str]) -> None:
    text = f"question,statement,choice\nq,It is so.,{cells[0]}\nq,It is not.,{cells[1]}\n"
    report = csv_import(store, text)
    assert dict(report.fields) == {"question": "question", "claim": "statement"}
    assert golds(store) == gold
    assert any("'choice' are labels, not claims" in note for note in report.notes) == (gold[0] is not None)


@pytest.mark.parametrize("name", ["answer", "choice", "claim"])
def test_a_file_without_claims_asks_for_them(store: Store, name: str) -> None:
    assert f"--map claim=COLUMN, --map claim={name}" in refusal(store, f"question,{name}\nq,True\nq,False\n")
    csv_import(store, f"question,{name}\nq,True\nq,False\n", mapping={"claim": name})
    assert [e.fields["claim"] for e in store.dataset("data").examples] == ["True", "False"]


def test_of_two_texts_the_one_taken_is_said(store: Store) -> None:
    report = csv_import(store, "question,answer,statement\nq,a reference,It is.\nq,a reference,It is not.\n")
    assert report.fields["claim"] == "statement"
    assert "Column 'statement' was taken as the claim, not 'answer' (--map claim=COLUMN)." in report.notes


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        ("Question (English),Claim [text],Is Correct?", ["Question (English)", "Claim [text]"]),
        ("QUESTION , the claim,isCorrect", ["QUESTION ", " the claim"]),
        ("prompt,completion,label", ["prompt", "completion"]),
    ],
)
def test_headers_as_people_write_them(store: Store, header: str, fields: list[str]) -> None:
    mapping = {"claim": "the claim"} if "the claim" in header else {}
    report = csv_import(store, f"{header}\nq,It is.,T\nq,It is not.,F\n", mapping=mapping)
    assert (list(report.fields.values()), golds(store)) == (fields, ["True", "False"])


# -- gold


@pytest.mark.parametrize(
    ("name", "cells", "gold"),
    [
        ("true_label", "T,F", "TF"), ("correct", "Y,N", "TF"), ("ground_truth", "1.0,0.0", "TF"),
        ("is_true", "right,wrong", "TF"), ("True Label", "correct,incorrect", "TF"), ("isTrue", "TRUE,FALSE", "TF"),
    ],
)  # fmt: skip
def test_names_and_spellings_of_gold(store: Store, name: str, cells: str, gold: str) -> None:
    first, second = cells.split(",")
    csv_import(store, f"question,claim,{name}\nq,It is.,{first}\nq,It is not.,{second}\n")
    assert "".join(str(label)[0] for label in golds(store)) == gold
    assert store.dataset("data").columns == ("question", "claim")


def test_a_reference_answer_is_no_gold(store: Store) -> None:
    report = csv_import(store, "question,claim,ground_truth\nq,It is 7.,7\nq,It is 8.,7\n")
    assert report.gold_column is None


@pytest.mark.parametrize(
    ("header", "cells", "gold"),
    [
        ("response_a,response_b,winner", ["model_a", "model_b"], ["True", "False"]),
        ("response_a,response_b,winner", ["Response A", "response b"], ["True", "False"]),
        ("response_a,response_b,preference", ["0", "1"], ["True", "False"]),
        ("response_a,response_b,preference", ["1", "2"], ["True", "False"]),
        ("response_a,response_b,label", ["1", "0"], ["True", "False"]),
        ("response_a,response_b,a_is_better", ["1", "0"], ["True", "False"]),
        ("response_0,response_1,better_response_id", ["1", "1"], ["False", "False"]),
        ("response_1,response_2,better_response_id", ["1", "1"], ["True", "True"]),
        ("answer_1,answer_2,winner", ["answer_1", "answer_2"], ["True", "False"]),
        ("response_a,response_b,preferred_response", ["one", "four"], ["True", "False"]),  # the text itself
    ],
)
def test_which_response_gold_prefers(store: Store, header: str, cells: list[str], gold: list[str]) -> None:
    csv_import(store, f"prompt,{header}\nq,one,two,{cells[0]}\nr,three,four,{cells[1]}\n", "preference")
    assert golds(store) == gold


def test_a_winner_may_be_the_name_of_a_model(store: Store) -> None:
    text = (
        "prompt,model_a,response_a,model_b,response_b,winner\nq,gpt,one,llama,two,llama\nr,llama,three,gpt,four,llama\n"
    )
    csv_import(store, text, "preference")
    assert golds(store) == ["False", "True"]


def test_numbers_that_may_mean_the_opposite_show_two_examples(store: Store) -> None:
    text = "prompt,response_a,response_b,label\nq,one,two,1\nr,three,four,0\n"
    (note,) = [n for n in csv_import(store, text, "preference").notes if "read like this" in n]
    assert "row 1 (line 2) has '1': A, 'one' is taken as better than 'two'" in note
    assert "row 2 (line 3) has '0': B, 'four' is taken as better than 'three'" in note
    csv_import(store, text, "preference", name="turned", first="0")
    assert golds(store, "turned") == ["False", "True"]


def test_ones_alone_say_nothing(store: Store) -> None:
    text = "prompt,response_a,response_b,preference\nq,one,two,1\n"
    assert "--first-wins 1 or --first-wins 0" in refusal(store, text, "preference")
    csv_import(store, text, "preference", first="1")
    assert golds(store) == ["True"]
    with pytest.raises(SettingError, match="no column is gold"):
        csv_import(store, "prompt,response_a,response_b\nq,one,two\n", "preference", name="none", first="1")
    with pytest.raises(ImportRefused, match="column 'label' has 1, 2 beside '0'"):
        csv_import(store, "response_a,response_b,label\na,b,1\nc,d,2\n", "preference", name="three", first="0")
    with pytest.raises(SettingError, match="has no pairs"):
        csv_import(store, "question,claim\nq,It is.\n", name="other", first="1")


TIES = "prompt,response_a,response_b,winner\nq,one,two,model_a\nr,three,four,tie\ns,five,six,tie (bothbad)\n"


def test_ties_are_refused_left_out_or_kept(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        "row 2 (line 3), column 'winner' has the value 'tie', a tie: leave such rows out (--ties drop), or"
        in refusal(store, TIES, "preference")
    )
    path = tmp_path / "arena.csv"
    path.write_text(TIES)
    assert main(["import", str(path), "--task", "preference", "--ties", "drop", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["examples"] == 2
    assert "Left out, since their gold is a tie: 2 rows." in made["notes"]
    assert csv_import(store, TIES, "preference", name="kept", ties="keep").examples == 6
    assert golds(store, "kept") == ["True", None, None]
    with pytest.raises(ImportRefused, match="the gold of all 1 is a tie: nothing was imported"):
        csv_import(store, "response_a,response_b,winner\na,b,tie\n", "preference", name="all", ties="drop")
    with pytest.raises(SettingError, match="use one of refuse, drop, keep"):
        csv_import(store, TIES, "preference", name="odd", ties="odd")


# -- what a twin carries


def test_columns_of_one_side_change_places_in_the_twin(store: Store) -> None:
    text = (
        "prompt,model_a,response_a,model_b,response_b,score_0,score_1,chosen_by,rejected_by,tokens_a,turn,a_is_better\n"
        "Name a river.,alpha,The Rhine.,beta,I cannot.,9,1,x,y,4,2,1\n"
    )
    csv_import(store, text, "preference")
    assert store.dataset("data").inputs[1] == {
        "prompt": "Name a river.", "model_a": "beta", "response_a": "I cannot.", "model_b": "alpha",
        "response_b": "The Rhine.", "score_0": "1", "score_1": "9", "chosen_by": "y", "rejected_by": "x",
        "tokens_a": "", "turn": "2",
    }  # fmt: skip


def test_names_that_tell_a_side() -> None:
    columns = [
        "is_response_0_safe",
        "is_response_1_safe",
        "ScoreA",
        "ScoreB",
        "step_0",
        "step_1",
        "step_2",
        "left",
        "right",
    ]
    assert side_pairs(columns) == (
        ("is_response_0_safe", "is_response_1_safe"),
        ("ScoreA", "ScoreB"),
        ("left", "right"),
    )
    assert side_pairs(["rank_1", "rank_2", "rank_3"]) == ()
    assert one_sided(["tokens_a", "safer_response_id", "chosen_by", "a_level", "turn", "top_1"]) == (
        "tokens_a", "safer_response_id", "chosen_by",
    )  # fmt: skip
    assert response_columns(["id", "human_ref_A", "human_ref_B", "score_A", "score_B"]) == (
        "human_ref_A",
        "human_ref_B",
    )
    assert response_columns(["id", "score_A", "score_B"]) is None


@pytest.mark.parametrize("name", ["pred", "correct", "score", "Predicted label", "score_a", "final_answer", "rating_2"])
def test_names_that_promise_labels(name: str) -> None:
    assert looks_like_labels(name)


@pytest.mark.parametrize("name", ["topic", "source", "question", "corrections", "scoreboard", "id"])
def test_names_that_do_not(name: str) -> None:
    assert not looks_like_labels(name)


@pytest.mark.parametrize(
    "header",
    [
        ["Question (English)", "[Claim]", "Is Correct?", "Question ID"],
        ["QUESTION:", " Claim ", "Label ", "Group #"],
        ["Prompt", "Answer", "GOLD_LABEL", "Group ID"],
        ["question", "claim", "Label (0/1)", "Consistency-ID"],
        ["question", "claim", "Is it correct?", "groupId"],
    ],
)
def test_each_field_is_found_by_its_header_as_people_write_it(header: list[str]) -> None:
    rows = [f"What is {n}?,It is {n}.,{n % 2},g{n // 2}" for n in range(4)]
    found = preview("d.csv", content="\n".join([",".join(header), *rows]).encode(), task="truthfulness")
    assert found.problem is None
    assert found.mapping == dict(zip(("question", "claim", "gold", "group"), header, strict=True))


def test_a_name_of_signs_alone_is_itself() -> None:
    assert [plain(name) for name in ("???", "", "(x)", "a (b) c")] == ["???", "", "x", "a_c"]


# -- optional fields that are empty

ALPACA = '''
template = """
Instruction: {instruction}
Input: {input}
Output: {output}
This output is"""
labels = ["good", "bad"]
optional = ["input"]
'''


@pytest.mark.parametrize("empty", ["", None, "  "])
def test_an_empty_optional_field_leaves_no_line(store: Store, tmp_path: Path, empty: str | None) -> None:
    (tmp_path / "alpaca.toml").write_text(ALPACA)
    rows = [
        {"instruction": "Name a colour.", "input": empty, "output": "Red.", "label": "good"},
        {"instruction": "Add them.", "input": "2 and 3", "output": "6", "label": "bad"},
    ]
    json_import(store, rows, str(tmp_path / "alpaca.toml"))
    dataset = store.dataset("data")
    assert [render(dataset.task, e) for e in dataset.examples] == [
        "Instruction: Name a colour.\nOutput: Red.\nThis output is",
        "Instruction: Add them.\nInput: 2 and 3\nOutput: 6\nThis output is",
    ]


def test_a_field_that_is_needed_may_not_be_empty(store: Store, tmp_path: Path) -> None:
    (tmp_path / "alpaca.toml").write_text(ALPACA)
    rows = [{"instruction": "", "input": "x", "output": "Red.", "label": "good"}]
    with pytest.raises(ImportRefused, match="column 'instruction' has no text"):
        json_import(store, rows, str(tmp_path / "alpaca.toml"))


@pytest.mark.parametrize(
    ("task", "header"), [("author", "query,post_a,post_b"), ("preference", "prompt,response_a,response_b")]
)
def test_an_empty_query_leaves_no_line(store: Store, task: str, header: str) -> None:
    csv_import(store, f"{header}\n,one,two\nWhat?,three,four\n", task)
    dataset = store.dataset("data")
    first, _, third, _ = [render(dataset.task, e) for e in dataset.examples]
    assert first.startswith("Response A: one\nResponse B: two\nClaim:")
    assert third.startswith("Query: What?\nResponse A: three\n")


def test_an_optional_field_has_a_line_of_its_own() -> None:
    with pytest.raises(SettingError, match=r"optional has 'b', whose line also has \{a\}: give it a line of its own"):
        parse_task("template = '{a} {b}'\noptional = ['b']", "mine", "task file mine.toml")
    spec = parse_task("template = '''{a}\n{b}'''\noptional = ['b']", "mine", "task file mine.toml")
    assert make_task(spec, fields=("a",)).template == "{a}"


# -- labels and groups


def test_a_label_with_a_comma_stands_in_quotes(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "posts.csv"
    path.write_text('text,label\ngood day,positive\nbad day,"negative, mild"\n')
    command = ["import", str(path), "--task", "classification"]
    assert main([*command, "--labels", 'positive,"negative, mild"']) == 0
    assert store.dataset("posts").task.labels == ("positive", "negative, mild")
    assert golds(store, "posts") == ["positive", "negative, mild"]
    assert main([*command, "--name", "x", "--labels", 'positive,"negative']) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert main([*command, "--name", "x"]) == 1
    assert """column 'label' has: "negative, mild", positive)""" in capsys.readouterr().err


@pytest.mark.parametrize("labels", [["good", "Good"], ["New York", "new  york"], ["a b", "ab", "c"]])
def test_labels_that_differ_by_case_or_blanks_are_refused(store: Store, labels: list[str]) -> None:
    with pytest.raises(SettingError, match="differ in case or blanks alone"):
        csv_import(store, "text\nx\n", "classification", labels=labels)


def test_groups_that_differ_by_case_or_blanks_are_pointed_out(store: Store) -> None:
    report = csv_import(store, "question,claim,label\nQ one?,A: 5,1\nQ one? ,A: 5,0\nq one?,A: 5,1\nQ two?,A: 5,1\n")
    (note,) = [note for note in report.notes if "differ in case or blanks" in note]
    assert note.startswith("1 group is written in several ways")
    assert "('Q one?', 'Q one? ', 'q one?')" in note
    assert not any(
        "differ" in note for note in csv_import(store, "question,claim\nq,It is.\nr,It is.\n", name="b").notes
    )


def test_a_preview_says_what_the_import_says(store: Store) -> None:
    content = b"question,statement,choice\nq,It is so.,True\nq,It is not.,False\n"
    found = preview("d.csv", content=content)
    report = import_file(store, "d.csv", "truthfulness", content=content)
    assert found.task == "truthfulness"
    assert dict(found.mapping) == {"question": "question", "claim": "statement", "gold": "choice"}
    assert set(found.notes) <= set(report.notes)


def test_a_mapped_answer_that_no_rule_reads_is_said(store: Store) -> None:
    report = csv_import(store, "question,claim,x\nq,It is.,5\n", mapping={"answer": "x"})
    assert "The mapped column of final answers is not used: the rule reads none." in report.notes
