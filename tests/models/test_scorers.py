"""One contract for every scorer; the transformers scorer on small random models, against separate full prompts."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig

from icm_engine.core.errors import (
    DeviceMissing,
    LabelNotTokenizable,
    ModelNotUsable,
    OutOfMemory,
    PromptTooLong,
    SettingError,  # fmt: skip
)
from icm_engine.core.labeling import Labeling, Task
from icm_engine.core.prompting import Prompt, leave_one_out_prompts
from icm_engine.core.scoring import Scorer, TableScorer, agreeable_belief
from icm_engine.core.settings import ModelChoice
from icm_engine.models.loading import LoadedModel, as_memory_error, load, pick_device
from icm_engine.models.transformers_scorer import TransformersScorer
from tests.support.scorer_contract import EXAMPLES, LABELING, TASK, Contract
from tests.support.small_models import save_model, transformers_scorer

TOLERANCE = {"float32": 1e-5, "bfloat16": 0.06}  # of a log-probability; rounding alone


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A randomly initialised Llama whose labels are several tokens: every byte is one."""
    return save_model(tmp_path_factory.mktemp("llama"))


MAKERS: dict[str, Callable[[str], Scorer]] = {
    "fake": lambda _: TableScorer(agreeable_belief),
    "prefix-tree": lambda model: transformers_scorer(model, "prefix-tree"),
    "full-prompts": lambda model: transformers_scorer(model, "full-prompts"),
}


@pytest.mark.parametrize("name", MAKERS)
class TestContract(Contract):
    """What every scorer promises."""

    @pytest.fixture
    def scorer(self, name: str, llama: str) -> Scorer:
        return MAKERS[name](llama)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("labels", [("True", "False"), ("T", "F"), ("yes", "no", "perhaps")])
def test_the_tree_equals_separate_full_prompts(llama: str, dtype: str, labels: tuple[str, ...]) -> None:
    task = Task("t", TASK.template, labels=labels, true_label=labels[0])
    labeling = Labeling({i: labels[i % len(labels)] for i in range(12)})
    prompts = list(leave_one_out_prompts(task, EXAMPLES, [labeling])[0].values())
    full = transformers_scorer(llama, "full-prompts", dtype=dtype)
    wanted = full.score(prompts)
    for chunk in (30, 200, 100_000):  # a third of a segment, several, all
        tree = TransformersScorer(full.loaded, "prefix-tree", chunk_tokens=chunk)
        assert tree.encoding == "prefix-tree"
        for one, other in zip(tree.score(prompts), wanted, strict=True):
            assert one.raw == pytest.approx(other.raw, abs=TOLERANCE[dtype])
        assert tree.usage.tokens_encoded < full.usage.tokens_encoded / 2
        assert tree.usage.tokens_full == full.usage.tokens_full


def test_a_kept_prefix_is_encoded_once_and_gives_the_same_scores(llama: str) -> None:
    """Behind a kept prefix: what prompts without one give; after other prompts and a lost cache, the same digits."""
    labeling = Labeling({i: "TF"[i % 2] for i in range(12)})
    task = Task("t", TASK.template, labels=("T", "F"), true_label="T")
    plain = list(leave_one_out_prompts(task, EXAMPLES, [labeling])[0].values())
    shown = plain[0].segments[:8]
    behind = [Prompt((*shown, *plain[0].segments[8:k], plain[k].segments[-1]), task.labels) for k in (8, 9, 10)]
    kept = [replace(prompt, kept=8) for prompt in behind]
    for chunk in (50, 200, 100_000):
        scorer = TransformersScorer(transformers_scorer(llama, "prefix-tree").loaded, chunk_tokens=chunk)
        wanted = scorer.score(behind)
        whole = scorer.usage.tokens_encoded
        scorer.keep(kept[0], None)
        first = scorer.score(kept)
        assert scorer.usage.tokens_encoded == 2 * whole  # `keep` counted the prefix, `score` the rest
        for one, other in zip(first, wanted, strict=True):
            assert one.raw == pytest.approx(other.raw, abs=1e-5)
        before = scorer.usage.tokens_encoded
        assert scorer.score(kept) == first
        again = scorer.usage.tokens_encoded - before
        assert again == whole - sum(len(scorer.segment(segment)) for segment in shown) - len(scorer.beginning)
        cut = [replace(p, segments=(*p.segments[:3], *p.segments[4:]), kept=7) for p in kept]
        anew = TransformersScorer(scorer.loaded, chunk_tokens=chunk).score(cut)
        assert scorer.score(cut) == anew  # the prefix was cut, and encoded again from there
        before = scorer.usage.tokens_encoded
        scorer.keep(cut[0], kept[0])
        rest = sum(len(scorer.segment(segment)) for segment in shown[4:])
        assert scorer.usage.tokens_encoded - before > rest - chunk
        assert scorer.usage.tokens_encoded - before <= rest + chunk  # from where the call began in which they part
        scorer.score(plain)
        assert scorer.score(kept) == first  # another walk came between


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_the_tree_equals_full_prompts_on_quantized_weights(llama: str, quantization: str) -> None:
    prompts = list(leave_one_out_prompts(TASK, EXAMPLES, [LABELING])[0].values())
    tree = transformers_scorer(llama, "prefix-tree", quantization=quantization)
    full = TransformersScorer(tree.loaded, "full-prompts")
    # int8 quantizes activations by the largest of a call, so that a call's other tokens move the digits
    tolerance = {"nf4": 1e-4, "int8": 0.5}[quantization]
    for one, other in zip(tree.score(prompts), full.score(prompts), strict=True):
        assert one.raw == pytest.approx(other.raw, abs=tolerance)
    assert transformers_scorer(llama, "full-prompts").score(prompts[:1])[0].raw != pytest.approx(
        full.score(prompts[:1])[0].raw, abs=1e-4
    )  # it is quantized


# -- errors: each its own, with the value and the remedy


def test_a_prompt_that_does_not_fit_is_an_error_with_its_numbers(tmp_path: Path) -> None:
    scorer = transformers_scorer(save_model(tmp_path, max_position_embeddings=600), "prefix-tree")
    prompts = list(leave_one_out_prompts(TASK, EXAMPLES, [LABELING])[0].values())
    with pytest.raises(PromptTooLong, match=r"prompt has 840 tokens \(11 demonstrations\), the model takes 600"):
        scorer.score(prompts)


@pytest.mark.parametrize("labels", [("True", "True"), ("True", "Truer")])
def test_labels_that_cannot_be_told_apart_are_refused(llama: str, labels: tuple[str, str]) -> None:
    with pytest.raises(LabelNotTokenizable):
        transformers_scorer(llama, "full-prompts").label_tokens(labels)


def test_a_label_that_becomes_no_token_is_refused(llama: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = transformers_scorer(llama, "full-prompts")
    monkeypatch.setattr(scorer, "piece", lambda text: ())
    with pytest.raises(LabelNotTokenizable, match="becomes no token"):
        scorer.label_tokens(("True", "False"))


def test_directories_that_hold_no_causal_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotUsable, match=r"no config\.json"):
        load(ModelChoice(str(tmp_path)))
    (tmp_path / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    with pytest.raises(ModelNotUsable, match="not a causal language model"):
        load(ModelChoice(str(tmp_path)))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelNotUsable, match="cannot be loaded"):
        load(ModelChoice(str(tmp_path)))


@pytest.mark.parametrize(
    "model", ["/no/model", "~/model", "./model", "my/models/model", "model with spaces", "no.gguf"]
)
def test_a_model_directory_that_is_not_there_is_not_looked_for_on_the_hub(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AutoConfig, "from_pretrained", None)
    meant = str(Path(model).expanduser()) if model.startswith("~") else model
    with pytest.raises(ModelNotUsable, match=re.escape(f"model directory {meant!r} does not exist")):
        load(ModelChoice(model))


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(ModelNotUsable, match="is a file, but not a GGUF file: give one, or the folder"):
        load(ModelChoice(str(tmp_path / "model.safetensors")))


def test_pickled_weights_are_refused(llama: str, tmp_path: Path) -> None:
    for file in Path(llama).iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelNotUsable, match="safetensors"):
        load(ModelChoice(str(tmp_path), "none"))


def test_weights_that_are_missing_are_not_made_up(tmp_path: Path) -> None:
    save_model(tmp_path, num_hidden_layers=2)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(ModelNotUsable, match=r"no weights for 'model\.layers\.2"):
        load(ModelChoice(str(tmp_path), "none"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the GPU that the test misses")
def test_a_missing_gpu_is_named(llama: str) -> None:
    with pytest.raises(DeviceMissing, match="no CUDA GPU"):
        load(ModelChoice(llama, device="cuda"))


@pytest.mark.parametrize("available", [True, False])
@pytest.mark.parametrize("device", ["mps", "mps:0"])
def test_the_gpu_of_an_apple_computer_is_refused_with_what_to_use(
    monkeypatch: pytest.MonkeyPatch, device: str, available: bool
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: available)
    with pytest.raises(DeviceMissing, match=r"is not used.*use device cpu or auto, or serve.*llama-server"):
        load(ModelChoice("sample", "none", device=device))


def test_auto_takes_the_cpu_of_an_apple_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where torch could use its GPU: an unchecked device is never taken without being asked for."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == "cpu"


def test_unknown_settings_are_refused(llama: str) -> None:
    with pytest.raises(SettingError, match="quantization"):
        load(ModelChoice(llama, "nf3"))
    with pytest.raises(SettingError, match="dtype"):
        load(ModelChoice(llama, dtype="float8"))
    with pytest.raises(SettingError, match="encoding"):
        transformers_scorer(llama, "sideways")


@pytest.mark.parametrize(
    ("able", "dtype"),
    [
        (
            {"architecture": "x86_64", "avx2": True, "avx512_f": True, "avx512_bf16": False, "amx_bf16": False},
            "float32",
        ),
        ({"architecture": "x86_64", "avx512_bf16": True, "amx_bf16": False}, "bfloat16"),
        ({"architecture": "aarch64", "neon": True, "bf16": True}, "bfloat16"),
        ({"architecture": "aarch64", "neon": True}, "float32"),
    ],
)
def test_bfloat16_is_chosen_only_where_the_processor_computes_it(
    able: dict[str, object], dtype: str, llama: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    loaded = load(ModelChoice(llama, "none"))
    assert loaded.dtype == dtype
    assert str(loaded.model.dtype) == f"torch.{dtype}"
    assert load(ModelChoice(llama, "none", "bfloat16")).dtype == "bfloat16"  # what is asked for is not overruled


def test_out_of_memory_is_an_error_of_its_own(llama: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = transformers_scorer(llama, "prefix-tree")

    def full(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9999 bytes")

    monkeypatch.setattr(scorer.loaded.model, "forward", full)
    used = scorer.usage
    with pytest.raises(OutOfMemory, match="--limit"):
        scorer.score([Prompt((("The sky is",),), ("True", "False"))])
    assert scorer.usage == used
    assert as_memory_error(ValueError("something else"), "scoring") is None


def test_a_cache_that_does_not_fit_is_refused_before_it_is_built(llama: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = transformers_scorer(llama, "prefix-tree")
    assert scorer.loaded.cache_bytes_per_token == 2 * 3 * 2 * 16 * 4  # keys and values, layers, heads, width, float32
    monkeypatch.setattr(LoadedModel, "free_bytes", lambda self: 500_000)
    prompts = list(leave_one_out_prompts(TASK, EXAMPLES, [LABELING])[0].values())
    with pytest.raises(
        OutOfMemory, match=r"a path of 9\d\d tokens needs a cache of 0\.9 MB, 0\.5 MB are free on cpu.*--limit"
    ):
        TransformersScorer(scorer.loaded, "prefix-tree", chunk_tokens=64).score(prompts)
