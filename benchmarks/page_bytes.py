"""Kilobytes that an open Search page receives while its run goes on, counted on its socket in a real browser."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import sync_playwright

from benchmarks.report import Row

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 20  # watched: ten ticks of the curves, four of the tables


def received(database: Path, run: str, step: Callable[[], None]) -> Row:
    """Open the page of a run that is held as running, take a step a second, and return what arrived."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={port}", "--server.headless=true"]
    server = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "ICM_DB": str(database)}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait(port)
        return _watched(f"http://127.0.0.1:{port}/search?run={run}", step)
    finally:
        server.kill()


def _wait(port: int) -> None:
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)


def _watched(url: str, step: Callable[[], None]) -> Row:
    sizes = list[int]()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("websocket", lambda ws: ws.on("framereceived", lambda frame: sizes.append(len(frame))))
        page.goto(url)
        page.wait_for_selector(".icm-curve.js-plotly-plot", timeout=300_000)
        page.wait_for_timeout(5000)
        first = sum(sizes)
        sizes.clear()
        for _ in range(SECONDS):
            step()
            page.wait_for_timeout(1000)
        browser.close()
    each = sum(sizes) / 1000 / (SECONDS / 2)
    return {"first drawing, kB": first / 1000, "a tick of the curves, with all that came beside it, kB": each}
