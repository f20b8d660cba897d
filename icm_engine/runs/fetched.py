"""The models that were fetched: one file each, in a folder beside the database, named as any other model.

icm.db
models/
  NAME.gguf      whole: `fetching` moves it to its place at the end
"""

from pathlib import Path

from icm_engine.core.errors import ModelNotUsable, SettingError
from icm_engine.runs.events import Json
from icm_engine.runs.fetchable import FETCHABLE, Fetchable
from icm_engine.runs.store import Store

FOLDER = "models"


def known(name: str) -> Fetchable:
    """Return what can be fetched by this name. Raises SettingError."""
    if name not in FETCHABLE:
        raise SettingError(f"model {name!r} cannot be fetched: use one of {', '.join(FETCHABLE)}")
    return FETCHABLE[name]


def home(store: Store) -> Path:
    """Return the folder of the models that were fetched."""
    return store.path.resolve().parent / FOLDER


def path_of(store: Store, name: str) -> Path:
    """Return where a model lies once it is fetched. Raises SettingError."""
    return home(store) / known(name).file


def is_fetched(store: Store, name: str) -> bool:
    """Say whether this is the name of a model that is there."""
    return name in FETCHABLE and path_of(store, name).is_file()


def listed(store: Store) -> list[Json]:
    """Return the models that are there: name, path, licence."""
    return [
        {"name": model.name, "path": str(home(store) / model.file), "licence": model.licence.name}
        for model in FETCHABLE.values()
        if is_fetched(store, model.name)
    ]


def place(store: Store, name: str) -> str:
    """Return the file of a model that can be fetched, and any other as it is. Raises ModelNotUsable.

    A folder of that name is used where nothing was fetched.
    """
    if name not in FETCHABLE or (not is_fetched(store, name) and Path(name).exists()):
        return name
    if not is_fetched(store, name):
        raise ModelNotUsable(
            f"model {name!r} is not there yet: `python -m icm_engine model fetch {name}` fetches it into {home(store)}"
        )
    return str(path_of(store, name))
