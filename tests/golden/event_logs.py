"""Complete event logs of runs of the fake model, made through the command line.

A log is one line a record: what the run was asked to be, then each event with its number, its kind and its whole body
in the order of its keys. Left out are, each for its reason:
- the columns `time` and `seconds`: wall-clock times, different each time;
- events of the kind `progress` of jobs: how many there are depends on how fast the machine is. A job tells its first
  one alone here, so that the numbers of those after it are the same on every machine.
Two things are written differently from the database, without loss:
- the packed log-probabilities (`scores`) stand as numbers: how zlib packs the same bytes depends on its version;
- the folder of the database stands as FOLDER.
Everything else is compared byte for byte.
"""

import base64
import contextlib
import json
import shutil
import sqlite3
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from icm_engine.jobs import job_process
from tests.support.paths import TESTS

from .in_process import Session, session

FOLDER = Path(__file__).parent / "events"
OLD = TESTS / "databases"
LEFT_OUT = "progress"

CLAIMS = ["id,question,claim,group,gold"] + [
    f"q{k // 3}-{k % 3},What is {k // 3} + {k // 3}?,It is {2 * (k // 3) + k % 3}.,q{k // 3},{k % 3 == 0}"
    for k in range(18)
]
SUMS = ["id,question,claim,group,gold"] + [
    f"s{k // 3}-{k % 3},What is {k // 3} + 1?,{words} The answer is {k // 3 + 1 + (k % 3 == 2)}.,s{k // 3},{k % 3 < 2}"
    for k in range(18)
    for words in [("Count on.", "Add them.", "Guess.")[k % 3]]
]
PAIRS = ["id,query,response_a,response_b,gold"] + [
    f"p{k},Which is larger?,{k % 5},{k % 3 + 1},{k % 5 > k % 3 + 1}" for k in range(9)
]
TOPICS = ["id,text,gold"] + [
    f"t{k},{word} news of day {k},{word}" for k in range(12) for word in [("sports", "business", "science")[k % 3]]
]
OWN_RULE = '''"""The claims about one question get the same label."""

from icm_engine.core.consistency import Rule


class SameQuestion(Rule):
    name = "same-question"

    def key(self, example):
        return example.group

    def consistent(self, i, j, labeling):
        return labeling[i] == labeling[j]
'''
TABLES = {"claims": (CLAIMS, "truthfulness"), "sums": (SUMS, "maths-verification"), "pairs": (PAIRS, "preference"),
          "topics": (TOPICS, "classification", "--labels", "sports,business,science")}  # fmt: skip
COOL = ("--set", "initial_temperature=0.5", "--set", "alpha=1")  # cold enough that a loss is rejected


# the preset `default` as it was when the logs were made
THEN = ("--set", "predictability=mean_log_odds", "--set", "alpha=50", "--set", "pair_weight=1")


def run(now: Session, dataset: str, *words: object) -> list[str]:
    """Run to the end and return the names whose logs are kept."""
    pinned = () if "--preset" in words else THEN
    given = ("--dataset", dataset, "--model", "fake", "--seed", 3, "--steps", 16)
    return [str(now.json("run", *given, *pinned, *words)["run"])]


def own_rule(now: Session) -> list[str]:
    Path("same_question.py").write_text(OWN_RULE, encoding="utf-8")
    return run(now, "claims", "--rule", "same_question.py")


def by_hand(now: Session) -> list[str]:
    """A run that waits for its first step, and everything a person can put in between two steps."""
    now.held_until = "pause"
    (name,) = run(now, "claims", "--rule", "exactly-one", "--detach")
    now.text("pause", name)
    now.held_until = None
    now.text("step", name, 6)
    now.text("pin", name, "q0-0=False", "q5-2=True")
    now.text("note", name, "q0-0", "see page 3")
    now.text("step", name, 3)
    now.text("override", name, "q1-1=True")
    now.text("undo", name)
    now.text("redo", name)
    now.text("retune", name, "alpha=20", "initial_temperature=4")
    now.text("step", name, 3)
    now.text("unpin", name, "q5-2")
    now.text("step", name)
    now.text("resume", name)
    return [name]


def audited(now: Session) -> list[str]:
    """A run with two audits, one answer corrected and one example left out; pinning goes on as without."""
    (name,) = run(now, "claims", "--rule", "exactly-one")
    now.text("audit", name, stdin="1\n2\nb\n1\n?\n")
    now.text("audit", name, "--new", "--seed", 5, "--number", 2, stdin="2\n1\n")
    now.text("pin", name, "q0-0=False")
    return [name]


def forked(now: Session) -> list[str]:
    (parent,) = run(now, "claims", "--rule", "exactly-one")
    words = ("--step", 10, "--steps", 12, "--set", "seed=9", "--rule", "exclusive")
    return [parent, str(now.json("fork", parent, *words)["run"])]


def batches(now: Session) -> list[str]:
    (whole,) = run(now, "claims", "--rule", "exactly-one", "--batch-size", 9)
    return [whole, f"{whole}-1", f"{whole}-2", *_jobs(now, "lane")]


def _jobs(now: Session, kind: str) -> list[str]:
    return [name for (name,) in now.query("select name from jobs where kind = ? order by name", kind)]


def restarts(now: Session) -> list[str]:
    found = now.json("run", "--dataset", "claims", "--model", "fake", "--seed", 3, "--steps", 16, "--restarts", 2,
                     *THEN, "--side-by-side", 1)  # fmt: skip
    return [found["job"], *sorted(row["run"] for row in found["restarts"])]


def sources(now: Session) -> list[str]:
    """Every other source of labels than the search; the fake model has no chat template, which one of them needs."""
    kinds = [kind for kind in now.parser_choices("run", "--source") if kind not in ("icm", "zero-shot-chat")]
    return [name for kind in kinds for name in run(now, "claims", "--source", kind)]


def first_version(now: Session) -> list[str]:
    """A run of the first version, begun by the program of then: it goes on as version 1, and so does its fork."""
    shutil.copy(OLD / "m001.sqlite", now.database)
    now.text("resume", "claims-2")
    return ["claims-1", "claims-2", now.json("fork", "claims-1", "--step", 10, "--steps", 10)["run"]]


LOGS: dict[str, Callable[[Session], list[str]]] = {
    "rule-none": lambda now: run(now, "claims", *COOL),
    "rule-same-answer": lambda now: run(now, "sums"),
    "rule-asymmetry": lambda now: run(now, "pairs"),
    "rule-exclusive": lambda now: run(now, "claims", "--rule", "exclusive", *COOL),
    "rule-exactly-one": lambda now: run(now, "claims", "--rule", "exactly-one"),
    "rule-of-a-user": own_rule,
    "by-hand": by_hand,
    "audit": audited,
    "fork": forked,
    "batches": batches,
    "restarts": restarts,
    "paired": lambda now: run(now, "claims", "--rule", "exactly-one", "--set", "paired=true"),
    "preset-paper": lambda now: run(now, "claims", "--rule", "exactly-one", "--preset", "paper"),
    "preset-authors-code": lambda now: run(now, "sums", "--preset", "authors-code"),
    "preset-centred": lambda now: run(now, "claims", "--rule", "exactly-one", "--preset", "centred"),
    "several-labels": lambda now: run(now, "topics", "--set", "predictability=mean_log_prob"),
    "limit": lambda now: run(now, "claims", "--rule", "exactly-one", "--limit", 10),
    "sources": sources,
    "version-1": first_version,
}


def log(name: str) -> str:
    """Make the runs of this name anew and return their logs as text."""
    once = mock.patch.object(job_process, "PROGRESS_EVERY", 60.0)
    with once, tempfile.TemporaryDirectory() as folder, session(Path(folder).resolve()) as now:
        if name != "version-1":
            import_tables(now)
        names = LOGS[name](now)
        now.close()
        lines = [line for kept in names for line in _lines(now, kept)]
    return "".join(f"{line}\n" for line in lines).replace(str(now.folder), "FOLDER")


def import_tables(now: Session) -> None:
    """Store the small data sets; they are imported once in a process, and copied from then on."""
    if not _IMPORTED:
        for table, (rows, task, *words) in TABLES.items():
            Path(f"{table}.csv").write_text("\n".join([*rows, ""]), encoding="utf-8")
            now.text("import", f"{table}.csv", "--task", task, *words)
        _IMPORTED.append(sqlite3.connect(":memory:"))
        with contextlib.closing(sqlite3.connect(now.database)) as db:
            db.backup(_IMPORTED[0])
    else:
        with contextlib.closing(sqlite3.connect(now.database)) as db:
            _IMPORTED[0].backup(db)


_IMPORTED: list[sqlite3.Connection] = []


def _lines(now: Session, name: str) -> Iterator[str]:
    asked = now.query("select spec from runs where name = ? union all select spec from jobs where name = ?", name, name)
    yield _text({"run": name, "spec": json.loads(asked[0][0])})
    for number, kind, body in now.query("select number, kind, body from events where run = ? order by number", name):
        assert _text(json.loads(body)) == body, f"event {number} of {name} is not written as the others are"
        if kind != LEFT_OUT:
            yield _text({"number": number, "kind": kind, "body": _unpacked(json.loads(body))})


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpacked(part) for part in value]
    if not isinstance(value, dict):
        return value
    return {key: _numbers(part) if key == "scores" and part else _unpacked(part) for key, part in value.items()}


def _numbers(packed: str) -> list[float]:
    """The log-probabilities of a labeling: little-endian float64, packed by zlib, as base64."""
    raw = zlib.decompress(base64.b64decode(packed))
    assert base64.b64encode(zlib.compress(raw)).decode() == packed
    return [value for (value,) in struct.iter_unpack("<d", raw)]


def files() -> dict[Path, str]:
    """Return every golden file with what it should hold, made anew."""
    return {FOLDER / f"{name}.jsonl": log(name) for name in LOGS}


def difference(golden: str, now: str) -> str | None:
    """Return the first difference between two logs in words; None if there is none."""
    then, found = golden.splitlines(), now.splitlines()
    for place, (one, other) in enumerate(zip(then, found, strict=False), start=1):
        if one != other:
            k = next(
                (k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(map(len, (one, other)))
            )
            was, now_is = (line[max(0, k - 60) : k + 60] for line in (one, other))
            return f"line {place} differs at character {k}:\n  was {was!r}\n  is  {now_is!r}"
    return None if len(then) == len(found) else f"{len(then)} records became {len(found)}"
