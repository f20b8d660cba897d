"""Faults at the model edge: what a damaged, hostile or unfitting model does to a run, and what a person is told."""

import json
import math
import os
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from icm_engine.analysis.alerts import alerts
from icm_engine.analysis.views import load as load_reading
from icm_engine.core.errors import ModelNotUsable
from icm_engine.core.prompting import Prompt, demonstration
from icm_engine.core.settings import ModelChoice, SearchConfig
from icm_engine.models.loading import load
from icm_engine.models.transformers_scorer import TransformersScorer
from icm_engine.runs import control, worker
from icm_engine.runs.verify import verify
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store
from tests.support.faults import Fault
from tests.support.small_models import save_model

WEIGHTS = "model.safetensors"
KEPT = worker.make_scorer  # which keeps the last model
Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(save_model(tmp_path_factory.mktemp("llama")))


@pytest.fixture
def copy(llama: Path, tmp_path: Path) -> Path:
    """The model in a folder of its own, to be damaged."""
    return Path(shutil.copytree(llama, tmp_path / "model"))


def run_of(store: Store, pairs: Dataset, model: str, steps: int = 4) -> str:
    if not store.has_dataset("pairs"):
        store.add_dataset(pairs)
    spec = RunSpec("pairs", model, "none", "float32", "cpu", limit=16, search=SearchConfig(seed=2, max_steps=steps))
    return control.create_run(store, spec)


def work(store: Store, run: str) -> int:
    store.send(run, "start", f"start {run}")
    KEPT.cache_clear()
    return worker.main(["--db", str(store.path), run])


# -- numbers that are none


def poison(folder: Path, tensor: str, value: float, row: int | None = None) -> None:
    """Put a number into weights, all of a tensor or one row."""
    tensors = load_file(folder / WEIGHTS)
    tensors[tensor][slice(None) if row is None else row] = value
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


POISON = {
    "NaN in a layer": ("model.layers.1.mlp.up_proj.weight", math.nan, None),
    "infinity in a layer": ("model.layers.1.mlp.up_proj.weight", math.inf, None),
    "NaN for one token": ("lm_head.weight", math.nan, 40),
    "infinity for one token": ("lm_head.weight", math.inf, 40),
    "NaN in the last norm": ("model.norm.weight", math.nan, None),
    "numbers too large for float32": ("model.norm.weight", 3e38, None),
}


@pytest.mark.smoke
@pytest.mark.fault("weights with NaN or infinity in them", "one error; no label or score is made from it")
def test_scores_that_are_no_numbers(fault: Fault, llama: Path, tmp_path: Path, store: Store, pairs: Dataset) -> None:
    fault.times(len(POISON), len(POISON))
    for k, (what, (tensor, value, row)) in enumerate(POISON.items()):
        folder = Path(shutil.copytree(llama, tmp_path / f"model{k}"))
        poison(folder, tensor, value, row)
        run = run_of(store, pairs, str(folder))
        assert work(store, run) == 1, what
        assert [event.kind for event in store.read_after(run)] == ["control", "failed"], what
        failure = store.read_after(run, kinds=("failed",))[0].body
        assert failure["error"] == "ScoreNotFinite", what
        assert "a run cannot continue with these; try quantization none, or another dtype" in failure["message"]
    fault.happened = f"all {len(POISON)} kinds were refused before the first label"


def test_a_number_that_goes_wrong_later_stops_the_run(
    llama: Path, store: Store, pairs: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sound weights, and a card that begins to err: the steps before it stay, and the run goes on without it."""
    run, whole = run_of(store, pairs, str(llama)), run_of(store, pairs, str(llama))
    scorer = TransformersScorer(load(ModelChoice(str(llama), "none", "float32", "cpu")))
    monkeypatch.setattr(worker, "make_scorer", lambda spec: scorer)
    for name, steps in ((whole, 0), (run, 2)):
        store.send(name, "step" if steps else "start", name, steps)
        worker.run_in_process(store, name, idle=0.0)
    with torch.no_grad():
        good = scorer.loaded.model.lm_head.weight.clone()
        scorer.loaded.model.lm_head.weight.fill_(math.nan)
        store.send(run, "resume", "on a bad card")
        assert worker.run_in_process(store, run, idle=0.0) == 1
        assert control.status(store, run).phase == "failed"
        scorer.loaded.model.lm_head.weight.copy_(good)
    store.send(run, "resume", "on a good one")
    assert worker.run_in_process(store, run, idle=0.0) == 0
    bodies = [[e.body for e in store.read_after(name, kinds=("initial", "step"))] for name in (run, whole)]
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize("bias", [30.0, 900.0])
def test_a_model_that_puts_nothing_on_the_labels_says_so_at_once(
    bias: float, llama: Path, store: Store, pairs: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Token 0 gets all: with 900 more of logit than the others the mass of the labels is below every float's range."""
    loaded = load(ModelChoice(str(llama), "none", "float32", "cpu"))
    favoured = torch.zeros(320).index_fill(0, torch.tensor([0]), bias)
    loaded.model.lm_head.register_forward_hook(lambda module, given, logits: logits + favoured)
    scorer = TransformersScorer(loaded)
    monkeypatch.setattr(worker, "make_scorer", lambda spec: scorer)
    run = run_of(store, pairs, str(llama), steps=6)
    told = []
    append = Store.append

    def watched(self: Store, name: str, kind: str, *given: object, **named: object) -> int:
        number = append(self, name, kind, *given, **named)  # type: ignore[arg-type]
        if kind in ("initial", "step"):
            told.append([alert.text for alert in alerts(load_reading(self, name)) if alert.kind == "tiny label mass"])
        return number

    monkeypatch.setattr(Store, "append", watched)
    assert work(store, run) == 0
    assert len(told) == 7  # from the initial labels on
    share = r"less than 1e-300" if bias > 700 else r"\d\.\de-\d\d"
    said = rf"On average {share} of the probability falls on the labels: the template may not fit this model\."
    assert all(len(texts) == 1 and re.fullmatch(said, texts[0]) for texts in told)
    steps = store.read_after(run, kinds=("step",))
    assert all(math.isfinite(step.body["before"]["utility"]) for step in steps)
    assert all(0 <= step.body["label_mass"] < 1e-10 for step in steps)
    assert verify(store, open_run(store, run)) == (6, [])


# -- a tokenizer that joins


def joining_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, and " True" with the s before it, and with the line end behind it, as one token each."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("T", "r"), ("u", "e"), ("Tr", "ue"), ("Ġ", "True"), ("s", "ĠTrue"), ("Ċ", "Ċ"), ("ĠTrue", "ĊĊ"),
              ("sĠTrue", "ĊĊ")]  # fmt: skip
    words = ["<s>", *alphabet, *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE(vocab={word: k for k, word in enumerate(words)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>")


@pytest.mark.parametrize("encoding", ["prefix-tree", "full-prompts"])
def test_a_tokenizer_that_joins_a_label_with_its_neighbours(copy: Path, encoding: str) -> None:
    """Prompts are read piece by piece, so a label has tokens of its own, shown and asked for alike."""
    tokenizer = joining_tokenizer()
    tokenizer.save_pretrained(copy)
    joined = tokenizer("It is True\n\n")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(joined)[-1] == "sĠTrueĊĊ"  # it does join
    loaded = load(ModelChoice(str(copy), "none", "float32", "cpu"))
    scorer = TransformersScorer(loaded, encoding)
    prompt = Prompt((demonstration("It is", "True"), ("This is",)), ("True", "False"))
    (true,), (*false,) = scorer.label_tokens(("True", "False"))
    segments = scorer.segments(prompt)
    assert tokenizer.convert_ids_to_tokens([true]) == ["ĠTrue"]
    assert tokenizer.convert_ids_to_tokens(segments[1])[-2:] == ["ĠTrue", "ĊĊ"]
    tokens = [token for segment in segments for token in segment]
    wanted = []
    for label in ([true], false):  # by hand: log p of each token of the label after all before it
        ids = torch.tensor([[*tokens, *label]])
        with torch.inference_mode():
            logs = torch.log_softmax(loaded.model(ids).logits[0].float(), dim=-1)
        wanted.append(sum(float(logs[len(tokens) + k - 1, token]) for k, token in enumerate(label)))
    assert scorer.score([prompt])[0].raw == pytest.approx(tuple(wanted), abs=1e-5)


# -- files that are damaged


def cut(name: str, share: float) -> Damage:
    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return damage


def write(name: str, content: bytes) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return damage


def settings(**changed: object) -> Damage:
    def damage(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changed}))

    return damage


def without(*names: str) -> Damage:
    def damage(folder: Path) -> None:
        for name in names:
            (folder / name).unlink(missing_ok=True)

    return damage


DAMAGED: dict[str, Damage] = {
    "weights cut to nine tenths": cut(WEIGHTS, 0.9),
    "weights cut within their header": cut(WEIGHTS, 0.001),
    "empty weights": write(WEIGHTS, b""),
    "weights that are noise": write(WEIGHTS, os.urandom(5000)),
    "no weights": without(WEIGHTS),
    "a configuration that is no JSON": write("config.json", b"\x00\xff{"),
    "a configuration that is a list": write("config.json", b"[1, 2]"),
    "a configuration cut off": cut("config.json", 0.5),
    "a number that is a word": settings(num_hidden_layers="three"),
    "weights of another shape": settings(hidden_size=128, head_dim=32),
    "a vocabulary of another size": settings(vocab_size=512),
    "no tokenizer": without("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    "a tokenizer that is no JSON": write("tokenizer.json", b"{"),
    "a tokenizer that is another JSON": write("tokenizer.json", b'{"version": "1.0"}'),
}


@pytest.mark.fault("a model's file is damaged, missing or replaced", "refused with one error that names the model")
def test_a_damaged_checkpoint_is_refused(fault: Fault, llama: Path, tmp_path: Path) -> None:
    fault.times(len(DAMAGED), len(DAMAGED))
    for k, (what, damage) in enumerate(DAMAGED.items()):
        folder = Path(shutil.copytree(llama, tmp_path / str(k)))
        damage(folder)
        with pytest.raises(ModelNotUsable) as refused:
            load(ModelChoice(str(folder), "none", "float32", "cpu"))
        assert str(folder) in str(refused.value), what
        assert "\n" not in str(refused.value), what
    fault.happened = f"all {len(DAMAGED)} kinds were refused"


# -- files that would run


class Payload:
    """What a pickle of this does when it is read: it writes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.write_text, (self.mark, "the code was run"))


CODE = 'from pathlib import Path\nPath("{mark}").write_text("the code was run")\n'


def pickled(folder: Path, mark: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(mark)))


def remote(file: str, names: dict[str, Any], model_type: str | None = None) -> Callable[[Path, Path], None]:
    def change(folder: Path, mark: Path) -> None:
        (folder / "theirs.py").write_text(CODE.format(mark=mark))
        told = json.loads((folder / file).read_text())
        told |= {"auto_map": names} | ({"model_type": model_type} if model_type else {})
        (folder / file).write_text(json.dumps(told))

    return change


AUTO = {"AutoConfig": "theirs.Config", "AutoModelForCausalLM": "theirs.Model"}
HOSTILE: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "pickled weights": (pickled, "safetensors"),
    "code for an architecture of its own": (remote("config.json", AUTO, "theirs"), "code of its own (auto_map in conf"),
    "code beside a known architecture": (remote("config.json", AUTO), "code of its own (auto_map in config.json)"),
    "code for its tokenizer": (
        remote("tokenizer_config.json", {"AutoTokenizer": ["theirs.Tokenizer", None]}),
        "code of its own (auto_map in tokenizer_config.json)",
    ),
}


@pytest.mark.fault("a model contains a pickle or its own code", "refused, and none of it is run")
def test_what_a_model_brings_is_not_run(fault: Fault, llama: Path, tmp_path: Path) -> None:
    fault.times(len(HOSTILE), len(HOSTILE))
    mark = tmp_path / "mark"
    pickle.loads(pickle.dumps(Payload(mark)))
    assert mark.exists()  # it would
    mark.unlink()
    for k, (what, (change, said)) in enumerate(HOSTILE.items()):
        folder = Path(shutil.copytree(llama, tmp_path / str(k)))
        change(folder, mark)
        with pytest.raises(ModelNotUsable) as refused:
            load(ModelChoice(str(folder), "none", "float32", "cpu"))
        assert said in str(refused.value), what
        adapter = tmp_path / f"adapter{k}"  # and what stands on such a model
        adapter.mkdir()
        told = {"base_model_name_or_path": str(folder), "peft_type": "LORA", "task_type": "CAUSAL_LM"}
        (adapter / "adapter_config.json").write_text(json.dumps(told))
        save_file({}, adapter / "adapter_model.safetensors")
        with pytest.raises(ModelNotUsable):
            load(ModelChoice(str(adapter), "none", "float32", "cpu"))
        assert not mark.exists(), what
    fault.happened = f"{len(HOSTILE)} kinds, alone and under an adapter: refused, and no file was written by them"


def lora(folder: Path, base: Path) -> Path:
    folder.mkdir()
    told = {"base_model_name_or_path": str(base), "peft_type": "LORA", "r": 2, "target_modules": ["q_proj"],
            "task_type": "CAUSAL_LM"}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(told))
    layer = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
    tensors = {layer.format(k, "A"): torch.zeros(2, 64) for k in range(3)}
    tensors |= {layer.format(k, "B"): torch.zeros(64, 2) for k in range(3)}
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def test_an_adapter_that_is_damaged_or_pickled_is_refused(llama: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    mark = tmp_path / "mark"
    beside = lora(tmp_path / "beside", llama)
    (beside / "adapter_model.bin").write_bytes(pickle.dumps(Payload(mark)))
    assert load(ModelChoice(str(beside), "none", "float32", "cpu")).adapter["base"] == str(
        llama
    )  # safetensors alone are read
    for k, damage in enumerate((cut("adapter_model.safetensors", 0.9), write("adapter_model.safetensors", b"noise"))):
        folder = lora(tmp_path / str(k), llama)
        damage(folder)
        with pytest.raises(ModelNotUsable, match="does not match model"):
            load(ModelChoice(str(folder), "none", "float32", "cpu"))
    alone = lora(tmp_path / "alone", llama)
    (alone / "adapter_model.safetensors").unlink()
    (alone / "adapter_model.bin").write_bytes(pickle.dumps(Payload(mark)))
    with pytest.raises(ModelNotUsable, match="only safetensors weights are loaded"):
        load(ModelChoice(str(alone), "none", "float32", "cpu"))
    assert not mark.exists()
