"""Rows with gold, and changes of the gold that must change nothing else."""

from collections.abc import Callable

ROWS = [
    {"question": f"What is {a} + {b}?", "claim": f"The answer is {a + b + error}.", "gold": str(error == 0)}
    for a, b in ((3, 4), (5, 9), (12, 2), (8, 8), (1, 17), (6, 5), (13, 4), (2, 9))
    for error in (0, 1, 0 if a > 6 else 2)
]
Change = Callable[[list[dict[str, str]]], list[dict[str, str]]]


def permuted(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    golds = [row["gold"] for row in rows]
    return [{**row, "gold": gold} for row, gold in zip(rows, golds[1:] + golds[:1], strict=True)]


def inverted(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{**row, "gold": str(row["gold"] == "False")} for row in rows]


def removed(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key != "gold"} for row in rows]
