"""The model of a run or job, and models trained from labels, named `trained:NAME`.

    icm.db
    icm-models/
      NAME/               adapter_model.safetensors, adapter_config.json, trained.json (facts), README.md (card)
      .NAME.training/     while it is being trained: the checkpoints from which training continues after a crash

A folder of this name that is there is finished: it is moved to its place whole.
"""

import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from icm_engine.core.errors import ModelNotUsable, NotFound, NotInstalled, SettingError
from icm_engine.core.resources import install_command
from icm_engine.core.settings import DTYPES, ModelChoice
from icm_engine.core.text import expanded, home_expanded
from icm_engine.runs import fetched_models
from icm_engine.store.events import Json
from icm_engine.store.store import Store


def model_of_run(store: Store, run: str) -> ModelChoice:
    """Return the model of a run, with dtype `auto` replaced by the one used so far, which keeps its scores."""
    spec, scored = store.spec(run), store.last_event(run, ("model",))
    if spec.dtype != DTYPES[0]:
        dtype = spec.dtype
    elif scored is None and spec.forked_from is not None:  # a fork keeps its parent's precision
        dtype = model_of_run(store, spec.forked_from).dtype
    else:
        dtype = scored.body.get("dtype", spec.dtype) if scored else spec.dtype
    return replace(spec.model_choice, dtype=dtype)


PREFIX = "trained:"
FACTS = "trained.json"
NEEDED = ("peft", "trl", "datasets")  # only for training
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def require_installed() -> None:
    """Raise NotInstalled unless the packages for training are present; none is loaded."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise NotInstalled(f"training needs {', '.join(missing)}: {install_command('train')}")


def home(store: Store) -> Path:
    """Return the folder of models trained from this database's runs."""
    return store.path.resolve().parent / f"{store.path.stem}-models"


def folder(store: Store, name: str) -> Path:
    """Return the folder of a trained model, existing or not. Raises SettingError for an invalid name."""
    if not _NAME.fullmatch(name):
        raise SettingError(f"name {name!r} cannot be a folder: use letters, digits, dots, dashes and underscores")
    return home(store) / name


def workplace(store: Store, name: str) -> Path:
    """Return the working folder of a training."""
    return folder(store, name).with_name(f".{name}.training")


def names(store: Store) -> list[str]:
    """Return the names of trained models, sorted."""
    if not home(store).is_dir():
        return []
    return sorted(path.parent.name for path in home(store).glob(f"[!.]*/{FACTS}"))


def model_facts(store: Store, name: str) -> Json:
    """Return the facts of a trained model. Raises NotFound, ModelNotUsable."""
    path = folder(store, name) / FACTS
    if not path.is_file():
        known = ", ".join(names(store)) or "nothing yet"
        raise NotFound(f"no model named {name!r} was trained with database {store.path}; trained models: {known}")
    return read_facts(path.parent)


def read_facts(path: Path) -> Json:
    """Return the facts in a folder. Raises ModelNotUsable if they cannot be read."""
    try:
        found: Json = json.loads((path / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelNotUsable(f"the facts of {str(path)!r} cannot be read ({error}): train it again") from None
    return found


def put(store: Store, name: str, write: Callable[[Path], None], told: Json) -> Path:
    """Let `write` fill a new folder, add the facts, move it into place whole, and return it."""
    made, place = workplace(store, name) / "done", folder(store, name)
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    write(made)
    (made / FACTS).write_text(json.dumps(told, indent=2, ensure_ascii=False), encoding="utf-8")
    made.rename(place)
    shutil.rmtree(workplace(store, name), ignore_errors=True)
    return place


def is_supervised(store: Store, model: str) -> bool:
    """Say whether gold or people made the labels that a model was trained on. Raises NotFound, ModelNotUsable.

    Facts that leave it open count as supervised; a model without facts was not trained here.
    """
    if model.startswith(PREFIX):
        return bool(model_facts(store, model.removeprefix(PREFIX)).get("supervised", True))
    folder = expanded(model)
    return (folder / FACTS).is_file() and bool(read_facts(folder).get("supervised", True))


def located(store: Store, choice: ModelChoice) -> ModelChoice:
    """Return the choice with a path in place of `trained:NAME` or a fetched model's name; others are unchanged.

    Raises NotFound, ModelNotUsable.
    """
    if not choice.model.startswith(PREFIX):
        return replace(choice, model=fetched_models.place(store, home_expanded(choice.model)))
    name = choice.model.removeprefix(PREFIX)
    model_facts(store, name)
    _point_to_file(store, folder(store, name) / "adapter_config.json")
    return replace(choice, model=str(folder(store, name)))


def _point_to_file(store: Store, config: Path) -> None:
    """Give an adapter the file of its base where it has the name of a fetched model, as policies had it at first."""
    with suppress(OSError, ValueError):  # whoever loads it says what is wrong
        told = json.loads(config.read_text(encoding="utf-8"))
        base = told.get("base_model_name_or_path") if isinstance(told, dict) else None
        if isinstance(base, str) and fetched_models.is_fetched(store, base):
            new = config.with_suffix(f".{os.getpid()}")
            told["base_model_name_or_path"] = fetched_models.place(store, base)
            new.write_text(json.dumps(told, indent=2), encoding="utf-8")
            new.replace(config)


def base_choice(store: Store, run: str) -> ModelChoice:
    """Return the model to train on a run's labels: the run's own, or its base if it was trained here."""
    choice = model_of_run(store, run)
    if not choice.model.startswith(PREFIX):
        return choice
    return replace(choice, model=model_facts(store, choice.model.removeprefix(PREFIX))["base"])
