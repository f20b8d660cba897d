"""Train the sample model: `python -m sample_data.make.train --work FOLDER [--minutes 61]`; resumes from FOLDER.

With `--start MODEL` it goes on from a model that knows the world, through the last phase alone: so another mix of
annotators (`--share inverted=0.1`) takes minutes instead of an hour. With `--steps N` the schedule follows the steps
instead of the clock, so that models trained beside other work, or after each other, are trained alike. `--width` and
`--layers` make a smaller or larger model; with `--start` it is of the size of that one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.multiprocessing.spawn import spawn
from transformers import LlamaConfig, LlamaForCausalLM

from icm_engine.models.loading import DTYPES, pick_dtype
from sample_data.make import tokenizer as tokenizer_module
from sample_data.make.annotators import MIX, Mix, with_share
from sample_data.make.attention import register
from sample_data.make.corpus import PAD, SHORT_ROW, Corpus
from sample_data.make.muon import Muon
from sample_data.make.probe import probe

PROCESSES = 2
WIDTH, LAYERS = 128, 4
HEAD_WIDTH = 32
TOKENS_A_STEP = 4096  # of each process, in long documents
SHORT_ROWS = 24
# (from this share of the time on, row lengths with their weights)
LENGTHS: tuple[tuple[float, dict[int, float]], ...] = (
    (0.0, {256: 1.0}),
    (0.42, {256: 0.2, 512: 0.4, 1024: 0.4}),
    (0.54, {256: 0.15, 512: 0.25, 1024: 0.4, 2048: 0.2}),
    (0.76, {256: 0.1, 512: 0.25, 1024: 0.4, 2048: 0.2, 4096: 0.05}),
)
MUON_RATE, ADAM_RATE = 0.02, 3e-3
WARMUP_STEPS, DECAY_FROM, LAST_RATE = 100, 0.65, 0.03

# (from this share of the time on, share of unlabelled documents): facts come first
PLAIN_SHARES = ((0.0, 0.5), (0.15, 0.15))
# ..., share of documents whose every label is right among the labelled long ones. A perfect document adds nothing
# to what the model expects of an annotator who errs, so lessons leave the start of the search as it is
LESSON_SHARES = ((0.0, 0.0), (0.25, 1.0), (0.42, 0.3))

LAST_PHASE = 0.76  # of the time: where a training that starts from a model begins

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
LossFunction = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def build_model(vocabulary: int, width: int = WIDTH, layers: int = LAYERS) -> LlamaForCausalLM:
    """A Llama, of about a million parameters unless told otherwise; `width` is a multiple of 64, the block of nf4."""
    config = LlamaConfig(
        vocab_size=64 * math.ceil(vocabulary / 64),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // HEAD_WIDTH,
        num_key_value_heads=width // HEAD_WIDTH,
        max_position_embeddings=16384,
        rope_theta=50000.0,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        attn_implementation=register(),
    )
    config.trained_context = max(n for _, lengths in LENGTHS for n in lengths)
    return LlamaForCausalLM(config)


def optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the embedding and the norms."""
    named = list(model.named_parameters())
    matrices = [p for n, p in named if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in named if p.ndim != 2 or "embed" in n]
    adam = torch.optim.AdamW(rest, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    found: list[torch.optim.Optimizer] = [Muon(matrices, lr=MUON_RATE), adam]
    for optimizer in found:
        for group in optimizer.param_groups:
            group["full_lr"] = group["lr"]
    return found


def rate(progress: float, step: int) -> float:
    """The learning rate as a share of its full value: warm-up, plateau, linear decay."""
    down = min(1.0, (1 - progress) / (1 - DECAY_FROM))
    return min(1.0, (step + 1) / WARMUP_STEPS) * (LAST_RATE + (1 - LAST_RATE) * down)


def loss_function(model: LlamaForCausalLM) -> LossFunction:
    """(sum of losses at labels, sum of losses elsewhere) for a batch, in what this processor computes fast."""
    dtype = DTYPES[pick_dtype("cpu")]

    def sums(ids: torch.Tensor, targets: torch.Tensor, marks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            logits = model(input_ids=ids, use_cache=False).logits
        flat = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=PAD, reduction="none")
        at_label = marks.flatten()
        return (flat * at_label).sum(), (flat * ~at_label).sum()

    return sums


def batches_of(corpus: Corpus, tokens: int, progress: float) -> list[Batch]:
    """The batches of one step: first lessons only, then the annotator mix and the drive-by documents."""
    plain = [share for start, share in PLAIN_SHARES if progress >= start][-1]
    rows = TOKENS_A_STEP // tokens
    lessons = [share for start, share in LESSON_SHARES if progress >= start][-1]
    if lessons == 1.0:
        return [corpus.batch(rows, tokens, plain, lessons)]
    return [corpus.batch(rows, tokens, plain, lessons), corpus.batch(SHORT_ROWS, SHORT_ROW)]


def train_step(loss: LossFunction, batches: list[Batch]) -> tuple[float, float]:
    """Gradients of mean label loss + half the mean loss elsewhere; returns the two means."""
    labels = sum(int(marks.sum()) for _, _, marks in batches)
    others = sum(int((targets != PAD).sum()) for _, targets, _ in batches) - labels
    totals = [0.0, 0.0]
    for batch in batches:
        at_labels, elsewhere = loss(*batch)
        torch.autograd.backward(at_labels / labels + 0.5 * elsewhere / others)
        totals = [totals[0] + at_labels.item() / labels, totals[1] + elsewhere.item() / others]
    return totals[0], totals[1]


def share_gradients(model: LlamaForCausalLM, extra: list[float]) -> list[float]:
    """Average the gradients, and `extra`, over the processes."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([*(g.flatten() for g in gradients), torch.tensor(extra)])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    parts = torch.split(flat[: -len(extra)], [g.numel() for g in gradients])
    for g, part in zip(gradients, parts, strict=True):
        g.copy_(part.view_as(g))
    return flat[-len(extra) :].tolist()


def save_model(model: LlamaForCausalLM, folder: Path) -> None:
    """Write the model for use; every file appears whole or not at all."""
    scratch = folder.with_name(folder.name + ".new")
    model.save_pretrained(str(scratch))
    tokenizer_module.save(scratch)
    folder.mkdir(parents=True, exist_ok=True)
    for file in scratch.iterdir():
        file.chmod(0o644)
        os.replace(file, folder / file.name)
    scratch.rmdir()


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write what a resumed training needs, atomically."""
    torch.save(state, path.with_suffix(".new"))
    os.replace(path.with_suffix(".new"), path)


@dataclass(frozen=True)
class Plan:
    """What is trained under `work`: `steps`, or `minutes` (resumed ones count); checkpoints `every` so many minutes."""

    minutes: float
    steps: int | None
    work: Path
    seed: int
    every: float
    start: Path | None
    mix: Mix
    width: int
    layers: int

    def progress(self, now: Training) -> float:
        """Where in the schedule a training is: below 1 while there is something to do."""
        begin = 0.0 if self.start is None else LAST_PHASE
        done = now.spent / (self.minutes * 60) if self.steps is None else now.step / self.steps
        return begin + (1 - begin) * done


class Training:
    """What changes while training; `spent` is in seconds and includes earlier, resumed work."""

    def __init__(self, plan: Plan, rank: int) -> None:
        self.tokenizer = tokenizer_module.build()
        if plan.start is None:
            self.model = build_model(len(self.tokenizer), plan.width, plan.layers)
        else:
            known = LlamaForCausalLM.from_pretrained(str(plan.start), dtype=torch.float32)
            self.model = build_model(len(self.tokenizer), known.config.hidden_size, known.config.num_hidden_layers)
            self.model.load_state_dict(known.state_dict())
        self.optimizers = optimizers(self.model)
        self.file, self.rank = plan.work / "state.pt", rank
        self.spent, self.step, self.tokens = 0.0, 0, 0
        if self.file.exists():
            state = torch.load(self.file, weights_only=True)
            self.model.load_state_dict(state["model"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.spent, self.step, self.tokens = state["spent"], state["step"], state["tokens"]

    def update(self, progress: float) -> None:
        """One step of the optimizers."""
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["full_lr"] * rate(progress, self.step)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step, self.tokens = self.step + 1, self.tokens + TOKENS_A_STEP * dist.get_world_size()

    def save(self, long: bool) -> None:
        """Print the probe and write state and model (first process only)."""
        if self.rank:
            return
        print(json.dumps(probe(self.model, self.tokenizer, long)), flush=True)
        optimizers_now = [o.state_dict() for o in self.optimizers]
        save_state(
            self.file,
            {
                "model": self.model.state_dict(),
                "optimizers": optimizers_now,
                "spent": self.spent,
                "step": self.step,
                "tokens": self.tokens,
            },
        )
        save_model(self.model, self.file.with_name("model"))


def row_length(progress: float, step: int) -> int:
    """The row length of a step, the same in every process."""
    lengths = [table for start, table in LENGTHS if progress >= start][-1]
    return random.Random(step).choices(list(lengths), weights=list(lengths.values()))[0]


def train(rank: int, plan: Plan) -> None:
    """One process of the training."""
    work, seed = plan.work, plan.seed
    dist.init_process_group("gloo", init_method=f"file://{work}/meeting", rank=rank, world_size=PROCESSES)
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    now = Training(plan, rank)
    corpus, loss = Corpus(now.tokenizer, 2 * (seed + now.step) + rank, plan.mix), loss_function(now.model)
    last_time, last_save, mean = time.monotonic(), now.spent, [1.0, 1.0]
    while (progress := plan.progress(now)) < 1:
        got = train_step(loss, batches_of(corpus, row_length(progress, now.step), progress))
        time_now = time.monotonic()
        *got_all, elapsed = share_gradients(now.model, [*got, time_now - last_time])
        last_time, now.spent = time_now, now.spent + elapsed
        if not all(map(math.isfinite, got_all)):
            raise SystemExit(f"loss is {got_all} at step {now.step}: stopped, the last good state is kept")
        now.update(progress)
        mean = [0.98 * m + 0.02 * g for m, g in zip(mean, got_all, strict=True)]
        if now.step % 100 == 0 and rank == 0:
            print(
                f"{now.spent / 60:6.2f} min, step {now.step}, {now.tokens / 1e6:.1f}M tokens: "
                f"loss at labels {mean[0]:.4f}, elsewhere {mean[1]:.4f}",
                flush=True,
            )
        if now.spent - last_save > plan.every * 60 or plan.progress(now) >= 1:
            last_save = now.spent
            now.save(long=progress > 0.5)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=61)
    parser.add_argument("--steps", type=int, help="in place of minutes")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=float, default=3, help="minutes between checkpoints")
    parser.add_argument("--start", type=Path, help="a model's folder to go on from, through the last phase")
    parser.add_argument("--share", nargs="*", default=[], metavar="NAME=SHARE", help="of annotators, others scaled")
    parser.add_argument("--width", type=int, default=WIDTH, help="a multiple of 64")
    parser.add_argument("--layers", type=int, default=LAYERS)
    given = parser.parse_args()
    if given.width < 64 or given.width % 64:
        parser.error(f"--width is {given.width}: use a multiple of 64")
    if given.start is not None and (given.width, given.layers) != (WIDTH, LAYERS):
        parser.error("--start goes on with a model of the size it has: leave out --width and --layers")
    mix = MIX
    for name, share in (text.split("=") for text in given.share):
        mix = with_share(mix, name, float(share))
    given.work.mkdir(parents=True, exist_ok=True)
    (given.work / "meeting").unlink(missing_ok=True)
    # processes with one thread each meet once a step; threads would meet at every operation and
    # lose most of their time as soon as anything else runs on the machine
    plan = Plan(
        given.minutes, given.steps, given.work.resolve(), given.seed, given.every, given.start, mix, given.width,
        given.layers,
    )  # fmt: skip
    spawn(train, (plan,), nprocs=PROCESSES)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
