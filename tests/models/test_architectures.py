"""The prefix tree on families of models: it equals separate full prompts, or it is not used and the record says why."""

import importlib
from typing import Any, NamedTuple

import pytest
import torch

from icm_engine.core.errors import ModelNotUsable
from icm_engine.core.labeling import Labeling
from icm_engine.core.prompting import leave_one_out_prompts
from icm_engine.core.settings import ModelChoice
from icm_engine.models import attention
from icm_engine.models.loading import load
from icm_engine.models.transformers_scorer import TransformersScorer
from tests.support.scorer_contract import EXAMPLES, LABELING, TASK
from tests.support.small_models import byte_tokenizer

SMALL = {
    "vocab_size": 320, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 2048, "initializer_range": 0.1, "pad_token_id": 0,
    "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
NO_KV_GROUPS = {k: v for k, v in SMALL.items() if k != "num_key_value_heads"}
GPT2 = {"vocab_size": 320, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 2048, "initializer_range": 0.1}
MAMBA = {"vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 8, "pad_token_id": 0}
OPT = {"vocab_size": 320, "hidden_size": 64, "word_embed_proj_dim": 64, "ffn_dim": 128, "num_hidden_layers": 2,
       "num_attention_heads": 4, "max_position_embeddings": 2048, "init_std": 0.1, "pad_token_id": 1}  # fmt: skip
TREE, FULL = "prefix-tree", "full-prompts"
FAMILIES: dict[str, tuple[dict[str, Any], str]] = {
    "Llama": (SMALL, TREE),
    "Qwen3": ({**SMALL, "head_dim": 16}, TREE),
    "Phi3": (SMALL, TREE),
    "GPTNeoX": (NO_KV_GROUPS, TREE),
    "GPT2": (GPT2, TREE),
    "OPT": (OPT, TREE),
    "Mistral": ({**SMALL, "sliding_window": 48}, TREE),  # a window shorter than the prompts
    "Gemma3Text": ({**SMALL, "head_dim": 16, "sliding_window": 48, "num_hidden_layers": 6}, TREE),  # hybrid layers
    "Gemma2": ({**SMALL, "head_dim": 16, "sliding_window": 48}, TREE),  # soft-capped scores
    "Mamba": (MAMBA, FULL),
}
MODEL_CLASSES = {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM"}


FIRST = Labeling(dict(list(LABELING.items())[:8]))  # prompts of several calls, longer than any window

CAPPED = {"Gemma2"}  # their scores are soft-capped, which only transformers' own attention does


class Family(NamedTuple):
    """A small random model in a folder, and how its prompts should be encoded."""

    name: str
    folder: str
    encoding: str


# In `make test` quantized models of these alone: the usual one, one with soft-capped scores, one that cannot be packed.
QUANTIZED_FIRST = {"Llama", "Gemma2", "Mamba"}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    settings, encoding = FAMILIES[request.param]
    transformers = importlib.import_module("transformers")
    torch.manual_seed(0)
    config = getattr(transformers, f"{request.param}Config")(**settings)
    model = getattr(transformers, MODEL_CLASSES.get(request.param, f"{request.param}ForCausalLM"))(config)
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return Family(request.param, str(folder), encoding)


@pytest.mark.usefixtures("our_attention")
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.1)])
def test_label_log_probs_equal_those_of_separate_prompts(family: Family, dtype: str, tolerance: float) -> None:
    tree = TransformersScorer(load(ModelChoice(family.folder, "none", dtype)), "prefix-tree", chunk_tokens=150)
    assert tree.describe()["encoding"] == family.encoding, tree.reason
    assert family.encoding == TREE or "cannot be cropped" in tree.reason or "no standard cache" in tree.reason
    ours = family.encoding == TREE and family.name not in CAPPED
    assert (tree.describe()["attention"] == attention.NAME) == ours, tree.reason
    require_equal(tree, tolerance)


@pytest.mark.parametrize(
    "family",
    [pytest.param(name, marks=() if name in QUANTIZED_FIRST else pytest.mark.slow) for name in FAMILIES],
    indirect=True, scope="module",
)  # fmt: skip
@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_quantized_models_agree_too(family: Family, quantization: str) -> None:
    loaded = load(ModelChoice(family.folder, quantization))
    if family.name == "Mamba":  # reads the weights of a layer that bitsandbytes has packed
        with pytest.raises(ModelNotUsable, match="cannot score prompts"):
            TransformersScorer(loaded)
        return
    tree = TransformersScorer(loaded, "prefix-tree", chunk_tokens=150)
    assert tree.describe()["encoding"] == family.encoding, tree.reason
    require_equal(tree, 0.1 if quantization == "nf4" else 0.2)  # int8 rounds activations by what else is in the call


def require_equal(tree: TransformersScorer, tolerance: float) -> None:
    full = TransformersScorer(tree.loaded, "full-prompts")
    prompts = list(leave_one_out_prompts(TASK, EXAMPLES, [FIRST])[0].values())
    wanted = full.score(prompts)
    for one, other in zip(tree.score(prompts), wanted, strict=True):
        assert one.raw == pytest.approx(other.raw, abs=tolerance)
    assert len({score.raw for score in wanted}) == len(prompts)  # the model does read its prompts
