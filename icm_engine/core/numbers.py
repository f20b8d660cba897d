"""Whole numbers in text from outside."""

DIGITS = 18  # of the longest that a database and a page can hold


def whole_number(text: str) -> int | None:
    """Return the number that ASCII digits say, None for other text and for more digits than any number of ours has."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= DIGITS else None
