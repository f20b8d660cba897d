"""Labels that stand in lists, as annotation programs and multi-label data sets write them: ["pos"] is "pos"."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from icm_engine.data.columns import Plan
from icm_engine.data.readers.source import NoText, Record, refuse

SHOWN = 5  # labels named in a message


def unlisted(records: Iterable[Record]) -> list[Record]:
    """Return the records as they look when a list of one is its value: so it is seen which columns have labels."""
    return [replace(record, cells={c: _single(cell) for c, cell in record.cells.items()}) for record in records]


def plain_labels(records: Iterable[Record], plan: Plan, name: str) -> Iterator[Record]:
    """Go through the records with the label that a list holds in its place. Raises ImportRefused for several."""
    columns = [column for column in (plan.gold, *plan.human) if column is not None]
    for record in records:
        lists = [column for column in columns if isinstance(record.cells.get(column), NoText)]
        if lists:
            read = {column: _read(record, column, plan, name) for column in lists}
            record = replace(record, cells={**record.cells, **read})
        yield record


def _read(record: Record, column: str, plan: Plan, name: str) -> str:
    """The label of a list of one, nothing for an empty list; what is no list of plain values stays as it is."""
    cell = record.cells[column]
    labels = _labels(cell)
    if labels is None:
        return cell
    if len(labels) > 1:
        field = "gold" if column == plan.gold else "human"
        shown = ", ".join(labels[:SHOWN]) + (", …" if len(labels) > SHOWN else "")
        remedy = f"an example has one: keep one, or leave the column out (--map {field}=)"
        refuse(name, record.where, column, f"{len(labels)} labels ({shown})", remedy)
    return labels[0] if labels else ""


def _single(cell: str) -> str:
    labels = _labels(cell) if isinstance(cell, NoText) else None
    return cell if labels is None or len(labels) > 1 else "".join(labels)


def _labels(cell: str) -> list[str] | None:
    """The values of a list, None for what is no list of plain values."""
    try:
        values = json.loads(cell, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, list) or any(isinstance(value, dict | list) for value in values):
        return None
    return [text for value in values if (text := _text(value))]


def _text(value: Any) -> str:
    return "" if value is None else str(value)
