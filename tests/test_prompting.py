"""Templates, segments, and the orders of demonstrations."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Labeling, Task
from icm_engine.core.prompting import leave_one_out_orders, leave_one_out_prompts, query_prompt, render

TASK = Task("t", "Claim: {claim}\nI think this claim is")
EXAMPLES = tuple(Example(str(i), {"claim": f"claim {i}"}, str(i)) for i in range(300))


def test_a_prompt_ends_right_before_the_label() -> None:
    prompt = query_prompt(TASK, EXAMPLES, Labeling({3: "True", 1: "False", 2: "True"}), 1)
    assert prompt.text == (
        "Claim: claim 3\nI think this claim is True\n\n"
        "Claim: claim 2\nI think this claim is True\n\n"
        "Claim: claim 1\nI think this claim is"
    )
    assert prompt.segments[0] == ("Claim: claim 3\nI think this claim is", " True", "\n\n")


def test_texts_are_never_templates() -> None:
    example = Example("x", {"claim": "{question} {claim} {0} }{"}, "x")
    assert render(TASK, example) == "Claim: {question} {claim} {0} }{\nI think this claim is"


def test_a_missing_field_is_named() -> None:
    with pytest.raises(SettingError, match=r"'x' has no field 'claim'.*map a column"):
        render(TASK, Example("x", {"text": "?"}, "x"))


@given(st.integers(0, 200))
def test_every_order_holds_every_other_example_exactly_once(n: int) -> None:
    block = tuple(range(n))
    orders = dict(leave_one_out_orders(block))
    assert set(orders) == set(block)
    for i, order in orders.items():
        assert sorted(order) == [j for j in block if j != i]


@pytest.mark.parametrize("n", [1, 2, 3, 16, 64, 100, 128, 256, 299])
def test_shared_prefixes_leave_n_log_n_demonstrations(n: int) -> None:
    """n log2 n + n where n is a power of two; else up to .0861 n more, as for every balanced binary tree."""
    prompts = leave_one_out_prompts(TASK, EXAMPLES, Labeling(dict.fromkeys(range(n), "True")))
    prefixes = {prompt.segments[:k] for prompt in prompts.values() for k in range(1, len(prompt.segments) + 1)}
    slack = 0 if n & (n - 1) == 0 else 0.0861
    assert len(prefixes) <= n * math.log2(n) + (1 + slack) * n


@given(st.integers(2, 60), st.data())
def test_a_new_or_flipped_label_moves_nobody(n: int, data: st.DataObject) -> None:
    """Without the changed example, every prompt has the same demonstrations in the same order as before."""
    before = Labeling({i: "True" for i in range(n)})
    changed = data.draw(st.integers(0, n))
    after = before.assign(changed, "False")
    old, new = (
        {
            i: [demo for demo in prompt.segments[:-1] if demo[0] != render(TASK, EXAMPLES[changed])]
            for i, prompt in leave_one_out_prompts(TASK, EXAMPLES, labeling).items()
            if i != changed
        }
        for labeling in (before, after)
    )
    assert old == new
