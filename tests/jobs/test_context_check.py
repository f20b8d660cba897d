"""The context check: its arithmetic by hand, and its promises kept by the scorers themselves."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icm_engine.core.batching import fitting, leave_one_out_segments, token_distribution, token_histogram
from icm_engine.core.custom_rules import make_rule
from icm_engine.core.errors import PromptTooLong, SettingError
from icm_engine.core.labeling import Example, Labeling, Task
from icm_engine.core.objective import Objective
from icm_engine.core.prompting import Prompt, leave_one_out_orders, leave_one_out_prompts
from icm_engine.core.scoring import TableScorer, agreeable_belief
from icm_engine.core.settings import ModelChoice, SearchConfig
from icm_engine.jobs import model_trials
from icm_engine.jobs.model_trials import check_context
from icm_engine.runs.worker import make_scorer, require_context
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import Json, RunSpec
from icm_engine.store.store import Store
from tests.support.held_jobs import HeldJob


class NarrowScorer(TableScorer):
    """The fake with a context of so many words."""

    def __init__(self, context: int) -> None:
        super().__init__(agreeable_belief)
        self.context = context

    def check_fits(self, prompts: Iterable[Prompt]) -> None:
        for prompt in prompts:
            if self.count_tokens([prompt])[0] > self.context:
                raise PromptTooLong("too long")

    def describe(self) -> dict[str, object]:
        return {**super().describe(), "context": self.context}


def checked(store: Store, scorer: TableScorer, limit: int | None = None) -> Json:
    return check_context(HeldJob(store, {"dataset": "claims", "limit": limit}), scorer)


def claims(store: Store, lengths: Sequence[int], group: int = 1, name: str = "claims") -> Dataset:
    """Store claims of so many words, so many to a group."""
    examples = tuple(
        Example(f"e{k}", {"text": " ".join(["word"] * length)}, f"g{k // group}") for k, length in enumerate(lengths)
    )
    dataset = Dataset(
        name, Task("t", "{text} is", rule="exclusive", fields=("text",)), examples, tuple({} for _ in examples)
    )
    store.add_dataset(dataset)
    return dataset


# -- the arithmetic


def test_a_distribution_by_hand() -> None:
    found = token_distribution([5, 1, 9, 2, 3])
    assert (found.min, found.median, found.mean, found.max) == (1, 3, 4.0, 9)
    assert token_distribution(range(1, 101)).p95 == 95


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=200), st.integers(1, 40))
def test_a_histogram_counts_every_size_once(sizes: list[int], bars: int) -> None:
    found = token_histogram(sizes, bars)
    assert len(found) <= bars
    assert sum(bar.count for bar in found) == len(sizes)
    for bar in found:
        assert bar.count == sum(bar.low <= size <= bar.high for size in sizes)
    assert all(later.low == bar.high + 1 for bar, later in pairwise(found))


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(0, 400))
def test_what_fits_fits_and_one_more_does_not(sizes: list[int], room: int) -> None:
    count = fitting(sizes, room)
    assert sum(sizes[:count]) <= room
    assert count == len(sizes) or sum(sizes[: count + 1]) > room


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 8, 37, 64, 100])
def test_segments_are_those_of_the_real_orders(n: int) -> None:
    """Distinct prefixes of demonstrations, and the n queries, counted one by one."""
    orders = dict(leave_one_out_orders(tuple(range(n))))
    prefixes = {order[:k] for order in orders.values() for k in range(1, len(order) + 1)}
    assert leave_one_out_segments(n) == len(prefixes) + n
    if n and math.log2(n).is_integer():
        assert leave_one_out_segments(n) == n * math.log2(n) + n


# -- the check


def test_a_small_data_set_by_hand(store: Store) -> None:
    """Texts of 3, 3, 3 and 8 words, with "is" and the label: demonstrations of 5, 5, 5 and 10 words."""
    claims(store, [3, 3, 3, 8], group=2)
    found = checked(store, NarrowScorer(24))
    assert found["tokens"] == {"min": 5, "median": 5.0, "mean": 6.25, "p95": 10, "max": 10}
    assert found["longest"][0] == {"example": "e3", "tokens": 10}
    # 24 words: three of 6.25 by the mean, and of the longest first 10 + 5 = 15, 20, then 25 is too much
    assert found["fits"] == {"by_mean": 3, "whichever": 3}
    # in order 5 + 5 + 5 = 15 fit and 25 do not: three examples, of which whole groups are two
    assert found["batch"] == 2
    evaluation = found["evaluation"]
    assert (evaluation["prompts"], evaluation["segments"]) == (2, 4)
    assert evaluation["tokens_full"] == 2 * (5 + 4)  # a demonstration, and a query up to its label
    assert evaluation["seconds"] > 0
    assert "model" in found["model"]


def test_without_a_known_context_everything_fits(store: Store) -> None:
    claims(store, [4] * 20)
    found = checked(store, TableScorer(agreeable_belief))
    assert (found["context"], found["fits"], found["batch"]) == (None, None, 20)


def test_a_limit_is_the_prefix_that_a_run_would_take(store: Store) -> None:
    claims(store, [4] * 9, group=3)
    scorer = TableScorer(agreeable_belief)
    assert checked(store, scorer, 8)["examples"] == 6
    with pytest.raises(SettingError, match="limit 2 leaves no whole group of data set 'claims'"):
        checked(store, scorer, 2)


def test_nothing_fits_a_context_that_is_too_short(store: Store) -> None:
    claims(store, [30, 30])
    found = checked(store, NarrowScorer(20))
    assert (found["fits"]["whichever"], found["batch"], found["evaluation"]) == (0, 0, None)


def test_many_examples_are_sampled_with_a_seed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_trials, "SAMPLE", 50)
    monkeypatch.setattr(model_trials, "EXACT", 100)
    claims(store, [1 + k % 17 for k in range(600)])
    seen: list[tuple[int, int | None, str]] = []
    one, other = (
        check_context(HeldJob(store, {"dataset": "claims"}, told=lambda *now: seen.append(now)), NarrowScorer(4000))
        for _ in range(2)
    )
    assert (one["examples"], one["tokenised"], one["seed"]) == (600, 50, 0)
    assert (one["tokens"], one["longest"]) == (other["tokens"], other["longest"])
    assert one["batch"] > 100
    assert one["evaluation"]["counted"].startswith("formula")
    assert one["evaluation"]["tokens_full"] == round(one["batch"] ** 2 * one["tokens"]["mean"])
    assert (0, 50, "counting tokens") in seen


@given(lengths=st.lists(st.integers(1, 12), min_size=2, max_size=30), context=st.integers(8, 200))
def test_a_run_takes_the_batch_and_not_one_group_more(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], context: int
) -> None:
    scorer = NarrowScorer(context)
    with Store(tmp_path_factory.mktemp("fits") / "icm.db") as store:
        dataset = claims(store, lengths)
        batch = checked(store, scorer)["batch"]
    rule = make_rule("none", dataset.examples, dataset.task.labels, "True")
    spec = RunSpec("claims", "fake", search=SearchConfig(max_steps=200))
    if batch:
        require_context(Objective(dataset.examples[:batch], dataset.task, rule, scorer), spec)
    if batch < len(lengths):
        with pytest.raises(PromptTooLong):
            require_context(Objective(dataset.examples[: batch + 1], dataset.task, rule, scorer), spec)


# -- what the scorers promise


@pytest.mark.model
@pytest.mark.parametrize("encoding", ["prefix-tree", "full-prompts"])
def test_the_cost_of_prompts_is_what_scoring_them_adds_to_the_usage(encoding: str) -> None:
    scorer = make_scorer(ModelChoice("sample", "none", encoding=encoding))
    examples = [Example(f"e{k}", {"text": f"{k} + {k % 7}"}, f"g{k}") for k in range(9)]
    labeling = Labeling({k: ("True", "False")[k % 2] for k in range(9)})
    (asked,) = leave_one_out_prompts(Task("t", "{text} is", fields=("text",)), examples, [labeling])
    prompts = list(asked.values())
    foretold, before = scorer.cost(prompts), scorer.usage
    scorer.score(prompts)
    assert scorer.usage - before == foretold
    assert (foretold.tokens_encoded < foretold.tokens_full) == (encoding == "prefix-tree")


@pytest.mark.model
def test_tokens_of_a_real_model_add_up(store: Store) -> None:
    """The constant that all prompts share makes a whole prompt of its demonstrations."""
    scorer = make_scorer(ModelChoice("sample", "none"))
    dataset = claims(store, [3, 9, 4, 17, 2])
    check = model_trials._Check(store, "claims", dataset.task, range(5), scorer)
    room = check.room(dataset.examples[0])
    assert room is not None
    labeling = Labeling(dict.fromkeys(range(5), check.label))
    (asked,) = leave_one_out_prompts(dataset.task, dataset.examples, [labeling])
    context = int(str(scorer.describe()["context"]))
    expected = context - room + sum(check.sizes(dataset.examples))
    assert {*scorer.count_tokens(list(asked.values()))} == {expected}
