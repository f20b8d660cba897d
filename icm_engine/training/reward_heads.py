"""A reward model: a causal language model whose last state gives one number, with LoRA beside its weights.

What it reads is a prompt with a response up to the token that ends it, which is the last one of the row: where the
template goes on, a model that continues texts has the whole response in view.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from icm_engine.core.errors import ModelNotUsable, PromptTooLong, ScoreNotFinite
from icm_engine.core.prompting import Prompt
from icm_engine.core.responses import Form
from icm_engine.models.loading import LoadedModel
from icm_engine.models.transformers_scorer import TransformersScorer

Tokens = list[int]
AT_ONCE = 64  # responses in one call
HEAD = "score"


class Reader:
    """Prompts and responses as token ids: the same tokens as in the prompts of a search."""

    def __init__(self, loaded: LoadedModel, form: Form) -> None:
        self.form, self._loaded = form, loaded
        self._scorer = TransformersScorer(loaded, "full-prompts")

    def prompt(self, asked: str) -> Tokens:
        """Return the tokens of a prompt, with the beginning of a sequence where the model has one."""
        text = Prompt(((self.form.prompt(asked),),), ())
        return [token for segment in self._scorer.segments(text) for token in segment]

    def response(self, text: str) -> Tokens:
        """Return the tokens of a response, up to the first one in which its line has ended."""
        said = self.form.lead + text
        tokens = list(self._scorer.piece(said + self.form.after))
        for count in range(1, len(tokens) + 1):
            if len(shown := self._decode(tokens[:count])) > len(said) and "\n" in shown[len(said) :]:
                return tokens[:count]
        return tokens

    def whole(self, asked: str, response: str) -> Tokens:
        """Return both together. Raises PromptTooLong."""
        tokens = self.prompt(asked) + self.response(response)
        if len(tokens) > self._loaded.context:
            raise PromptTooLong(
                f"prompt and response have {len(tokens):,} tokens, the model takes {self._loaded.context:,}: use "
                f"shorter ones; the response begins with {response[:60]!r}"
            )
        return tokens

    def _decode(self, tokens: Sequence[int]) -> str:
        assert self._scorer.reader is not None
        return self._scorer.reader.text_of(tokens)


def with_head(loaded: LoadedModel, seed: int) -> Any:
    """Return the loaded model with a head of one number in place of its next-token head. Raises ModelNotUsable.

    The head's weights are drawn from the seed; all others are those that were loaded, shared and not copied.
    """
    config = copy.deepcopy(loaded.model.config)
    config.num_labels, config.architectures = 1, None
    if config.get_text_config().pad_token_id is None:
        config.get_text_config().pad_token_id = loaded.tokenizer.eos_token_id
    try:
        with torch.device("meta"):
            model = AutoModelForSequenceClassification.from_config(config)
        width = getattr(model, HEAD).in_features
    except (ValueError, AttributeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise ModelNotUsable(f"model {loaded.name!r} cannot become a reward model ({reason}): use another") from None
    setattr(model, model.base_model_prefix, loaded.model.base_model)
    torch.manual_seed(seed)
    head = torch.nn.Linear(width, 1, bias=False, device="cpu", dtype=torch.float32)
    torch.nn.init.normal_(head.weight, std=config.get_text_config().initializer_range)
    setattr(model, HEAD, head.to(loaded.device))
    return model


def load_rewards(loaded: LoadedModel, folder: Path) -> Any:
    """Return the reward model in a folder, on the base that it was trained from. Raises ModelNotUsable."""
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(with_head(loaded, 0), str(folder), torch_device=loaded.device).eval()
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:240]
        raise ModelNotUsable(
            f"reward model {str(folder)!r} does not go with {loaded.name!r} ({reason}): use the base it came from"
        ) from error


@torch.inference_mode()
def rewards(model: Any, rows: Sequence[Tokens]) -> list[float]:
    """Return the reward of each row of tokens, in order. Raises ScoreNotFinite."""
    found, device = list[float](), next(model.parameters()).device
    pad = model.config.get_text_config().pad_token_id
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        width = max(map(len, some))
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in some], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in some], device=device)
        found += model(input_ids=ids, attention_mask=mask).logits[:, 0].float().tolist()
    if any(value != value or abs(value) == float("inf") for value in found):
        raise ScoreNotFinite("a reward is NaN or infinite: use dtype float32, or a smaller learning_rate")
    return found
