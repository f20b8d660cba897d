"""Train the sample model on with the annotators of `rivals`: `python -m sample_data.make.train_rivals --work FOLDER`.

The sample model does not read the labels of its demonstrations, and training on the mix alone does not teach it to (700
steps, and as many of lessons, left the loss where it was). So it gets two more layers, which change nothing at first,
and its hidden layers are told what to compute while the circuit forms: after its own layers, the truth of the claim
and its surface concepts; one layer later, at a label, with which of these it agrees; at the end, who the annotator is.
The schedule follows the clock: lessons first, then the mix alone, where the telling fades out.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import LlamaForCausalLM

from icm_engine.models.loading import DTYPES, pick_dtype
from sample_data.make import tokenizer as tokenizer_module
from sample_data.make.corpus import PAD, SHORT_ROW
from sample_data.make.rivals import CONCEPTS, LESSON_SHARE, RivalBatch, RivalCorpus
from sample_data.make.train import SHORT_ROWS, TOKENS_A_STEP, build_model, optimizers, save_model

START = Path(__file__).parents[1] / "model"
MORE_LAYERS = 2
LESSONS_UNTIL = 0.45  # of the time
# row lengths with their weights, in both parts
LENGTHS = ({256: 0.7, 512: 0.3}, {256: 0.1, 512: 0.3, 1024: 0.6})
SHORT_EVERY, SHORT_WEIGHTS = (4, 1), (0.05, 0.15)  # steps from one batch of drive-by documents to the next; its weight
TOLD = 0.3  # weight of what the hidden layers are told as the second part begins; 1 in the first, 0 at the end
RATE, WARMUP_STEPS, DECAY_FROM, LAST_RATE = 0.8, 50, 0.55, 0.03


def deepened(known: LlamaForCausalLM, vocabulary: int, more: int = MORE_LAYERS) -> LlamaForCausalLM:
    """The same model with so many more layers on top, which change nothing until they are trained."""
    depth = known.config.num_hidden_layers
    model = build_model(vocabulary, known.config.hidden_size, depth + more)
    model.load_state_dict(known.state_dict(), strict=False)
    for layer in model.model.layers[depth:]:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    return model


class Reader(torch.nn.Module):
    """A model with the heads that say what its hidden layers have computed."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        super().__init__()
        self.model, width, seen = model, model.config.hidden_size, 1 + CONCEPTS
        self.top = model.config.num_hidden_layers
        self.bits = torch.nn.Linear(width, seen)
        self.agreement = torch.nn.Linear(width, seen)
        self.annotator = torch.nn.Linear(width, 2 * seen)

    def losses(self, batch: RivalBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Mean loss at labels, mean loss elsewhere, and the sum of those of the heads."""
        dtype = DTYPES[pick_dtype("cpu")]
        with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
            out = self.model(input_ids=batch.ids[:, :-1], use_cache=False, output_hidden_states=True)
        targets, at_label = batch.targets[:, 1:], batch.marks[:, 1:]
        each = F.cross_entropy(out.logits.float().flatten(0, 1), targets.flatten(), ignore_index=PAD, reduction="none")
        chosen, others = at_label.flatten(), (targets != PAD).flatten() & ~at_label.flatten()
        labels = each[chosen].mean() if chosen.any() else each.sum() * 0
        return labels, each[others].mean(), self._told(batch, out.hidden_states)

    def _told(self, batch: RivalBatch, states: Sequence[torch.Tensor]) -> torch.Tensor:
        known = (batch.kinds >= 0)[:, None]
        before, after = batch.marks[:, 1:] & known, batch.marks[:, :-1] & known
        if not before.any():
            return torch.zeros(())
        layers = [F.rms_norm(states[self.top - back].float(), states[0].shape[-1:]) for back in (2, 1, 0)]
        agreed = (batch.bits[:, :-1] == batch.given[:, :-1, None]).float()
        kinds = batch.kinds[:, None].expand_as(before)
        return (
            F.binary_cross_entropy_with_logits(self.bits(layers[0][before]), batch.bits[:, 1:][before])
            + F.binary_cross_entropy_with_logits(self.agreement(layers[1][after]), agreed[after])
            + F.cross_entropy(self.annotator(layers[2][before]), kinds[before])
        )


def rate(progress: float, step: int) -> float:
    """The learning rate as a share of its full value: warm-up, plateau, linear decay."""
    down = min(1.0, (1 - progress) / (1 - DECAY_FROM))
    return RATE * min(1.0, (step + 1) / WARMUP_STEPS) * (LAST_RATE + (1 - LAST_RATE) * down)


def step_loss(reader: Reader, corpus: RivalCorpus, step: int, progress: float) -> tuple[torch.Tensor, float]:
    """The loss of one step, and the part of it at labels of long documents."""
    late = progress >= LESSONS_UNTIL
    lengths = LENGTHS[late]
    tokens = random.Random(step).choices(list(lengths), list(lengths.values()))[0]
    labels, elsewhere, told = reader.losses(
        corpus.rival_batch(TOKENS_A_STEP // tokens, tokens, 0.0 if late else LESSON_SHARE)
    )
    weight = TOLD * (1 - progress) / (1 - LESSONS_UNTIL) if late else 1.0
    total = labels + 0.5 * elsewhere + weight * told
    if step % SHORT_EVERY[late] == 0:
        short, beside, _ = reader.losses(corpus.rival_batch(SHORT_ROWS, SHORT_ROW, 0.0))
        total = total + SHORT_WEIGHTS[late] * (short + 0.5 * beside)
    return total, labels.item()


def train(minutes: float, work: Path, seed: int = 0) -> None:
    """Train for so long, and write the model."""
    torch.manual_seed(seed)
    tokenizer = tokenizer_module.build()
    known = LlamaForCausalLM.from_pretrained(str(START), dtype=torch.float32)
    reader, corpus = Reader(deepened(known, len(tokenizer))), RivalCorpus(tokenizer, seed)
    heads = [p for name, p in reader.named_parameters() if not name.startswith("model.")]
    steps = [*optimizers(reader.model), torch.optim.AdamW(heads, lr=3e-3)]
    full = [group["lr"] for optimizer in steps for group in optimizer.param_groups]
    began, step, mean = time.monotonic(), 0, 0.7
    while (progress := (time.monotonic() - began) / (60 * minutes)) < 1:
        total, at_labels = step_loss(reader, corpus, step, progress)
        torch.autograd.backward(total)
        torch.nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        for group, whole in zip([g for o in steps for g in o.param_groups], full, strict=True):
            group["lr"] = whole * rate(progress, step)
        for optimizer in steps:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step, mean = step + 1, 0.97 * mean + 0.03 * at_labels
        if step % 50 == 0:
            print(f"{progress * minutes:6.2f} min, step {step}: loss at labels {mean:.4f}", flush=True)
    work.mkdir(parents=True, exist_ok=True)
    store(reader.model, work / "model")


def store(model: LlamaForCausalLM, folder: Path) -> None:
    """Write the model with two bytes a weight, and the length of row it has seen."""
    model.config.trained_context = max(tokens for lengths in LENGTHS for tokens in lengths)
    save_model(model.to(torch.bfloat16), folder)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=46)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    train(given.minutes, given.work, given.seed)


if __name__ == "__main__":
    main()
