"""A person's labels of one run, kept as a set of human labels of its data set: the "human" baseline."""

from icm_engine.analysis.reading import Reading
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Label
from icm_engine.data.gold import add_human, load_human
from icm_engine.runs.store import Store

LONGEST = 60  # characters of a source's name


def own_labels(reading: Reading) -> dict[str, Label]:
    """Return by example id the labels that are a person's now: those pinned, and those put in and not changed since."""
    ids, labeling = reading.run.codec.ids, reading.labeling
    last = {change.example: change.cause for change in reading.history}
    mine = {i for i, cause in last.items() if cause == "person"} | reading.pins
    return {ids[i]: labeling[i] for i in sorted(mine) if i in labeling}


def sources(store: Store, reading: Reading) -> tuple[str, ...]:
    """Return the names of the sets of human labels that the data set of a run has."""
    return tuple(load_human(store, reading.run.dataset.name))


def keep(store: Store, reading: Reading, source: str, replace: bool = False) -> int:
    """Store a person's labels under the name of a source; return how many. Nothing of the run changes.

    Raises SettingError where there are none, for a name that cannot be, and for one that is taken unless `replace`.
    """
    labels, name = own_labels(reading), source.strip()
    if not labels:
        raise SettingError("no label of this run is yours yet: pin some, or put some in")
    if not name or len(name) > LONGEST or not name.isprintable():
        raise SettingError(f"source {name!r} cannot be a name: use 1 to {LONGEST} printable characters")
    with store.transaction():
        if name in sources(store, reading) and not replace:
            raise SettingError(f"source {name!r} has labels already: use another name, or replace them")
        add_human(store, reading.run.dataset.name, name, labels)
    return len(labels)
