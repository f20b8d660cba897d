"""GGUF files as models: the same scores as the same weights in a directory, and one sentence for what is not read."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gguf import GGMLQuantizationType

from icm_engine.core.errors import ModelNotUsable
from icm_engine.core.prompting import Prompt
from icm_engine.core.settings import ModelChoice
from icm_engine.models.loading import load
from icm_engine.models.transformers_scorer import TransformersScorer
from tests.support.gguf_files import gemma3, llama, llama3_factors, write

DEMOS = [(f"{k} + {k + 12} is", " True" if k % 3 else " False", "\n\n") for k in range(12)]
PROMPTS = [Prompt((*DEMOS[:k], (f"{k} + 1 is",)), ("True", "False")) for k in range(0, 12, 3)]


def scorer(model: str, quantization: str = "none", dtype: str = "float32") -> TransformersScorer:
    return TransformersScorer(load(ModelChoice(model, quantization, dtype)))


def log_probs(found: TransformersScorer) -> list[float]:
    return [value for score in found.score(PROMPTS) for value in score.raw]


def as_folder(file: Path, model: Any, folder: Path) -> str:
    """The same weights and the same tokenizer in a directory."""
    model.save_pretrained(folder)
    load(ModelChoice(str(file), "none")).tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("make", [llama, gemma3])
@pytest.mark.parametrize(("quantization", "tolerance"), [("none", 1e-4), ("nf4", 1e-4), ("int8", 0.5)])
def test_scores_are_those_of_the_same_weights_in_a_directory(
    make: Callable[[], Any], quantization: str, tolerance: float, tmp_path: Path
) -> None:
    model = make()
    file = write(tmp_path / "tiny.gguf", model)
    from_file, from_folder = (
        scorer(str(file), quantization),
        scorer(as_folder(file, model, tmp_path / "f"), quantization),
    )
    assert log_probs(from_file) == pytest.approx(log_probs(from_folder), abs=tolerance)
    assert from_file.encoding == "prefix-tree"
    assert {name for name, value in from_file.describe().items() if value != from_folder.describe().get(name)} <= {
        "model", "reason", "gguf_sha256", "gguf_architecture", "gguf_quantization"
    }  # fmt: skip


def test_its_record_says_which_file_it_was(tmp_path: Path) -> None:
    file = write(tmp_path / "tiny.gguf", llama(), GGMLQuantizationType.Q8_0, {"general.file_type": 7})
    told = scorer(str(file)).describe()
    assert told["gguf_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (told["gguf_architecture"], told["gguf_quantization"]) == ("llama", "Q8_0")
    assert (told["architecture"], told["context"], told["quantization"]) == ("LlamaForCausalLM", 2048, "none")
    assert load(ModelChoice(str(write(tmp_path / "q.gguf", llama(), GGMLQuantizationType.Q4_0)), "none")).file[
        "gguf_quantization"
    ] == "Q4_0"  # as most of its weights are, where the file does not say  # fmt: skip


@pytest.mark.parametrize(
    ("scaling", "rope"),
    [
        ({"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0},
         {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}),
        ({"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0,
          "llama.rope.scaling.original_context_length": 512},
         {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 512}),
        ({}, {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
              "high_freq_factor": 4.0, "original_max_position_embeddings": 64}),
    ],
    ids=["linear", "yarn", "llama3"],
)  # fmt: skip
def test_a_stretched_context_stays_stretched(scaling: dict[str, Any], rope: dict[str, Any], tmp_path: Path) -> None:
    model = llama(rope_parameters=rope)
    extra = {} if scaling else {"rope_freqs.weight": llama3_factors(16)}
    file = write(tmp_path / "tiny.gguf", model, facts=scaling, extra=extra)
    plain = write(tmp_path / "plain.gguf", model)
    found = log_probs(scorer(str(file)))
    assert found == pytest.approx(log_probs(scorer(as_folder(file, model, tmp_path / "f"))), abs=1e-4)
    assert found != pytest.approx(log_probs(scorer(str(plain))), abs=1e-2)


def test_gemma_texts_become_the_tokens_that_gemma_knows(tmp_path: Path) -> None:
    tokenizer = load(ModelChoice(str(write(tmp_path / "tiny.gguf", gemma3())), "none", "float32")).tokenizer
    text = "ab ab  True\n\nFalse é\n"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == [
        "ab", "▁ab", "▁▁", "T", "r", "u", "e", "\n\n", "F", "a", "l", "s", "e", "▁", "<0xC3>", "<0xA9>", "\n"
    ]  # fmt: skip
    assert tokenizer.decode(ids) == text
    assert tokenizer("ab")["input_ids"] == [2, ids[0]]  # the beginning, and no space before the text
    assert tokenizer.convert_ids_to_tokens(tokenizer(" True", add_special_tokens=False)["input_ids"]) == ["▁True"]


def test_digits_are_split_where_the_vocabulary_was_learned_so(tmp_path: Path) -> None:
    tokenizer = load(ModelChoice(str(write(tmp_path / "tiny.gguf", llama())), "none", "float32")).tokenizer
    assert tokenizer.convert_ids_to_tokens(tokenizer("12", add_special_tokens=False)["input_ids"]) == ["1", "2"]


# -- what is refused


def cut(file: Path, size: int) -> str:
    file.write_bytes(file.read_bytes()[:size])
    return str(file)


@pytest.mark.parametrize("size", [4, 7, 20, 30, 400, 3000])
def test_a_header_that_ends_too_early_is_refused(size: int, tmp_path: Path) -> None:
    file = write(tmp_path / "tiny.gguf", llama())
    with pytest.raises(ModelNotUsable, match=r"ends within its header .*: download it again"):
        load(ModelChoice(cut(file, size)))


def test_a_file_that_is_cut_short_is_refused_with_its_sizes(tmp_path: Path) -> None:
    file = write(tmp_path / "tiny.gguf", llama())
    whole = file.stat().st_size
    with pytest.raises(ModelNotUsable, match=rf"cut short \({whole - 1000:,} of {whole:,} bytes"):
        load(ModelChoice(cut(file, whole - 1000)))


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"<html>not found</html>", "is not a GGUF file .it begins with b'<htm'"),
        (b"", "is not a GGUF file"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "is a git-LFS pointer .* `git lfs pull`",
        ),
        (b"GGUF\x01\0\0\0" + b"\0" * 64, "of GGUF version 1: use a little-endian file of version 2 or 3"),
        (b"GGUF\0\0\0\x03" + b"\0" * 64, "is big-endian"),
        (b"GGUF\x03\0\0\0" + b"\xff" * 64, "is damaged .it says that it has"),
        (b"GGUF\x03\0\0\0" + b"\0" * 64, "a GGUF file without weights"),
    ],
)
def test_what_is_no_gguf_file_is_refused(start: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(start)
    with pytest.raises(ModelNotUsable, match=words):
        load(ModelChoice(str(tmp_path / "x.gguf")))


@pytest.mark.parametrize(
    ("facts", "extra", "arch", "words"),
    [
        ({}, {}, "rwkv6", "the architecture 'rwkv6', which transformers does not read from GGUF"),
        ({"general.type": "mmproj"}, {}, None, "is an image encoder, not a model"),
        ({"split.count": 3, "split.no": 0}, {}, None, "part 1 of 3 of a split file: join the parts"),
        ({"llama.rope.scaling.type": "longrope"}, {}, None, "stretches its context .longrope."),
        ({}, {"rope_factors_long.weight": [1.0]}, None, "stretches its context .long factors."),
        (
            {},
            {"blk.0.attn_q.bias": [0.0] * 64},
            None,
            "has 107,136 weights, and transformers has places for 107,072 in a LlamaForCausalLM",
        ),
    ],
)
def test_what_would_be_another_model_is_refused(
    facts: dict[str, Any], extra: dict[str, Any], arch: str | None, words: str, tmp_path: Path
) -> None:
    file = write(tmp_path / "tiny.gguf", llama(), facts=facts, extra=extra, arch=arch)
    with pytest.raises(ModelNotUsable, match=words):
        load(ModelChoice(str(file), "none"))


def test_weights_that_lack_are_not_made_up(tmp_path: Path) -> None:
    model = llama()
    del model.model.layers[1].mlp.up_proj.weight
    with pytest.raises(ModelNotUsable, match=r"no weights for 'model\.layers\.1\.mlp\.up_proj\.weight' \(1 missing\)"):
        load(ModelChoice(str(write(tmp_path / "tiny.gguf", model)), "none"))


def test_the_package_that_reads_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "tiny.gguf", llama())
    monkeypatch.setattr("icm_engine.models.gguf_header.find_spec", lambda name: None)
    with pytest.raises(ModelNotUsable, match=r"gguf is not installed: pip install -r requirements\.txt"):
        load(ModelChoice(str(file)))


def test_a_file_is_told_by_its_beginning_not_by_its_name(tmp_path: Path) -> None:
    file = write(tmp_path / "tiny.gguf", llama())
    blob = file.rename(tmp_path / "0f1e2d3c")
    assert scorer(str(blob)).describe()["gguf_architecture"] == "llama"
