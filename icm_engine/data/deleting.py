"""Delete a data set, which no run may use any more."""

from icm_engine.core.errors import StoreError
from icm_engine.runs.store import Store

LISTED = 5  # runs named in a refusal before "and so on"


def delete_dataset(store: Store, name: str) -> None:
    """Delete a data set with its gold and human labels. Raises NotFound, or StoreError naming the runs that use it."""
    with store.transaction():
        store.dataset_info(name)
        if runs := runs_using(store, name):
            named = ", ".join(runs[:LISTED]) + (", …" if len(runs) > LISTED else "")
            raise StoreError(f"data set {name!r} is used by {len(runs)} runs ({named}): delete these before it")
        for table in ("human", "gold", "parts", "examples"):
            store.db.execute(f"delete from {table} where dataset = ?", [name])
        store.db.execute("delete from datasets where name = ?", [name])


def runs_using(store: Store, name: str) -> list[str]:
    """Return the runs that label this data set, the newest first."""
    query = "select name from runs where json_extract(spec, '$.dataset') = ? order by created desc, rowid desc"
    return [row[0] for row in store.db.execute(query, [name])]
