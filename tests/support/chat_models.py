"""A small model with a chat template."""

from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from icm_engine.models.loading import SAMPLE_MODEL

LINES = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def save_chat_model(folder: Path, template: str | None, **settings: object) -> str:
    """A tiny random Llama that has the sample model's tokenizer, with a chat template."""
    torch.manual_seed(0)
    config = LlamaConfig(
        **{"vocab_size": 640, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
           "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048,
           "initializer_range": 0.1, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, **settings}
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(SAMPLE_MODEL)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return str(folder)
