"""Tasks that people write: the examples of docs/tasks.md, and what is wrong with a file that cannot be one."""

import re
from pathlib import Path

import pytest

from icm_engine.core.errors import SettingError
from icm_engine.core.prompting import render
from icm_engine.data.gold import load_gold
from icm_engine.data.importing import import_file
from icm_engine.data.tasks import SHIPPED, TASKS, task_spec
from icm_engine.data.tasks.spec import make_task, parse_task
from icm_engine.store.store import Store
from tests.support.data_files import csv_import
from tests.support.paths import ROOT

DOCUMENT = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
ROWS = [
    ("review,gold\nfine,Positive\ndull,negative\n", ["positive", "negative"]),
    ("premise,hypothesis,entailed\np,claim one,1\np,claim two,no\n", ["yes", "no"]),
    ("response_a,response_b,gold\nold,new,A\n", ["True", "False"]),
    ("question,claim,gold\nq,So 3 and 4.,correct\nq,So 3 and 5,INCORRECT\n", ["correct", "incorrect"]),
]


@pytest.mark.parametrize(("text", "example"), list(zip(EXAMPLES, ROWS, strict=True)))
def test_the_documented_tasks_import(store: Store, tmp_path: Path, text: str, example: tuple[str, list[str]]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    rows, gold = example
    report = import_file(store, "data.csv", str(path), content=rows.encode())
    assert list(load_gold(store, "data").labels.values()) == gold
    dataset = store.dataset("data")
    assert report.task == ("entailment" if "entailment" in text else "mine")
    assert "{" not in "".join(render(dataset.task, e) for e in dataset.examples)


def test_a_missing_optional_field_takes_its_line_along(store: Store, tmp_path: Path) -> None:
    made = make_task(parse_task(EXAMPLES[1], "x", "task file x"), fields=("premise", "claim"))
    assert made.template == "Premise: {premise}\nClaim: {claim}\nThe claim follows:"


def test_answers_are_read_as_the_task_says(store: Store, tmp_path: Path) -> None:
    for k, (text, answers) in enumerate([(EXAMPLES[1], ["x", None]), (EXAMPLES[3], ["4", "2"])]):
        path = tmp_path / f"t{k}.toml"
        path.write_text(text, encoding="utf-8")
        rows = "question,premise,claim\nq,p,3 plus 4: so the answer is X\nq,p,about 2 of them\n"
        import_file(store, f"d{k}.csv", str(path), content=rows.encode())
        assert [e.answer for e in store.dataset(f"d{k}").examples] == answers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("template = ", "is not valid TOML"),
        ("summary = 'x'", "template is missing"),
        ("template = 3", "template is 3: write a text"),
        ("template = 'no field'", "template has no field"),
        ("template = '{claim} is '", "template ends in a space"),
        ("template = '{the claim} {x}'", "template has {the claim}"),
        ("template = '{answer}'", "template has {answer}, a reserved name"),
        ("template = '{x}'\nlables = ['a', 'b']", "lables is not a key of a task: use name, summary, template, labels"),
        ("template = '{x}'\nlabels = ['a']", "name two or more different ones"),
        ("template = '{x}'\nlabels = ['a', 1]", "labels is ['a', 1]"),
        ("template = '{x}'\nlabels = ['a', ' b']", "name two or more different ones"),
        ("template = '{x}'\ntrue_label = 'yes'", "true_label is 'yes': use one of the labels, True, False"),
        ("template = '{x}'\nrule = 'magic'", "rule is 'magic': use one of asymmetry"),
        ("template = '{x}'\nrule = '/tmp/rule.py'", "rule is '/tmp/rule.py': use one of"),
        ("template = '{x}'\noptional = ['y']", "optional has 'y'"),
        ("template = '{x}'\noptional = ['x']", "optional has every field"),
        ("template = '{x}'\nmakes_twins = true", "makes_twins is true: a task with twins has the fields"),
        ("template = '{x}'\nmakes_twins = 'yes'", "makes_twins is 'yes': write true or false"),
        ("template = '{x}'\nrule = 'same-answer'", "answer_field is 'claim': use a field of the template, x"),
        ("template = '{claim}'\nanswer = 'magic'", "answer is 'magic': use one of final-answer, last-number"),
        ("template = '{claim}'\nanswer_pattern = '('", "answer_pattern is '(' ("),
        ("template = '{claim}'\nanswer_pattern = 'x'", "it has 0 groups"),
        (
            "template = '{claim}'\nanswer_pattern = '(x)'\nanswer = 'last-line'",
            "answer_pattern is given together with answer",
        ),
        ("template = '{x}'\n[columns]\ny = ['z']", "columns has 'y', which is not a field: use x, group"),
        ("template = '{x}'\n[columns]\nx = [3]", "columns.x is [3]"),
        ("template = '{x}'\nname = ''", "name is ''"),
    ],
)
def test_a_file_that_cannot_be_a_task(text: str, said: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_task(text, "mine", "task file mine.toml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("task file mine.toml")


def test_files_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot be read"):
        task_spec(str(tmp_path / "none.toml"))
    (tmp_path / "latin.toml").write_bytes(b"template = '{x} \xe9'")
    with pytest.raises(SettingError, match="is not UTF-8"):
        task_spec(str(tmp_path / "latin.toml"))
    with pytest.raises(SettingError, match=r"a file \(my_task\.toml\)"):
        task_spec("magic")


def test_the_shipped_tasks_are_those_documented() -> None:
    assert tuple(TASKS) == SHIPPED
    assert {f.stem for f in Path(task_spec.__code__.co_filename).parent.glob("*.toml")} == set(SHIPPED)
    for name in SHIPPED:
        assert f"`{name}`" in DOCUMENT


@pytest.mark.parametrize("name", ["truthfulness-neutral", "preference-neutral"])
def test_neutral_words_name_no_concept(store: Store, name: str) -> None:
    spec = TASKS[name]
    assert not re.search("true|false|truth|helpful|harmless|better|right", spec.template, re.IGNORECASE)
    rows = "question,claim,response_a,response_b,gold\nq,c,a,b,yes\nq,d,c,d,0\n"
    csv_import(store, rows, name)
    labels = load_gold(store, "data").labels
    assert list(labels.values()) == (["X", "Y"] if "truth" in name else ["X", "Y", "Y", "X"])


def test_a_number_is_never_guessed_to_be_a_category(store: Store) -> None:
    with pytest.raises(Exception, match="the value '1', which is not a label"):
        csv_import(store, "text,gold\nx,1\n", "classification", labels=["negative", "positive"])
