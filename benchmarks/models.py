"""What the benchmarks run on: the sample model on sample data, or a random Llama of some size on made-up claims."""

import random
from pathlib import Path

import torch
from transformers import AutoTokenizer, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

from icm_engine.core.labeling import Example, Task
from icm_engine.core.settings import ModelChoice
from icm_engine.data.importing import ensure_sample_dataset
from icm_engine.models.loading import AUTO, DTYPES, SAMPLE_MODEL, LoadedModel, load, pick_device, pick_dtype
from icm_engine.store.store import Store

SIZES = {
    "random-90m": {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12},
    "width-32": {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 3, "num_attention_heads": 8},
    "width-64": {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 3, "num_attention_heads": 8},
    "width-128": {"hidden_size": 1024, "intermediate_size": 2752, "num_hidden_layers": 3, "num_attention_heads": 8},
    "random-8b": {
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128256,
    },
}  # fmt: skip
CLAIM = Task("claims", "{text}\nI think this claim is")
WORDS = "one two three four five six seven eight nine ten moon star rain wind cloud snow dog cat horse sheep".split()


def load_any(name: str, quantization: str, dtype: str) -> LoadedModel:
    """Load a model for use, or make a random one of a size in SIZES (its speed is that of a trained one)."""
    if name not in SIZES:
        return load(ModelChoice(name, quantization, dtype))
    device = pick_device("auto")
    dtype = pick_dtype(device) if dtype == AUTO else dtype
    config = LlamaConfig(**{"vocab_size": 1024, "max_position_embeddings": 32768, **SIZES[name]})
    torch.manual_seed(0)
    torch.set_default_dtype(DTYPES[dtype])
    with torch.device(device):
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    if quantization != "none":
        model = _quantized(model, quantization, dtype, device)
    return LoadedModel(model.eval(), AutoTokenizer.from_pretrained(SAMPLE_MODEL), name, device, dtype, quantization)


def _quantized(model: LlamaForCausalLM, quantization: str, dtype: str, device: str) -> LlamaForCausalLM:
    """Quantize as a user's model is: on loading, from safetensors."""
    import tempfile

    four = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": DTYPES[dtype]}
    settings = BitsAndBytesConfig(**(four if quantization == "nf4" else {"load_in_8bit": True}))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return LlamaForCausalLM.from_pretrained(
            folder, quantization_config=settings, device_map={"": device}, dtype=DTYPES[dtype]
        )


def examples_for(loaded: LoadedModel, n: int, tokens: int, dataset: str, db: Path) -> tuple[Task, tuple[Example, ...]]:
    """The sample data set for the sample model; for a random one, claims whose demonstrations have `tokens` tokens."""
    if loaded.name not in SIZES:
        with Store(db) as store:
            ensure_sample_dataset(store, dataset)
            found = store.dataset(dataset, n)
        return found.task, found.examples
    rng = random.Random(0)
    return CLAIM, tuple(_claim(loaded, tokens, str(i), rng) for i in range(n))


def _claim(loaded: LoadedModel, tokens: int, name: str, rng: random.Random) -> Example:
    """Words until the demonstration has at least as many tokens as asked for."""
    text = "Claim:"
    while len(loaded.tokenizer.encode(f"{text}\nI think this claim is True\n\n", add_special_tokens=False)) < tokens:
        text += " " + rng.choice(WORDS)
    return Example(name, {"text": text}, name)
