"""How long the script of one page takes, drawn by Streamlit's own tester."""

import statistics
import time
from pathlib import Path

from streamlit.testing.v1 import AppTest

from benchmarks.report import Row

ROOT = Path(__file__).resolve().parents[1]


def drawn(name: str, link: str | None, query: dict[str, str], repeat: int) -> Row:
    """Draw one page again and again; return the first time and the median of the others, in milliseconds.

    The processor's time is told beside: on a busy machine it is the one to compare.
    """
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=600)
    test.run()
    began = time.perf_counter()
    if link is not None:
        test.query_params.update(query)
        test.switch_page(f"pages/{link}.py")
    test.run()
    first, times, busy = time.perf_counter() - began, list[float](), list[float]()
    for _ in range(repeat):
        began, used = time.perf_counter(), time.process_time()
        test.run()
        times.append(time.perf_counter() - began)
        busy.append(time.process_time() - used)
        assert not test.exception, test.exception
    return {"page": name, "first, ms": 1000 * first, "median, ms": 1000 * statistics.median(times),
            "CPU ms": 1000 * statistics.median(busy), "drawn": repeat}  # fmt: skip
