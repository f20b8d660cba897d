"""What the benchmarks share: median times, and tables on stdout, as Markdown or as one JSON object.

A command is `with reported(parser) as given:`, and prints its tables with `show` or `say`. With --json, everything else
that it prints goes to stderr, and stdout has one object:

    {"benchmark", "version", "arguments", "machine", "tables": [[{column: value}]], "lines": [text beside the tables]}
"""

import argparse
import contextlib
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import torch

from icm_engine import __version__

Row = dict[str, object]
_tables: list[list[Row]] = []  # shown by this command so far
_lines: list[str] = []


@contextlib.contextmanager
def reported(parser: argparse.ArgumentParser) -> Iterator[argparse.Namespace]:
    """Parse a benchmark's arguments and --json; with it, print what is shown inside as one JSON object at the end."""
    parser.add_argument("--json", action="store_true", help="print the tables as one JSON object, with the machine")
    given = parser.parse_args()
    _tables.clear()
    _lines.clear()
    if not given.json:
        yield given
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield given
    told = {
        "benchmark": Path(sys.argv[0]).stem,
        "version": __version__,
        "arguments": {name: value for name, value in vars(given).items() if name != "json"},
        "machine": machine(),
        "tables": _tables,
        "lines": _lines,
    }
    print(json.dumps(told, default=str, ensure_ascii=False))


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
    _tables.append(list(rows))
    names = list(rows[0])
    print("| " + " | ".join(names) + " |")
    print("|" + "---|" * len(names))
    for row in rows:
        print("| " + " | ".join(_cell(row[name]) for name in names) + " |")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine(), "rows": list(rows)}, indent=1) + "\n")


def say(text: str) -> None:
    """Print a text with Markdown tables in it, whose cells are texts."""
    print(text)
    head: list[str] = []
    for line in text.splitlines():
        cells = line.removeprefix("| ").removesuffix(" |").split(" | ") if line.startswith("|") else []
        if not cells:
            head = []
            _lines.extend([line] if line else [])
        elif not head:
            head = cells
            _tables.append([])
        elif set(cells) != {"---"}:
            _tables[-1].append(dict(zip(head, cells, strict=False)))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
