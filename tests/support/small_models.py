"""A small random Llama for any tokenizer, here and behind a server of this process."""

from functools import lru_cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from icm_engine.core.settings import ModelChoice
from icm_engine.models.loading import LoadedModel, load
from icm_engine.models.transformers_scorer import TransformersScorer
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

    @lru_cache(maxsize=10_000)  # a server of llama.cpp's kind tells the text of hundreds of tokens with every answer
    def decode_one(token: int) -> str:
        return decode([token])

    bos = tokenizer.bos_token_id
    return Completions(
        log_probs, lambda text: list(tokenizer(text, add_special_tokens=False)["input_ids"]), decode_one, root,
        detokenize=decode, before=() if bos is None else (bos,),
    )  # fmt: skip


def byte_tokenizer() -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: k for k, token in enumerate(["<s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>")


def save_model(folder: Path, **settings: object) -> str:
    torch.manual_seed(0)
    config = LlamaConfig(
        **{"vocab_size": 320, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3,
           "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096,
           "initializer_range": 0.1, **settings}
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return str(folder)


def transformers_scorer(
    model: str, encoding: str, quantization: str = "none", dtype: str = "float32", device: str = "auto"
) -> TransformersScorer:
    return TransformersScorer(load(ModelChoice(model, quantization, dtype, device)), encoding)
