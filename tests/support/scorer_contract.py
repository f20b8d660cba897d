"""What every scorer promises: one class of tests for all of them. A file that inherits it has a fixture `scorer`."""

import json

import pytest

from icm_engine.core.labeling import Example, Labeling, Task
from icm_engine.core.prompting import Prompt, leave_one_out_prompts
from icm_engine.core.scoring import Scorer

TASK = Task("t", "Question: {q}\nClaim: {c}\nI think this claim is")
EXAMPLES = tuple(Example(str(i), {"q": f"What is {i} + {i % 5}?", "c": f"It is {i * 2}."}, str(i)) for i in range(12))
LABELING = Labeling({i: "True" if i % 3 else "False" for i in range(12)})
PROMPTS = list(leave_one_out_prompts(TASK, EXAMPLES, [LABELING])[0].values())


class Contract:
    """What every scorer promises; `rounding` is what the same prompts may differ by when they are scored again."""

    rounding = 0.0

    def test_one_score_a_prompt_in_order_whatever_stands_beside_it(self, scorer: Scorer) -> None:
        prompts = PROMPTS[:6]
        together = scorer.score(prompts)
        apart = [scorer.score([prompt])[0] for prompt in prompts]
        assert len(together) == 6
        for one, other in zip(together, apart, strict=True):
            assert one.raw == pytest.approx(other.raw, abs=max(1e-5, self.rounding))

    def test_the_same_prompts_give_the_same_digits(self, scorer: Scorer) -> None:
        first, second = scorer.score(PROMPTS), scorer.score(PROMPTS)
        assert first == second or self.rounding
        for one, other in zip(first, second, strict=True):
            assert one.raw == pytest.approx(other.raw, abs=self.rounding)

    def test_log_probs_are_below_zero_and_their_mass_below_one(self, scorer: Scorer) -> None:
        for labels in (("True", "False"), ("red", "green", "blue")):
            (score,) = scorer.score([Prompt((("The colour is",),), labels)])
            assert len(score.raw) == len(labels)
            assert max(score.raw) < 0
            assert 0 < score.mass <= 1

    def test_usage_counts_prompts_and_tokens(self, scorer: Scorer) -> None:
        before = scorer.usage
        scorer.score([Prompt((("The sky is",),), ("True", "False"))] * 3)
        used = scorer.usage - before
        assert used.prompts == 3
        assert used.tokens_encoded > 0
        assert scorer.score([]) == []

    def test_it_says_what_it_is(self, scorer: Scorer) -> None:
        facts = dict(scorer.describe())
        assert json.loads(json.dumps(facts)) == facts
        assert facts["model"]
