"""The model of a run or job, and the models trained from labels, which are named as `trained:NAME`.

    icm.db
    icm-models/
      NAME/               adapter_model.safetensors, adapter_config.json, trained.json (facts), README.md (card)
      .NAME.training/     while it is being trained: the checkpoints that training goes on from after a crash

A folder of this name that is there is finished: it is moved to its place whole.
"""

import json
import re
import shutil
from collections.abc import Callable
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
    """Return the model of a run, dtype `auto` as what the run was scored with so far: moved, it keeps its digits."""
    spec, scored = store.spec(run), store.last_event(run, ("model",))
    if spec.dtype != DTYPES[0]:
        dtype = spec.dtype
    elif scored is None and spec.forked_from is not None:  # a fork has its parent's digits
        dtype = model_of_run(store, spec.forked_from).dtype
    else:
        dtype = scored.body.get("dtype", spec.dtype) if scored else spec.dtype
    return replace(spec.model_choice, dtype=dtype)


PREFIX = "trained:"
FACTS = "trained.json"
NEEDED = ("peft", "trl", "datasets")  # for training alone
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def require_installed() -> None:
    """See that the packages that training needs are there, without loading one. Raises NotInstalled."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise NotInstalled(f"training needs {', '.join(missing)}: {install_command('train')}")


def home(store: Store) -> Path:
    """Return the folder of everything that was trained from this database's runs."""
    return store.path.resolve().parent / f"{store.path.stem}-models"


def folder(store: Store, name: str) -> Path:
    """Return where a trained thing of this name lives, there or not. Raises SettingError for what is no name."""
    if not _NAME.fullmatch(name):
        raise SettingError(f"name {name!r} cannot be a folder: use letters, digits, dots, dashes and underscores")
    return home(store) / name


def workplace(store: Store, name: str) -> Path:
    """Return the folder in which a thing of this name is trained."""
    return folder(store, name).with_name(f".{name}.training")


def names(store: Store) -> list[str]:
    """Return what there is, in order."""
    if not home(store).is_dir():
        return []
    return sorted(path.parent.name for path in home(store).glob(f"[!.]*/{FACTS}"))


def model_facts(store: Store, name: str) -> Json:
    """Return what a trained thing says of itself. Raises NotFound, ModelNotUsable."""
    path = folder(store, name) / FACTS
    if not path.is_file():
        known = ", ".join(names(store)) or "nothing yet"
        raise NotFound(f"nothing of the name {name!r} was trained beside {store.path}; there is: {known}")
    return read_facts(path.parent)


def read_facts(path: Path) -> Json:
    """Return the facts in a folder. Raises ModelNotUsable where they cannot be read."""
    try:
        found: Json = json.loads((path / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelNotUsable(f"the facts of {str(path)!r} cannot be read ({error}): train it again") from None
    return found


def put(store: Store, name: str, write: Callable[[Path], None], told: Json) -> Path:
    """Have `write` fill a new folder, add the facts, move it to its place whole, and return it."""
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

    Facts that do not say so are taken for supervised; a model without facts was not trained here.
    """
    if model.startswith(PREFIX):
        return bool(model_facts(store, model.removeprefix(PREFIX)).get("supervised", True))
    folder = expanded(model)
    return (folder / FACTS).is_file() and bool(read_facts(folder).get("supervised", True))


def located(store: Store, choice: ModelChoice) -> ModelChoice:
    """Return the choice with the path in place of `trained:NAME` or a fetched model's name, any other as it is.

    Raises NotFound, ModelNotUsable.
    """
    if not choice.model.startswith(PREFIX):
        return replace(choice, model=fetched_models.place(store, home_expanded(choice.model)))
    name = choice.model.removeprefix(PREFIX)
    model_facts(store, name)
    return replace(choice, model=str(folder(store, name)))


def base_choice(store: Store, run: str) -> ModelChoice:
    """Return the model that a run's labels are to train: its own, or if that was trained, what it was trained from."""
    choice = model_of_run(store, run)
    if not choice.model.startswith(PREFIX):
        return choice
    return replace(choice, model=model_facts(store, choice.model.removeprefix(PREFIX))["base"])
