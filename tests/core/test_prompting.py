"""Templates, segments, and the orders of demonstrations."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Labeling, Task
from icm_engine.core.prompting import (
    leave_one_out_order,
    leave_one_out_orders,
    leave_one_out_prompts,
    query_prompt,
    render,
)

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
    assert orders == {i: leave_one_out_order(block, i) for i in block}
    assert set(orders) == set(block)
    for i, order in orders.items():
        assert sorted(order) == [j for j in block if j != i]


@pytest.mark.parametrize("n", [1, 2, 3, 16, 64, 100, 128, 256, 299])
def test_shared_prefixes_leave_n_log_n_demonstrations(n: int) -> None:
    """n log2 n + n where n is a power of two; else up to .0861 n more, as for every balanced binary tree."""
    prompts = leave_one_out_prompts(TASK, EXAMPLES, [Labeling(dict.fromkeys(range(n), "True"))])[0]
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
            for i, prompt in leave_one_out_prompts(TASK, EXAMPLES, [labeling])[0].items()
            if i != changed
        }
        for labeling in (before, after)
    )
    assert old == new


@given(st.integers(3, 40), st.data())
def test_several_labelings_share_orders_and_each_is_whole(n: int, data: st.DataObject) -> None:
    """Every prompt shows every other label of its own labeling once; examples that differ stand last."""
    labels = st.sampled_from(["True", "False"])
    before = Labeling({i: data.draw(labels) for i in range(n)})
    changed = data.draw(st.sets(st.integers(0, n), min_size=1, max_size=3))
    labelings = [before]
    for i in sorted(changed):
        labelings.append(labelings[-1].assign(i, "False" if labelings[-1].get(i) == "True" else "True"))
    for labeling, prompts in zip(labelings, leave_one_out_prompts(TASK, EXAMPLES, labelings), strict=True):
        assert set(prompts) == set(labeling)
        for i, prompt in prompts.items():
            shown = {demo[0]: demo[1].strip() for demo in prompt.segments[:-1]}
            assert len(shown) == len(prompt.segments) - 1
            assert shown == {render(TASK, EXAMPLES[j]): y for j, y in labeling.items() if j != i}
            common = [demo[0] in {render(TASK, EXAMPLES[j]) for j in changed} for demo in prompt.segments[:-1]]
            assert common == sorted(common)


def test_a_proposal_with_three_repairs_costs_less_than_half_of_five_walks() -> None:
    before = Labeling({i: "True" if i % 2 else "False" for i in range(127)})
    proposal = before.assign(127, "True")
    options = [proposal.assign(125, a).assign(126, b) for a, b in (("True", "False"), ("False", "True"))]
    labelings = [before, proposal, *options, proposal.assign(125, "False").assign(126, "False")]

    def encoded(groups: list[list[Labeling]]) -> int:
        return sum(
            len(
                {
                    prompt.segments[:k]
                    for prompts in leave_one_out_prompts(TASK, EXAMPLES, group)
                    for prompt in prompts.values()
                    for k in range(1, len(prompt.segments) + 1)
                }
            )
            for group in groups
        )

    assert encoded([labelings]) < 0.5 * encoded([[labeling] for labeling in labelings])
