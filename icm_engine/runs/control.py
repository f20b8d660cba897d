"""What a person can ask of a run: start, pause, step, resume, stop. Writes commands and launches the worker.

Run status is derived from its last events and its lease; it is stored nowhere.
"""

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from icm_engine.core.advance import Breakpoints
from icm_engine.core.errors import LabelNotTokenizable, NotApplicable, PromptTooLong, RunError, SettingError, StoreError
from icm_engine.core.folds import FOLDS
from icm_engine.core.interventions import Verb
from icm_engine.core.labeling import Label
from icm_engine.core.resources import search_path
from icm_engine.core.server_address import is_server
from icm_engine.core.settings import with_settings
from icm_engine.core.text import escape_controls
from icm_engine.runs.lease import LAUNCH, alive, beside, claim_for
from icm_engine.runs.life_cycle import Phase, Status, held, phase_of
from icm_engine.runs.new_run import resolved
from icm_engine.store.bodies import FailedBody
from icm_engine.store.database import DAMAGED, WRITABLE
from icm_engine.store.events import RETUNABLE, Json, RunSpec
from icm_engine.store.store import Event, Store

LOADING = "loading the model"
DECIDING = ("control", "failed", "finished")  # events that a run's phase depends on
POLL = 0.2  # seconds
WAITING = "waiting for a command"  # why a run is paused, unless a breakpoint paused it
# errors that recur on resume: they follow from examples, labels, settings and model
FINAL = (LabelNotTokenizable.__name__, NotApplicable.__name__, PromptTooLong.__name__)
RESUME_HELPS_NOT = "resuming this run would fail the same way: start a new run with the change named here"
# spinning threads starve the page and other runs: two runs at once took four times as long each
SLEEPING = {"OMP_WAIT_POLICY": "PASSIVE"}
FULL = 64 * 1024  # bytes kept free for a last line on a disk that takes no more events
LONGEST_NAME = 150  # bytes of a run's name in its log's name; file systems allow 255


@dataclass(frozen=True, slots=True)
class RunStatus(Status):
    """Where a run stands. `silent_for` is the age of the worker's heartbeat in seconds, None without a worker.

    `lost` says that its worker died: pending commands then wait for another worker, which somebody must request.
    """

    steps: int
    max_steps: int
    pid: int | None
    silent_for: float | None
    pending: tuple[str, ...]
    lost: bool = False

    @property
    def settled(self) -> bool:
        """Whether nothing will happen until somebody asks for it."""
        return not self.moving and (self.lost or not self.pending)


def create_run(store: Store, spec: RunSpec) -> str:
    """Store a new run, completed by `resolved`, and return its name. Raises NotFound, SettingError."""
    return store.add_run(resolved(store, spec))


def start(store: Store, run: str) -> None:
    """Start a run for the first time."""
    _ask(store, run, "start")


def pause(store: Store, run: str) -> None:
    """Pause after the step in progress."""
    _ask(store, run, "pause")


def resume(store: Store, run: str) -> None:
    """Continue the run where it stopped, also after a failure or a crash."""
    _ask(store, run, "resume")


def step(store: Store, run: str, steps: int = 1) -> None:
    """Take this many steps, then pause. Raises SettingError for less than one."""
    if steps < 1:
        raise SettingError(f"steps is {steps}: use 1 or more")
    _ask(store, run, "step", steps)


def queue(store: Store, run: str) -> None:
    """Queue a start or resume for a process that has taken the run over; none is launched."""
    with store.transaction():
        if (row := store.lease_row(run)) is not None and not alive(row):
            store.drop_lease(run, row["token"])  # it waits for the living process, not for the one that died
        store.send(run, "resume" if store.last_number(run) else "start", uuid.uuid4().hex)


def stop(store: Store, run: str) -> None:
    """End the run after the step in progress; `resume` can still continue it."""
    _ask(store, run, "stop")


def submit_intervention(
    store: Store, run: str, verb: Verb, examples: Sequence[str] = (), labels: Sequence[Label] = (), text: str = ""
) -> None:
    """Submit an intervention, applied after the step in progress; `verb` is one of `command_handler`'s.

    `labels` belong to `examples` one by one. Raises SettingError for a label that the task does not have.
    """
    known = store.dataset_info(store.spec(run).dataset).task.labels
    if unknown := [label for label in labels if label not in known]:
        raise SettingError(f"label {unknown[0]!r} does not exist: use one of {', '.join(known)}")
    if verb in ("pin", "override") and len(labels) != len(examples):
        raise SettingError(f"{verb} has {len(examples)} examples and {len(labels)} labels: give one label for each")
    body = {"verb": verb, "examples": list(examples), "labels": list(labels), "text": text}
    _ask(store, run, "hand", body=body)


def retune(store: Store, run: str, settings: Mapping[str, float | str]) -> None:
    """Change settings from the next step on. Raises SettingError for one that cannot change during a run."""
    if fixed := [name for name in settings if name not in RETUNABLE]:
        raise SettingError(f"{fixed[0]} cannot change during a run: change one of {', '.join(RETUNABLE)}")
    search = with_settings(store.spec(run).search, dict(settings))
    _ask(store, run, "retune", body={"settings": {name: getattr(search, name) for name in settings}})


def set_breakpoints(store: Store, run: str, points: Breakpoints) -> None:
    """Set breakpoints, replacing earlier ones; empty ones remove them."""
    _ask(store, run, "breakpoints", body=asdict(points))


def _ask(store: Store, run: str, verb: str, steps: int = 0, body: Json | None = None) -> None:
    with store.transaction():  # no command and no second worker for the same request
        store.send(run, verb, uuid.uuid4().hex, steps, body)
        launch(store, run)


def launch(store: Store, run: str) -> None:
    """Launch a detached worker, which outlives this process, unless one is alive."""
    with store.transaction():
        row = store.lease_row(run)
        if row is None or not alive(row):
            spawn(store, "icm_engine.runs.worker", run)


def spawn(store: Store, module: str, name: str) -> None:
    """Start `python -m MODULE --db FILE NAME` as a detached process that holds NAME, unless another host holds it.

    Its output goes to the log of that name.
    """
    row = store.lease_row(name)
    if row is not None and row["host"] != socket.gethostname():
        _popen(store, module, name, "")  # the worker must check by itself whether that one is alive
    else:
        claim_for(store, name, lambda token: _popen(store, module, name, token))


def _popen(store: Store, module: str, name: str, token: str) -> int:
    with _log_file(log_path(store, name)) as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, "--db", str(store.path.resolve()), name],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # closing the terminal, the page or its server does not end it
            env={**SLEEPING, **os.environ, "PYTHONPATH": search_path(), LAUNCH: token},
        )
    return process.pid


def _log_file(path: Path) -> IO[bytes]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")
    except OSError as error:
        raise StoreError(f"log {path} cannot be written ({error}): {WRITABLE}; nothing was started") from None


def log_path(store: Store, run: str) -> Path:
    """Return the log file of the workers of a run or job."""
    name = run.replace("%", "%25").replace("/", "%2F").replace("\0", "%00")
    if len(name.encode("utf-8", "replace")) > LONGEST_NAME:
        name = f"{name[:40]}-{hashlib.sha256(run.encode('utf-8', 'replace')).hexdigest()[:16]}"
    return store.path.parent / "logs" / f"{store.path.stem}-{name}.log"


def log_tail(store: Store, run: str, lines: int = 20) -> str:
    """Return the last lines of the worker's log; empty if there is none."""
    path = log_path(store, run)
    if not path.is_file():
        return ""
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def last_words(store: Store, run: str) -> str:
    """Return why the last worker of a run or job stopped, from the end of its log; empty if it does not say."""
    found, row = re.fullmatch(r"process (\d+) stops: (.*)", log_tail(store, run, 1)), store.lease_row(run)
    if found is None or (row is not None and row["pid"] != int(found[1]) and not store.pending(run)):
        return ""  # from an earlier worker
    return found[2]


def status(store: Store, run: str) -> RunStatus:
    """Return where a run stands. Raises NotFound."""
    return beside(store, run, lambda row, lives: _status(store, run, row, lives))


def _status(store: Store, run: str, row: Json | None, lives: bool) -> RunStatus:
    spec, pending, holding = store.spec(run), store.pending(run), held(row, lives)
    last, walked = store.last_event(run, DECIDING), store.last_event(run, ("step", "round", "forked"))
    rests, steps = _rests(store, run, last), _step_of(walked)
    # a pause that was asked too late: the worker is about to say that the run is finished
    ending = rests in ("paused", "stopped") and (steps >= spec.search.max_steps > 0 or _is_last(store, run, walked))
    phase = phase_of(rests, holding, pending[-1].created if pending else None, ending)
    if phase == "created" and walked is not None and walked.kind == "step":
        raise StoreError(f"run {run!r} has steps, but not the command that requested them: {DAMAGED}")
    return RunStatus(
        phase,
        _message(store, run, phase, rests, last),
        steps,
        spec.search.max_steps,
        row["pid"] if row and lives else None,
        max(0.0, time.time() - row["heartbeat"]) if row and lives else None,
        tuple(command.verb for command in pending),
        holding.lost,
    )


def _is_last(store: Store, run: str, walked: Event | None) -> bool:
    """Whether a run with folds took a round after which none is left, and nothing was changed by hand since."""
    if walked is None or walked.kind != "round" or walked.round["left"]:
        return False
    steered = store.last_event(run, ("hand", "retuned"))
    return steered is None or steered.number < walked.number


def _step_of(event: Event | None) -> int:
    """The step after a `step`, `round` or `forked` event."""
    return 0 if event is None else int(event.body["step"])


def _rests(store: Store, run: str, last: Event | None) -> Phase | None:
    """The phase in which the last deciding event leaves a run; None if it continues."""
    if last is None:
        return "created"
    if last.kind != "control":
        return "failed" if last.kind == "failed" else "finished"
    if last.control["verb"] == "stop":
        return "stopped"
    return "paused" if steps_left(store, run) == 0 else None


def _message(store: Store, run: str, phase: Phase, rests: Phase | None, last: Event | None) -> str:
    if phase == "interrupted":
        return _gone(store, run)
    if phase == "starting":
        return loading(last.time) if last and rests is None else "the worker is starting"
    if phase == "running":
        return "searching" if rests is None else "ending"
    if phase == "stopped" or last is None:
        return "stopped by hand" if last else "not started yet"
    if phase == "failed":
        return last.failed["message"] + (f"; {RESUME_HELPS_NOT}" if is_final(store, run, last.failed) else "")
    if phase == "finished":
        if store.spec(run).source == FOLDS:
            return "the rounds are done"
        return "all steps are done" if last.finished["steps"] else "all labels are there"
    return last.control.get("reason") or WAITING


def loading(since: float) -> str:
    """Say that a model is being loaded, and for how long."""
    return f"{LOADING}, {max(0.0, time.time() - since):.0f} s so far"


def is_final(store: Store, run: str, failure: FailedBody) -> bool:
    """Say whether a failed run would fail the same way whenever it is resumed.

    A server's context can change between attempts, so that failure is not final.
    """
    error = failure.get("error")
    return error in FINAL and not (error == PromptTooLong.__name__ and is_server(store.spec(run).model))


def _gone(store: Store, run: str) -> str:
    words = last_words(store, run)
    if not words and (free := shutil.disk_usage(store.path.parent).free) < FULL:  # no event could be written to say why
        return (
            f"the worker is gone, and the disk of {store.path.parent} is full ({free:,} bytes are left): free some "
            "space, then resume; nothing is lost"
        )
    why = f"the worker stopped ({words})" if words else "the worker is gone"
    return f"{why}; nothing is lost, resume continues from the last step"


def steps_left(store: Store, run: str) -> int | None:
    """Return how many steps the run may take now: 0 while it waits, None for no limit."""
    last = store.last_event(run, DECIDING)
    if last is None or last.kind != "control" or last.control["verb"] in ("pause", "stop"):
        return 0
    if last.control["verb"] != "step":
        return None
    return max(0, last.control["steps"] - _taken(store, run, last.number))


def _taken(store: Store, run: str, number: int) -> int:
    """How many steps, or rounds of folds, were taken after an event; round 0 has the initial labels and is none."""
    rounds = store.read_after(run, number, ("round",))
    return store.count_after(run, number, ("step",)) + sum(event.round["step"] > 0 for event in rounds)


def wait_until_settled(store: Store, run: str) -> RunStatus:
    """Block until the run is settled, and return its status."""
    while not (now := status(store, run)).settled:
        wait()
    return now


def wait() -> None:
    """Wait a moment between two looks at a run."""
    time.sleep(POLL)


def follow(store: Store, run: str, bar: Any = tqdm, quiet: bool = False) -> tuple[RunStatus, bool]:
    """Wait until the run is settled; return its status, and whether Ctrl-C paused it.

    `bar` is the progress bar's class, drawn on stderr unless `quiet`. Raises RunError if the run failed.
    """
    interrupted, most = False, store.spec(run).search.max_steps
    with bar(
        total=most, unit="step", file=sys.stderr, desc=escape_controls(run), mininterval=1, disable=quiet
    ) as drawn:
        while True:
            try:
                now = status(store, run)
                drawn.set_postfix_str(now.message if now.phase == "starting" else now.phase, refresh=False)
                drawn.update(now.steps - drawn.n)
                if now.settled or _abandoned(now):
                    break
                wait()
            except KeyboardInterrupt:
                interrupted = True
                pause(store, run)
    if _abandoned(now):
        words = last_words(store, run) or now.message
        raise RunError(f"run {run!r} did not continue ({words}): `resume {run}` tries again")
    if now.broken:
        again = "" if _fails_again(store, run, now) else f" (`resume {run}` continues from step {now.steps})"
        raise RunError(f"run {run!r} {now.phase}: {now.message}{again}")
    return now, interrupted


def _fails_again(store: Store, run: str, now: RunStatus) -> bool:
    """Whether the run failed and would fail again."""
    last = store.last_event(run, ("failed",)) if now.phase == "failed" else None
    return last is not None and is_final(store, run, last.failed)


def _abandoned(now: RunStatus) -> bool:
    """Whether a command will not be answered: its worker ended before, and the time to start one is over."""
    return bool(now.pending) and now.pid is None and not now.moving
