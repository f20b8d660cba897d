"""The queries that docs/database.md documents."""

import re
import sqlite3
from typing import Any

from icm_engine.store.store import Store
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "database.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (v_\w+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def documented(store: Store, view: str) -> list[dict[str, Any]]:
    """The rows of a view's documented query, read as the page says: read-only."""
    (query,) = re.findall(r"```sql\n(.*?)```", SECTIONS[view], re.DOTALL)
    assert view in query
    with sqlite3.connect(f"file:{store.path}?mode=ro", uri=True) as db:
        db.row_factory = sqlite3.Row
        found = [dict(row) for row in db.execute(query)]
    db.close()
    return found
