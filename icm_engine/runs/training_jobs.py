"""What the jobs that train something have in common: their kinds, and a name each for what they make."""

from icm_engine.core.errors import SettingError
from icm_engine.runs import jobs, trained
from icm_engine.runs.store import Store

KINDS = ("finetune", "reward", "preference-tuning", "reinforce")


def free_name(store: Store, stem: str, asked: str | None) -> str:
    """Return the name asked for, or the first free one that begins with `stem`. Raises SettingError for one taken."""
    waiting = [jobs.spec(store, job).body["name"] for kind in KINDS for job in jobs.names(store, kind)]
    taken = {*trained.names(store), *waiting}
    if asked is None:
        return next(name for name in [stem, *(f"{stem}-{k}" for k in range(2, len(taken) + 3))] if name not in taken)
    trained.folder(store, asked)
    if asked in taken:
        raise SettingError(f"the name {asked!r} is taken by another trained model: use another --name")
    return asked
