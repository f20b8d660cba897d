"""The tables and views of a database with their columns."""

import contextlib
import json
import sqlite3
import tempfile
from pathlib import Path

from .in_process import session

SCHEMA = Path(__file__).parent / "schema.json"


def of(database: Path) -> dict[str, list[str]]:
    """Return the columns of each table and view, sorted: an old table got some of them later than a new one."""
    with contextlib.closing(sqlite3.connect(database)) as db:
        named = (
            "select name from sqlite_master where type in ('table', 'view') and name not like 'sqlite%' order by name"
        )
        names = [name for (name,) in db.execute(named)]
        return {name: sorted(row[1] for row in db.execute(f'pragma table_info("{name}")')) for name in names}


def files() -> dict[Path, str]:
    """Return the golden file with what a new database has."""
    with tempfile.TemporaryDirectory() as folder, session(Path(folder)) as now:
        now.text("list")
        return {SCHEMA: json.dumps(of(now.database), indent=1) + "\n"}
