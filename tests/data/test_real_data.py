"""Files that people really have, where the environment variable ICM_REAL_DATA names a folder of them."""

import json
import os
from pathlib import Path

import pytest

from icm_engine.cli.main import main
from icm_engine.store.store import Store

FOLDER = Path(os.environ.get("ICM_REAL_DATA", "/nowhere"))
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="ICM_REAL_DATA names no folder of real data sets")

FILES = {  # file: task, rows, examples, groups, constrained pairs, gold True
    "truthfulqa/train.json": ("truthfulness", 256, 64, 0, 113),
    "truthfulqa/test.json": ("truthfulness", 100, 70, 0, 43),
    "gsm8k/claims.jsonl": ("maths-verification", 5276, 1319, 7882, 2001),
    "gsm8k/preferences.csv": ("preference", 2 * 731, 731, 731, 731),  # a pair and its twin: one of them is True
}


@pytest.mark.parametrize("file", FILES)
def test_a_real_file_imports_as_it_is(store: Store, capsys: pytest.CaptureFixture[str], file: str) -> None:
    task, examples, groups, constraints, true = FILES[file]
    assert main(["import", str(FOLDER / file), "--task", task, "--name", "real", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["examples"], made["groups"], made["constraints"]) == (examples, groups, constraints)
    assert any("was set apart as gold" in note for note in made["notes"])
    query = "select count(*), sum(label = 'True') from gold where dataset = 'real'"
    assert store.db.execute(query).fetchone() == (examples, true)


def test_what_gold_says_of_the_rules(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    main(["import", str(FOLDER / "truthfulqa/train.json"), "--task", "truthfulness", "--name", "tq"])
    main(["import", str(FOLDER / "gsm8k/claims.jsonl"), "--task", "maths-verification", "--name", "gsm"])
    capsys.readouterr()
    main(["check", "tq", "--rule", "exclusive", "--json"])
    exclusive = json.loads(capsys.readouterr().out)
    assert (exclusive["gold_groups_violated"], exclusive["gold_groups"]) == (41, 64)  # two or more true answers
    main(["check", "gsm", "--json"])
    same = json.loads(capsys.readouterr().out)
    assert (same["rule"], same["without_answer"]) == ("same-answer", 11)
    assert (same["gold_pairs"], same["gold_violated"]) == (7882, 0)
