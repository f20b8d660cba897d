"""Small files of the shapes that real ones have, and the shortest way to import one."""

import json

import pytest

from icm_engine.core.errors import ImportRefused
from icm_engine.data.importing import ImportReport, import_file
from icm_engine.store.store import Store

CLAIMS = [
    {"question": "Can sharks get cancer?", "choice": "No, they can't.", "label": 0, "consistency_id": 88},
    {"question": "Can sharks get cancer?", "choice": "Yes.", "label": 1, "consistency_id": 88},
    {"question": "Where is Walt?", "choice": "In Hollywood.", "label": 0, "consistency_id": 101},
]
WORKED = [
    {"question_id": 0, "question": "6 x 7?", "solution": "It is 42\nA: 42", "solver": "a", "is_correct": True},
    {"question_id": 0, "question": "6 x 7?", "solution": "Six sevens\nA: 42.0", "solver": "b", "is_correct": True},
    {"question_id": 0, "question": "6 x 7?", "solution": "So 43.\n#### 43", "solver": "a", "is_correct": False},
    {"question_id": 1, "question": "2 x 2?", "solution": "4 4 4 4 4 4", "solver": "b", "is_correct": False},
]
PAIRS = "query,response_a,response_b,a_is_better\nSum?,It is 4,It is 5,yes\nCity?,Rome,Oslo,no\n"


def csv_import(store: Store, text: str, task: str = "truthfulness", **options: object) -> ImportReport:
    return import_file(store, "data.csv", task, content=text.encode(), **options)  # type: ignore[arg-type]


def json_import(store: Store, rows: object, task: str = "truthfulness", **options: object) -> ImportReport:
    return import_file(store, "data.json", task, content=json.dumps(rows).encode(), **options)  # type: ignore[arg-type]


def refusal(store: Store, text: str, task: str = "truthfulness", **options: object) -> str:
    """The message of a refused CSV, of which nothing is left behind."""
    with pytest.raises(ImportRefused) as caught:
        csv_import(store, text, task, **options)
    assert store.dataset_names() == []
    return str(caught.value)
