"""Any values at all in the columns of files of other shapes: an import, or the project's own error."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from icm_engine.core.errors import IcmError
from icm_engine.core.prompting import render
from icm_engine.data.importing import import_file
from icm_engine.store.store import Store

NAMES = (
    "question", "prompt", "chosen", "rejected", "Best Answer", "correct_answers", "incorrect_answers", "mc1_targets",
    "choices", "answer", "A", "B", "conversation_a", "conversation_b", "winner", "winner_model_a", "winner_model_b",
    "response_0", "response_1", "better_response_id", "score_chosen", "score_rejected", "id",
)  # fmt: skip
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    st.sampled_from(
        ["a; b", "['a' 'b']", "\n\nHuman: x\n\nAssistant: y", "[", "{}", "tie", "A", "1", '[{"role": "user"}]']
    ),
)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": TEXTS}), max_size=3
)
VALUES = st.one_of(
    TEXTS, st.none(), st.integers(-1, 3), st.booleans(), st.lists(TEXTS, max_size=3), MESSAGES,
    st.fixed_dictionaries({"choices": st.lists(TEXTS, max_size=2), "labels": st.lists(st.integers(0, 2), max_size=2)}),
    st.fixed_dictionaries({"text": st.lists(TEXTS, max_size=2), "label": st.lists(TEXTS, max_size=2)}),
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.dictionaries(st.sampled_from(NAMES), VALUES, min_size=2, max_size=6), min_size=1, max_size=3),
    task=st.sampled_from(["preference", "truthfulness", "maths-verification"]),
    ties=st.sampled_from(["refuse", "drop", "keep"]),
)
def test_any_values_import_or_are_refused(store: Store, rows: list[dict[str, object]], task: str, ties: str) -> None:
    name = f"d{len(store.dataset_names())}"
    try:
        import_file(store, "d.json", task, name, content=json.dumps(rows).encode(), ties=ties)
    except IcmError:
        assert not store.has_dataset(name)
    else:
        dataset = store.dataset(name)
        assert dataset.examples
        assert all(render(dataset.task, example).endswith(" is") for example in dataset.examples)
