"""The repairs of a run: a list with filters, and one of them with all its options and what came of it."""

from collections.abc import Sequence

import streamlit as st

from icm_engine.analysis import wording
from icm_engine.analysis.choices import Store
from icm_engine.analysis.conflict_figures import options_chart
from icm_engine.analysis.conflict_frames import options_frame, pairs_frame, repairs_frame
from icm_engine.analysis.conflict_repairs import (
    FILTERS,
    RepairCard,
    repair_at,
    repair_card,
    repair_code,
    repair_page,
    repair_pages,
    repairs_of,
    result_words,
)
from icm_engine.analysis.conflicts import Pair, counted, pair_code, pair_of
from icm_engine.analysis.history import RepairMark
from icm_engine.analysis.reading import Reading
from pages.parts import charts, conflict_shared, menu, session

BROKEN = 50  # pairs shown that a repair's step made inconsistent
NUMBERS = {
    "U": st.column_config.NumberColumn(format="%.2f"),
    "change": st.column_config.NumberColumn(format="%+.2f", help="Of U, against the labels there were."),
}


def show(store: Store, reading: Reading) -> None:
    """Draw the list of repairs and the one in the address, else the newest of the list."""
    pair = pair_of(reading, st.query_params.get("pair"))
    kind, only = _filters(reading, pair)
    marks = repairs_of(reading, kind, pair if only else None)
    if marks:
        page = conflict_shared.turned("page", f"repairs_{kind}_{only}_{reading.run.name}", repair_pages(marks))
        _table(reading, repair_page(marks, page), len(marks))
    else:
        st.text("No repair has been tried so far." if not reading.repairs else "No repair is like that.")
    chosen = repair_at(reading, st.query_params.get("repair")) or (marks[0] if marks else None)
    if chosen is not None:
        _card(reading, repair_card(store, reading, chosen))


def _filters(reading: Reading, pair: Pair | None) -> tuple[str, bool]:
    """Draw the filters: what became of a repair, and whose it was."""
    run = reading.run.name
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        kind = conflict_shared.choice("repairs", FILTERS, f"repairs_{run}")
        if pair is None:
            return kind, False
        key = f"only_{run}"
        only = st.toggle(
            "This pair only", value=st.query_params.get("only") == "pair", key=key, on_change=_only, args=(key,),
            help=" and ".join(wording.escaped(reading.run.codec.ids[i]) for i in pair),
        )  # fmt: skip
    return kind, only


def _only(key: str) -> None:
    if st.session_state[key]:
        st.query_params["only"] = "pair"
    else:
        st.query_params.pop("only", None)


def _table(reading: Reading, marks: Sequence[RepairMark], among: int) -> None:
    codes = [repair_code(mark) for mark in marks]
    key = f"repairs_table_{codes[0]}_{len(codes)}_{reading.run.name}"
    st.dataframe(
        repairs_frame(reading, marks), hide_index=True, key=key, on_select=lambda: _select(key, codes),
        selection_mode="single-row", alt="Repairs, the newest first", column_config=conflict_shared.COLUMNS,
    )  # fmt: skip
    st.caption(f"{counted(among, 'repair')}, the newest first, {len(marks):,} here. Click a row to see it whole.")


def _select(key: str, codes: list[str]) -> None:
    """Put the selected repair into the address: a place means nothing once the run went on."""
    rows = st.session_state[key]["selection"]["rows"]
    if rows:
        st.query_params["repair"] = codes[rows[0]]
    else:
        st.query_params.pop("repair", None)


def _card(reading: Reading, card: RepairCard) -> None:
    with st.container(border=True, key="repair"):
        with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
            st.markdown("**The repair**", width="content")
            menu.link_step(reading.run.name, card.mark.step, card.mark.event)
            st.text(f"round {card.mark.round + 1} · {result_words(card.mark)}")
        line = card.line
        both = zip(line.ids, card.labels, line.answers, strict=True)
        notes = [f"example {name} · was {label} · answer {answer or '–'}" for name, label, answer in both]
        conflict_shared.sided(line.texts, notes)
        for sentence in (card.demand, card.choice, card.verdict):
            st.text(sentence)
        if card.options:
            key = f"options_{repair_code(card.mark)}_{reading.run.name}"
            charts.show(options_chart(card, session.dark()), options_frame(card), key, NUMBERS)
        _broken(card)
        st.button(
            "See the pair", key="to_pair", icon=":material/compare_arrows:", on_click=_to_pair,
            args=(reading.run.name, pair_code(line.ids)),
        )  # fmt: skip


def _broken(card: RepairCard) -> None:
    if not card.broken:
        st.text(f"{card.after}: no pair.")
        return
    st.text(f"{card.after}: {counted(len(card.broken), 'pair')}.")
    st.dataframe(
        pairs_frame(card.broken[:BROKEN]), hide_index=True, alt=card.after, column_config=conflict_shared.COLUMNS
    )


def _to_pair(run: str, code: str) -> None:
    st.session_state[f"view_{run}"] = "Pairs"
    st.query_params.update({"view": "Pairs", "pair": code})
