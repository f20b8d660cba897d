"""The inconsistent pairs of a run as a table, one of them with both texts, and those that come back."""

import streamlit as st

from icm_engine.analysis.conflict_frames import pairs_frame
from icm_engine.analysis.conflict_repairs import repairs_of
from icm_engine.analysis.conflicts import (
    PairLine,
    counted,
    demand,
    pair_code,
    pair_line,
    pair_of,
    pairs_back,
    pairs_ever,
    pairs_now,
)
from icm_engine.analysis.reading import Reading
from pages.parts import conflict_shared

ROWS = 200  # pairs in one table
SHOWS = {"now": "Inconsistent now", "ever": "Ever inconsistent", "back": "Came back"}
EMPTY = {
    "now": "Nothing is inconsistent now.",
    "ever": "Nothing has been inconsistent so far.",
    "back": "No pair has become inconsistent more than once.",
}


def show(reading: Reading) -> None:
    """Draw the pairs that the address asks for, and the one in it."""
    asked, shows = (
        conflict_shared.choice("show", SHOWS, f"show_pairs_{reading.run.name}"),
        {"now": pairs_now, "ever": pairs_ever, "back": pairs_back},
    )
    pairs = shows[asked](reading)
    chosen = pair_of(reading, st.query_params.get("pair"))
    if pairs:
        _table(reading, asked, [pair_line(reading, pair) for pair in pairs[:ROWS]], len(pairs))
    else:
        st.text(EMPTY[asked])
    if chosen is not None or pairs:
        _whole(reading, pair_line(reading, chosen or pairs[0]))


def _table(reading: Reading, asked: str, lines: list[PairLine], among: int) -> None:
    key, codes = f"pairs_{asked}_{reading.run.name}", [pair_code(line.ids) for line in lines]
    st.dataframe(
        pairs_frame(lines), hide_index=True, key=key, on_select=lambda: _select(key, codes),
        selection_mode="single-row", alt=SHOWS[asked],
        column_config=conflict_shared.COLUMNS,
    )  # fmt: skip
    first = f"The first {len(lines):,} of {counted(among, 'pair')}" if among > len(lines) else counted(among, "pair")
    st.caption(f"{first}. Click a row to see the pair whole.")


def _select(key: str, codes: list[str]) -> None:
    """Put the selected pair into the address: a place means nothing once the run went on."""
    rows = st.session_state[key]["selection"]["rows"]
    if rows:
        st.query_params["pair"] = codes[rows[0]]
    else:
        st.query_params.pop("pair", None)


def _whole(reading: Reading, line: PairLine) -> None:
    st.markdown("**The pair**")
    both = zip(line.ids, line.labels, line.answers, strict=True)
    notes = [f"example {name} · labelled {label or '–'} · answer {answer or '–'}" for name, label, answer in both]
    conflict_shared.sided(line.texts, notes)
    st.text(demand(reading, line))
    lasted = f"Inconsistent {counted(line.times, 'time')}, for {counted(line.steps, 'step')} in all"
    st.text(f"{lasted}; now: {line.words}.")
    repairs = repairs_of(reading, pair=line.pair)
    if repairs:
        st.button(
            f"Its {counted(len(repairs), 'repair')}", key="to_repairs", icon=":material/build:",
            on_click=_to_repairs, args=(reading.run.name, pair_code(line.ids)),
        )  # fmt: skip


def _to_repairs(run: str, code: str) -> None:
    st.session_state[f"view_{run}"] = "Repairs"
    st.session_state[f"only_{run}"] = True
    st.query_params.pop("repair", None)
    st.query_params.update({"view": "Repairs", "pair": code, "only": "pair"})
