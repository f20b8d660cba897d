"""Hostile texts away from a browser: in the terminal, in files, in the address of every page; and a server's words."""

import csv
import http.server
import json
import os
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from icm_engine.analysis.import_form import at_path
from icm_engine.cli.main import main
from icm_engine.core.errors import ImportRefused
from icm_engine.core.settings import SearchConfig
from icm_engine.core.text import OBEYED, escape_controls, one_line, whole_number
from icm_engine.data.importing import import_file
from icm_engine.runs import control, worker
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store
from tests.support.drawn_pages import app
from tests.support.faults import Fault
from tests.support.hostile_texts import CONTROLS, NAME, hostile_runs
from tests.support.processes import spawn_by
from tests.support.stores import add_run, small_dataset

PAGES = (None, "search", "steps", "flips", "consistency", "compare", "annotate", "forks", "training", "experiments",
         "data", "tour")  # fmt: skip
NAMES = (
    "run", "dataset", "event", "step", "example", "queue", "cause", "from", "to", "kept", "pair", "repair", "at",
    "cell", "influence", "view", "show", "page", "check", "job", "filter", "position", "only", "by", "groups",
    "against",
)  # fmt: skip
VALUES = (
    "", " ", "0", "-1", "1", "7", "9" * 30, "9" * 5000, "1e9", "nan", "inf", "-inf", "0x10", "½", "٣", "None", "True",
    "\0", "\u202e", "\ufffd", "sums-1", "sums-0-0", "sums-0-0~sums-0-1", "batches.1", "context-check.1", "Gold",
    "Labels", "Repairs", "../..", "<b>", "[]", "{}", "a,b", "x" * 10_000, "é" * 3000, "\n", "1,2", "sums-1.1", "%00",
    "'; drop table",
)  # fmt: skip


@given(st.text())
def test_plain_text_has_nothing_that_is_obeyed_and_loses_nothing(text: str) -> None:
    shown = escape_controls(text)
    assert not any(unicodedata.category(sign) in OBEYED and sign not in "\n\t" for sign in shown)
    if not any(sign in text for sign in '"\\\n\t'):
        assert json.loads(f'"{shown}"') == text
    assert "\n" not in one_line(text)


def test_the_terminal_gets_no_control_character(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, failed = hostile_runs(store)
    for given_ in (["list"], ["list", "--json"], ["show", failed], ["show", failed, "--json"], ["log", failed],
                   ["log", run], ["jobs"], ["check", NAME], ["resume", "nobody\x1b[2J"]):  # fmt: skip
        main(given_)
        said = capsys.readouterr()
        shown = said.out + said.err
        assert shown
        assert escape_controls(shown) == shown
        if given_[0] == "log" or "--json" in given_:
            assert all(json.loads(line) is not None for line in said.out.splitlines())
    assert main(["log", failed]) == 0
    messages = [json.loads(line).get("message", "") for line in capsys.readouterr().out.splitlines()]
    assert any(CONTROLS[0] in message for message in messages)  # JSON says what it was


def test_a_spreadsheet_runs_nothing_of_an_export(store: Store, tmp_path: Path) -> None:
    hostile = ["=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "'quoted", "plain"]
    rows = [{"id": f"{text}{k}", "question": text, "claim": text, "=cmd": text} for k, text in enumerate(hostile)]
    content = "\n".join(json.dumps(row) for row in rows).encode()
    import_file(store, "=x.jsonl", "truthfulness", "=sheet", content=content)
    run = add_run(store, "paused", steps=8, dataset="=sheet")
    assert main(["export", run, "--output", str(tmp_path / "labels.csv")]) == 0
    with (tmp_path / "labels.csv").open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert "'=cmd" in cells
    assert "'=sheet-1" in cells
    dangerous = [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r") and not _is_number(cell)]
    assert not dangerous
    import_file(store, tmp_path / "labels.csv", "truthfulness", "back")
    assert [dict(e.fields)["claim"] for e in store.dataset("back").examples] == hostile


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_a_page_reads_regular_files_inside_its_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, outside = tmp_path / "data", tmp_path / "secret.csv"
    inside.mkdir()
    outside.write_text("question,claim\nq,c\n")
    (inside / "good.csv").write_text("question,claim\nq,c\n")
    (inside / "link.csv").symlink_to(outside)
    (inside / "zero.csv").symlink_to("/dev/zero")
    (inside / "circle.csv").symlink_to(inside / "circle.csv")
    (inside / "folder").mkdir()
    (inside / "folder" / "train.parquet").symlink_to(outside)
    os.mkfifo(inside / "pipe.csv")
    monkeypatch.setenv("ICM_DATA", str(inside))
    assert at_path("good.csv").size == 19
    for text in ("../secret.csv", str(outside), "link.csv", "zero.csv", "circle.csv", "pipe.csv", "folder", "/dev/zero",
                 "/etc/passwd", "~/x.csv", "a\0b.csv", "x" * 5000, "good.csv/x", "..", "/proc/self/environ",
                 "\ud800.csv", "nothing.csv", "folder/../../secret.csv", "//etc/passwd"):  # fmt: skip
        with pytest.raises(ImportRefused):
            at_path(text)


def test_a_pipe_is_refused_where_a_file_is_read(store: Store, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    for name in ("pipe.csv", "zero.json"):
        with pytest.raises(ImportRefused, match="pipe or a device"):
            import_file(store, tmp_path / name, "truthfulness")


def test_the_log_of_a_run_is_beside_the_database_whatever_the_run_is_called(store: Store) -> None:
    logs = (store.path.parent / "logs").resolve()
    paths = [control.log_path(store, name) for name in ("a/../../../x-1", "..-1", "x" * 500, "y" * 500, "a%2Fb", "a/b")]
    assert all(path.resolve().parent == logs and len(path.name.encode()) < 256 for path in paths)
    assert len(set(paths)) == len(paths)
    assert control.log_path(store, "sums-1").name == "icm-sums-1.log"


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("7", 7), ("007", 7), ("9" * 18, 10**18 - 1), ("9" * 19, None), ("9" * 5000, None), ("", None),
     (" 7", None), ("-1", None), ("1.0", None), ("²", None), ("٣", None)],
)  # fmt: skip
def test_a_number_in_an_address_is_digits_and_not_too_many(text: str, number: int | None) -> None:
    assert whole_number(text) == number


@pytest.mark.fault(
    "URLs with malformed parameters: unknown names, huge numbers, NUL, 10 kB, any page",
    "every page shows a view, a form, or one clear error",
)
def test_any_address_draws_a_page(store: Store, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    spawn_by(monkeypatch, lambda store, module, name: None)
    small_dataset(store)
    add_run(store, "paused", steps=10)
    test = app(timeout=120)
    test.run()
    queries = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES), max_size=4)
    seen: set[str | None] = set()

    @seed(8)
    @settings(max_examples=fault.times(quick=40, long=1_500), database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(
        page=st.sampled_from(PAGES),
        query=queries,
        known=st.booleans(),
    )
    def each(page: str | None, query: dict[str, str], known: bool) -> None:
        test.query_params.clear()
        test.query_params.update({**({"run": "sums-1", "dataset": "sums"} if known else {}), **query})
        (test.switch_page(f"pages/{page}.py") if page else test).run()
        assert not test.exception, (page, query, [error.value for error in test.exception])
        seen.add(page)

    each()
    assert len(seen) > 6
    fault.happened = f"{fault.tried:,} addresses on {len(PAGES)} pages: every page was drawn, none showed a traceback"


@pytest.fixture
def echoing() -> Iterator[str]:
    """A server that repeats the header with the key in every error, in several ways."""

    class Echo(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            key = self.headers.get("Authorization", "")
            asked.append(key)
            content = json.dumps({"error": {"message": f"no {key}, {key.split()[-1]}\x1b[2J, {list(key)}"}}).encode()
            self.send_response(400, f"Bad {key}")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    asked: list[str] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    assert any("sk-secret" in key for key in asked)  # it had the key


def test_a_key_that_a_server_repeats_lands_nowhere(
    store: Store, echoing: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ICM_SERVER_KEY", "sk-secret-0123456789")
    small_dataset(store)
    run = store.add_run(RunSpec("sums", echoing, search=SearchConfig(max_steps=4)))
    control.queue(store, run)
    assert worker.run_in_process(store, run, idle=0) == 1
    main(["show", run])
    main(["log", run])
    said = capfd.readouterr()
    store.db.execute("pragma wal_checkpoint(truncate)")
    everything = said.out + said.err + store.path.read_bytes().decode("latin-1")
    assert "***" in said.out
    assert "secret" not in everything
