"""Seconds of a whole-set evaluation by attention and by tokens per call: what `models.attention.FASTEST` is made from.

    python -m benchmarks.kernels --dtype bfloat16 float32
    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python -m benchmarks.kernels --dtype float32

Random Llamas with eight heads of 32, 64 and 128 numbers, in three layers; the second command holds a newer processor to
AVX2. Kernels take turns, and each figure is the median of its turns. *One by one* encodes every prompt by itself, with
transformers' own attention; it is timed on --sample prompts, evenly spread, and scaled up.
"""

import argparse
import itertools
import statistics
from pathlib import Path

from benchmarks.leave_one_out import spread
from benchmarks.models import examples_for, load_any
from benchmarks.report import Row, clock, median_seconds, reported, show
from icm_engine.core.labeling import Labeling
from icm_engine.core.prompting import Prompt, leave_one_out_prompts
from icm_engine.core.scoring import Kernel
from icm_engine.models import attention
from icm_engine.models.loading import LoadedModel
from icm_engine.models.transformers_scorer import TransformersScorer

WIDTHS = (32, 64, 128)
TOKENS = (320, 640, 1280)


def measure(loaded: LoadedModel, prompts: list[Prompt], given: argparse.Namespace) -> Row:
    """Return the seconds of every kernel on one model, which of them is the fastest, and which one a scorer takes."""
    scorer, full = TransformersScorer(loaded), TransformersScorer(loaded, "full-prompts")
    chosen = Kernel(scorer.attention, scorer.chunk_tokens)
    kernels = [Kernel(name, tokens) for name in (attention.NAME, loaded.attention) for tokens in TOKENS]
    seconds: dict[Kernel, list[float]] = {kernel: [] for kernel in kernels}
    for turn in range(given.repeat + 1):  # the first one warms up
        for kernel in kernels:
            scorer.begin_calls(None, kernel)
            began = clock()
            scorer.score(prompts)
            if turn:
                seconds[kernel].append(clock() - began)
    medians = {kernel: statistics.median(times) for kernel, times in seconds.items()}
    best = min(medians, key=lambda kernel: medians[kernel])
    some = spread(prompts, given.sample)
    one_by_one = median_seconds(lambda: full.score(some), given.repeat) * len(prompts) / len(some)
    return {
        "instructions": attention.instruction_set(loaded.dtype),
        "dtype": loaded.dtype,
        "head width": loaded.head_width,
        **{f"s, {_word(kernel)}": value for kernel, value in medians.items()},
        "fastest": _word(best),
        "chosen": _word(chosen),
        "chosen, of the fastest": medians[best] / medians[chosen] if chosen in medians else None,
        "s, one by one": one_by_one,
        "x one by one, chosen": one_by_one / medians[chosen] if chosen in medians else None,
    }


def _word(kernel: Kernel) -> str:
    return f"{'ours' if kernel.attention == attention.NAME else 'torch'} {kernel.tokens}"


def main() -> None:
    """Print a row for each dtype and head width."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", nargs="+", default=["float32"])
    parser.add_argument("--width", type=int, nargs="+", default=list(WIDTHS), choices=WIDTHS)
    parser.add_argument("--n", type=int, default=127)
    parser.add_argument("--tokens", type=int, default=14, help="tokens of a demonstration")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--sample", type=int, default=8, help="full prompts timed, then scaled to n")
    parser.add_argument("--output", type=Path, help="JSON file")
    with reported(parser) as given:
        rows = []
        for dtype, width in itertools.product(given.dtype, given.width):
            loaded = load_any(f"width-{width}", "none", dtype)
            task, examples = examples_for(loaded, given.n, given.tokens, "", Path())
            labeling = Labeling({i: task.labels[i % len(task.labels)] for i in range(len(examples))})
            prompts = list(leave_one_out_prompts(task, examples, [labeling])[0].values())
            rows.append(measure(loaded, prompts, given))
            print(rows[-1], flush=True)
        show(rows, given.output)


if __name__ == "__main__":
    main()
