"""What the benchmarks share: median times, a table on stdout, JSON in a file."""

import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import torch

Row = dict[str, object]


def clock() -> float:
    """Seconds: of the processor, which other work on the machine disturbs less, or of the wall where a GPU works."""
    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


def median_seconds(work: Callable[[], object], repeat: int) -> float:
    """The median time of `repeat` calls after one that is not counted."""
    work()
    return statistics.median(_seconds(work) for _ in range(repeat))


def _seconds(work: Callable[[], object]) -> float:
    began = clock()
    work()
    synchronize()
    return clock() - began


def synchronize() -> None:
    """Wait for the GPU, where there is one: its calls return before they are done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def machine() -> Row:
    """What the figures were measured on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "machine": platform.processor() or platform.machine(),
        "cores": psutil.cpu_count(),
        "gpu": gpu,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def show(rows: Sequence[Row], path: Path | None) -> None:
    """Print the rows as a Markdown table and write them, with the machine, as JSON."""
    names = list(rows[0])
    print("| " + " | ".join(names) + " |")
    print("|" + "---|" * len(names))
    for row in rows:
        print("| " + " | ".join(_cell(row[name]) for name in names) + " |")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine(), "rows": list(rows)}, indent=1) + "\n")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
