"""The rule check: what a rule ties together, how often gold breaks it, and rules in files of the user's own."""

import json
import re
from pathlib import Path

import pytest

from icm_engine.analysis.datasets import CONSTANTS, rule_sentences
from icm_engine.cli.main import main
from icm_engine.core.custom_rules import load_rule, make_rule, rule_reference, rule_title
from icm_engine.core.errors import ImportRefused, SettingError
from icm_engine.core.settings import SearchConfig
from icm_engine.data import rule_check
from icm_engine.data.importing import import_file
from icm_engine.data.rule_check import check_rule
from icm_engine.runs import control, worker
from icm_engine.runs.verify import verify
from icm_engine.store.events import RunSpec
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store
from tests.support.data_files import csv_import
from tests.support.paths import ROOT

CLAIMS = "question,claim,label\n" + "".join(
    f"q{k // 3},claim {k},{gold}\n" for k, gold in enumerate(["1", "1", "0", "0", "0", "0", "1", "", "1"])
)
DOCUMENT = (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
(OWN,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)


def test_gold_against_exclusive(store: Store) -> None:
    """Three groups of three: TTF breaks one of three pairs, FFF none, T?T its only pair with gold."""
    csv_import(store, CLAIMS)
    found = check_rule(store, "data", "exclusive")
    assert (found.examples, found.groups, found.pairs, found.constraints) == (9, 3, 9, 9)
    assert (found.gold_pairs, found.gold_violated) == (3 + 3 + 1, 1 + 0 + 1)
    assert (found.gold_groups, found.gold_groups_violated) == (3, 2)


def test_gold_against_exactly_one_and_none(store: Store) -> None:
    """FFF breaks all three of its pairs, too."""
    csv_import(store, CLAIMS)
    found = check_rule(store, "data", "exactly-one")
    assert (found.gold_pairs, found.gold_violated, found.gold_groups_violated) == (7, 5, 3)
    own = check_rule(store, "data")
    assert (own.rule, own.groups, own.pairs, own.gold_pairs) == ("none", 0, 0, 0)


def test_answers_that_were_not_found(store: Store) -> None:
    rows = "id,question,claim,label\na,q,A: 4,1\nb,q,A: 4,0\nc,q,four,1\nd,r,A: 4,1\n"
    csv_import(store, rows, "maths-verification")
    found = check_rule(store, "data")
    assert (found.without_answer_count, found.without_answer) == (1, ("c",))
    assert (found.groups, found.pairs, found.gold_pairs, found.gold_violated) == (1, 1, 1, 1)  # a and b differ


def test_no_gold_is_no_number(store: Store) -> None:
    csv_import(store, CLAIMS, mapping={"gold": ""})
    found = check_rule(store, "data", "exclusive")
    assert (found.pairs, found.gold_pairs, found.gold_groups) == (9, 0, 0)


def test_a_group_too_large_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule_check, "LARGEST_GROUP", 2)
    csv_import(store, CLAIMS)
    found = check_rule(store, "data", "exclusive")
    assert (found.gold_groups_unchecked, found.gold_pairs, found.pairs) == (3, 0, 9)


def test_a_rule_that_ties_nothing_holds_back_no_constant(store: Store) -> None:
    csv_import(store, CLAIMS)
    assert CONSTANTS in rule_sentences(check_rule(store, "data"))
    assert CONSTANTS in rule_sentences(check_rule(store, "data", "same-answer"))  # no claim has an answer
    assert CONSTANTS not in rule_sentences(check_rule(store, "data", "exclusive"))


def test_the_command(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    csv_import(store, CLAIMS)
    assert main(["check", "data", "--rule", "exclusive", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["pairs"], found["gold_violated"], found["gold_groups_violated"], found["without_answer"]) == (
        9,
        2,
        2,
        0,
    )
    assert main(["check", "data", "--rule", "exclusive"]) == 0
    assert "Gold itself violates the rule in 2 of 7 pairs (28.6%), in 2 of 3 groups" in capsys.readouterr().out
    assert main(["check", "data", "--rule", "magic"]) == 1
    assert "rule 'magic' does not exist" in capsys.readouterr().err


# -- rules of the user's own


@pytest.fixture
def rule_file(tmp_path: Path) -> Path:
    path = tmp_path / "same_label.py"
    path.write_text(OWN)
    return path


def test_the_documented_rule(store: Store, rule_file: Path) -> None:
    csv_import(store, CLAIMS)
    found = check_rule(store, "data", rule_reference(rule_file))
    assert (found.rule, found.pairs, found.gold_violated) == ("same_label", 9, 2)  # TTF: two pairs differ


def test_a_run_keeps_the_file_s_hash_and_refuses_a_changed_one(store: Store, rule_file: Path) -> None:
    import_file(store, "data.csv", "truthfulness", rule=rule_reference(rule_file), content=CLAIMS.encode())
    assert re.fullmatch(r".*same_label\.py#sha256=[0-9a-f]{64}", store.dataset_info("data").task.rule)
    run = control.create_run(store, RunSpec("data", "fake", search=SearchConfig(max_steps=20, seed=1)))
    store.send(run, "start", "a")
    assert worker.main(["--db", str(store.path), run]) == 0
    assert verify(store, open_run(store, run)) == (20, [])
    assert open_run(store, run).rule_name == "same_label.py"

    more = control.create_run(store, RunSpec("data", "fake", search=SearchConfig(max_steps=20)))
    rule_file.write_text(OWN + "\n# another word\n")
    with pytest.raises(SettingError, match="has changed: its sha256 is"):
        control.create_run(store, RunSpec("data", "fake"))
    store.send(more, "start", "b")
    assert worker.main(["--db", str(store.path), more]) == 1
    assert "has changed" in control.status(store, more).message
    assert open_run(store, more).rule_name == "same_label.py"  # a page still shows the run


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", "defines 0 rules"),
        (OWN + OWN.replace("SameLabel", "Other"), "defines 2 rules"),
        ("import nothing_of_that_name", "failed (ModuleNotFoundError"),
        ("def (", "failed (SyntaxError"),
        (OWN.replace("return example.group", "return example.groups"), "correct its key()"),
        (OWN.replace("return example.group", "return 7"), "the key 7: return a text or None"),
    ],
)
def test_a_file_that_is_no_rule(store: Store, rule_file: Path, text: str, said: str) -> None:
    csv_import(store, CLAIMS)
    rule_file.write_text(text)
    with pytest.raises(SettingError) as caught:
        check_rule(store, "data", rule_reference(rule_file))
    assert said in str(caught.value)


def test_only_the_command_line_takes_a_file(store: Store, rule_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a page or an upload could say is a name: a path is not one."""
    with pytest.raises(SettingError, match="does not exist"):
        csv_import(store, CLAIMS, rule=str(rule_file))
    with pytest.raises(SettingError, match="does not exist"):
        make_rule(str(rule_file), (), ("True", "False"), "True")
    with pytest.raises(SettingError, match="not a rule file"):
        load_rule(str(rule_file))
    data = rule_file.with_name("d.csv")
    data.write_text(CLAIMS)
    assert main(["import", str(data), "--task", "truthfulness", "--rule", str(rule_file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["constraints"] == 9
    with pytest.raises(ImportRefused, match="is not one of"):
        import_file(store, rule_file, "truthfulness")


def test_the_name_of_a_rule_file_is_shown_without_running_it(tmp_path: Path) -> None:
    assert rule_title(f"{tmp_path}/gone.py#sha256={'0' * 64}") == "gone.py"
    assert rule_title("asymmetry") == "asymmetry"
    with pytest.raises(SettingError, match="cannot be read"):
        load_rule(f"{tmp_path}/gone.py#sha256={'0' * 64}")
