"""A look before an import: the guess, the prompts as the model sees them, and the problem beside the form."""

import json

import pytest

from icm_engine.core.errors import ImportRefused, SettingError
from icm_engine.core.labeling import Labeling
from icm_engine.core.prompting import query_prompt
from icm_engine.data.import_plan import preview
from icm_engine.data.importing import import_file
from icm_engine.store.store import Store
from tests.support.data_files import CLAIMS, PAIRS

CONTENT = json.dumps(CLAIMS).encode()


def test_three_prompts_exactly_as_the_model_sees_them() -> None:
    found = preview("d.json", content=CONTENT)
    assert (found.task, found.problem, len(found.prompts)) == ("truthfulness", None, 3)
    assert found.prompts[2] == (
        "Question: Can sharks get cancer?\nClaim: No, they can't.\nI think this claim is True\n\n"
        "Question: Can sharks get cancer?\nClaim: Yes.\nI think this claim is False\n\n"
        "Question: Where is Walt?\nClaim: In Hollywood.\nI think this claim is"
    )


def test_the_prompts_are_those_of_the_imported_data_set(store: Store) -> None:
    found = preview("d.csv", content=PAIRS.encode())
    import_file(store, "d.csv", "preference", content=PAIRS.encode())
    dataset = store.dataset("d")
    shown = Labeling({0: "True", 1: "False", 2: "True"})
    assert found.prompts == tuple(query_prompt(dataset.task, dataset.examples, shown, i).text for i in range(3))
    assert "yes" not in "".join(found.prompts)  # gold


def test_a_mapping_that_does_not_fit_is_a_problem_and_no_error() -> None:
    other = b"frage,aussage\nq,c\n"
    found = preview("d.csv", content=other, task="truthfulness")
    assert found.prompts == ()
    assert "needs a column question" in str(found.problem)
    fits = preview("d.csv", content=other, task="truthfulness", mapping={"question": "frage", "claim": "aussage"})
    assert (fits.problem, fits.prompts) == (None, ("Question: q\nClaim: c\nI think this claim is",))
    for wish in ({"rule": "magic"}, {"mapping": {"question": "frage", "claim": "frage"}}, {"labels": ("a", "b")}):
        assert preview("d.csv", content=b"question,claim\nq,c\n", task="truthfulness", **wish).problem


def test_labels_that_must_be_named() -> None:
    rows = b"text,label\nx,Good\ny,bad\n"
    found = preview("d.csv", content=rows)
    assert found.task == "classification"
    assert "column 'label' has: Good, bad" in str(found.problem)
    named = preview("d.csv", content=rows, labels=["good", "bad"])
    assert named.prompts[1].endswith("category of this text is good\n\nText: y\nI think the category of this text is")
    wrong = preview("d.csv", content=rows, labels=["good", "awful"])
    assert "row 2 (line 3), column 'label' has the value 'bad'" in str(wrong.problem)


def test_what_cannot_be_read_is_an_error() -> None:
    with pytest.raises(ImportRefused, match="no rows"):
        preview("d.csv", content=b"question,claim\n")
    with pytest.raises(SettingError, match="task 'magic' does not exist"):
        preview("d.csv", content=b"question,claim\nq,c\n", task="magic")
    assert preview("d.csv", content=b"x,y\n1,2\n").task is None
