"""A small random Llama for any tokenizer, here and behind a server of this process."""

from functools import lru_cache

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from icm_engine.models.loading import LoadedModel
from tests.support.fake_server import Completions


def small_model(tokenizer: PreTrainedTokenizerFast, name: str = "small") -> LoadedModel:
    """A randomly initialised Llama in float32 with this tokenizer."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=4096, initializer_range=0.2,
    )  # fmt: skip
    return LoadedModel(LlamaForCausalLM(config).eval(), tokenizer, name, "cpu", "float32", "none")


def served(loaded: LoadedModel, root: str = "/elsewhere") -> Completions:
    """A server that has this model and its tokenizer; control tokens in a text become their ids, as in vLLM."""
    tokenizer = loaded.tokenizer

    @lru_cache(maxsize=10_000)
    @torch.inference_mode()
    def log_probs(tokens: tuple[int, ...]) -> list[float]:
        logits = loaded.model(torch.tensor([tokens]), logits_to_keep=1).logits[0, -1].float()
        return list(torch.log_softmax(logits, dim=-1).tolist())

    def decode(tokens: list[int]) -> str:
        return str(tokenizer.decode(tokens, skip_special_tokens=False))

    bos = tokenizer.bos_token_id
    return Completions(
        log_probs, lambda text: list(tokenizer(text, add_special_tokens=False)["input_ids"]),
        lambda token: decode([token]), root, detokenize=decode, before=() if bos is None else (bos,),
    )  # fmt: skip
