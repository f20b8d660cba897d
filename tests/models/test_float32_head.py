"""Log-probabilities in float32: the last projection and the softmax, whatever the model computes in."""

from pathlib import Path

import pytest
import torch

from icm_engine.core.prompting import Prompt, leave_one_out_prompts
from icm_engine.core.settings import ModelChoice
from icm_engine.models import transformers_scorer
from icm_engine.models.loading import LoadedModel, load
from icm_engine.models.transformers_scorer import TransformersScorer
from tests.support.scorer_contract import EXAMPLES, LABELING, TASK
from tests.support.small_models import save_model

PROMPTS = list(leave_one_out_prompts(TASK, EXAMPLES, [LABELING])[0].values())


@pytest.fixture(scope="module")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(ModelChoice(save_model(tmp_path_factory.mktemp("llama")), "none", "bfloat16", "cpu"))


def odds(scorer: TransformersScorer) -> list[float]:
    return [score.raw[0] - score.raw[1] for score in scorer.score(PROMPTS)]


def by_hand(loaded: LoadedModel, scorer: TransformersScorer, prompt: Prompt) -> list[float]:
    """Log p of each label, from the hidden states that the model gives, all else in float32."""
    before = [token for segment in scorer.segments(prompt) for token in segment]
    found = []
    for label in scorer.label_tokens(prompt.labels, prompt.lead):
        with torch.no_grad():
            hidden = loaded.model.model(torch.tensor([[*before, *label[:-1]]])).last_hidden_state[0].float()
            log_probs = torch.log_softmax(hidden @ loaded.model.lm_head.weight.float().T, dim=-1)
        places = range(len(before) - 1, len(before) - 1 + len(label))
        found.append(sum(log_probs[place, token].item() for place, token in zip(places, label, strict=True)))
    return found


def test_log_odds_lie_on_no_grid_of_bfloat16(coarse: LoadedModel) -> None:
    """Scores of the newest version lie on no grid of 1/64, and differ from those of version 1 by rounding alone."""
    old, new = TransformersScorer(coarse, "full-prompts", version=1), TransformersScorer(coarse, "full-prompts")
    assert "logits" not in old.describe()
    assert new.describe()["logits"] == "float32"
    on_grid = [(value * 64).is_integer() for value in odds(new)]
    assert not any(on_grid)
    assert odds(old) == pytest.approx(odds(new), abs=0.2)


@pytest.mark.parametrize("share", [transformers_scorer.SHARE, 0.0])  # with a copy of the weights, and block by block
def test_the_last_projection_is_that_of_the_models_weights(
    coarse: LoadedModel, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformers_scorer, "SHARE", share)
    monkeypatch.setattr(transformers_scorer, "ROWS", 7)
    scorer = TransformersScorer(coarse, "full-prompts")
    prompt = PROMPTS[0]
    # the hidden states of a longer call differ by rounding in bfloat16
    assert scorer.score([prompt])[0].raw == pytest.approx(by_hand(coarse, scorer, prompt), abs=2e-3)


def test_the_model_has_its_own_projection_again_afterwards(coarse: LoadedModel) -> None:
    scorer = TransformersScorer(coarse, "full-prompts")
    scorer.score(PROMPTS[:1])
    assert "forward" not in coarse.model.lm_head.__dict__
    assert coarse.model(torch.tensor([[1, 2]])).logits.dtype == torch.bfloat16


def test_the_trial_at_load_notices_a_wrong_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk in which no query sees the first demonstration is off by a quarter of a log-odds: it is not used."""
    loaded = load(ModelChoice("sample", "none", "bfloat16", "cpu"))
    assert TransformersScorer(loaded).encoding == "prefix-tree"
    segments = TransformersScorer.segments

    def shorter(self: TransformersScorer, prompt: Prompt) -> list[tuple[int, ...]]:
        found = segments(self, prompt)
        return found[:1] + found[2:] if self.encoding == "prefix-tree" and len(found) > 2 else found

    monkeypatch.setattr(TransformersScorer, "segments", shorter)
    spoiled = TransformersScorer(loaded)
    assert spoiled.encoding == "full-prompts"
    assert "differ" in spoiled.reason
