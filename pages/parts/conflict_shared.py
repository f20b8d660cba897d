"""What the views of consistency share: choices and pages that are in the address, two texts beside each other."""

from collections.abc import Mapping, Sequence

import streamlit as st

from pages.parts import session

COLUMNS = {
    "now": st.column_config.TextColumn(width=190),
    "labels": st.column_config.TextColumn(width=90, help="What the two have now."),
    "times": st.column_config.NumberColumn(width=70, help="How often the pair became inconsistent."),
    "steps in all": st.column_config.NumberColumn(width=90, help="Steps after which it was inconsistent."),
    "result": st.column_config.TextColumn(width=130),
    "first": st.column_config.TextColumn(width=230),
    "second": st.column_config.TextColumn(width=230),
}


def choice(name: str, options: Mapping[str, str], key: str) -> str:
    """Draw a choice that is in the address under this name; the first option is what an address without it means."""
    asked, values = st.query_params.get(name), list(options)
    return st.segmented_control(
        name.capitalize(), values, default=asked if asked in options else values[0], required=True, key=key,
        format_func=options.__getitem__, label_visibility="collapsed", on_change=session.address, args=(name, key),
    )  # fmt: skip


def turned(name: str, key: str, pages: int) -> int:
    """Draw the choice of a page, which is in the address under this name, and return it; one needs no choice."""
    first = session.number(name, 1, 1, pages)
    return (
        1 if pages == 1 else st.pagination(pages, default=first, key=key, on_change=session.address, args=(name, key))
    )


def sided(texts: Sequence[str], notes: Sequence[str]) -> None:
    """Show texts from outside beside each other, each above its note."""
    for column, text, note in zip(st.columns(len(texts), gap="medium"), texts, notes, strict=True):
        with column:
            session.plain(text)
            st.text(note)
