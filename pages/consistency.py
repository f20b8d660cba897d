"""Conflicts and repairs: inconsistent pairs and groups, now or ever, and every repair with its options."""

from collections.abc import Sequence

import streamlit as st

from icm_engine.analysis import formatting
from icm_engine.analysis.conflict_figures import (
    groups_chart,
    groups_frame,
    options_chart,
    options_frame,
    pairs_chart,
    pairs_curve_frame,
    pairs_frame,
    repairs_frame,
)
from icm_engine.analysis.conflicts import (
    PairLine,
    demand,
    graph,
    group_page,
    group_pages,
    groups_in_conflict,
    has_rule,
    pair_code,
    pair_line,
    pair_of,
    pairs_back,
    pairs_ever,
    pairs_now,
    pairs_prevented,
)
from icm_engine.analysis.formatting import count, counted
from icm_engine.analysis.label_history import RepairMark
from icm_engine.analysis.repairs import (
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
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.views import rule_name
from icm_engine.core.consistency import Pair
from icm_engine.store.store import Store
from pages.parts import charts, menu, session, workspace

VIEWS = ("Pairs", "Groups", "Repairs")
RHYTHM = 2.0  # seconds between two checks of the curve of a moving run


def show(store: Store, run: str) -> None:
    """Draw the view that the URL names."""
    reading, status = session.look(run)
    workspace.about(reading, status, f"rule {rule_name(reading)}")
    if not has_rule(reading):
        st.info("This run has no consistency rule: nothing in it can be inconsistent.", icon=":material/info:")
        return
    if reading.state is None:
        st.text("This run has no labels yet.")
        return
    _counts(reading)
    session.fragment(_curve, None if status.settled else RHYTHM)(run)
    meant = "Repairs" if "repair" in st.query_params else None
    view = session.choice("view", VIEWS, f"view_{run}", meant)
    if view == "Pairs":
        show_pairs(reading)
    elif view == "Groups":
        show_groups(store, reading)
    else:
        show_repairs(store, reading)


def _counts(reading: Reading) -> None:
    kept = sum(mark.kept for mark in reading.repairs)
    with st.container(key="counts"):
        for name, value in (
            ("Inconsistent pairs", len(pairs_now(reading))),
            ("Groups in conflict", len(groups_in_conflict(reading))),
            ("Recurring conflicts", len(pairs_back(reading))),
            ("Prevented conflicts", len(pairs_prevented(reading))),
            ("Repairs", len(reading.repairs)),
            ("Repairs kept", kept),
        ):
            st.metric(name, count(value), border=True)


def _curve(run: str) -> None:
    reading, _ = session.look(run)
    charts.show(pairs_chart(reading, session.dark()), pairs_curve_frame(reading), f"conflict_curve_{run}")


COLUMNS = {
    "now": st.column_config.TextColumn(width=190),
    "labels": st.column_config.TextColumn(help="Their current labels."),
    "times": st.column_config.NumberColumn(width=70, help="How often the pair became inconsistent."),
    "repairs": st.column_config.NumberColumn(width=70, help="How often a proposal was repaired because of the pair."),
    "steps in all": st.column_config.NumberColumn(width=90, help="Number of steps for which it was inconsistent."),
    "rounds in all": st.column_config.NumberColumn(width=90, help="Number of rounds for which it was inconsistent."),
    "result": st.column_config.TextColumn(width=130),
    "first": st.column_config.TextColumn(width=230),
    "second": st.column_config.TextColumn(width=230),
}


def turned(name: str, key: str, pages: int) -> int:
    """Draw the choice of a page, kept in the URL under this name, and return it; a single page needs no choice."""
    first = session.number(name, 1, 1, pages)
    return (
        1 if pages == 1 else st.pagination(pages, default=first, key=key, on_change=session.address, args=(name, key))
    )


def sided(texts: Sequence[str], notes: Sequence[str]) -> None:
    """Show untrusted texts side by side, each above its note."""
    for column, text, note in zip(st.columns(len(texts), gap="medium"), texts, notes, strict=True):
        with column:
            session.plain(text)
            st.text(note)


ROWS = 200  # pairs in one table
PAIRS_SHOWS = {
    "now": "Inconsistent now",
    "ever": "Ever inconsistent",
    "back": "Came back",
    "prevented": "Proposed and prevented",
}
EMPTY = {
    "now": "Nothing is inconsistent now.",
    "ever": "Nothing has been inconsistent so far.",
    "back": "No pair has become inconsistent more than once.",
    "prevented": "No pair was inconsistent in a proposal only.",
}


def show_pairs(reading: Reading) -> None:
    """Draw the pairs that the URL asks for, and the selected one."""
    asked, shows = (
        session.choice("show", PAIRS_SHOWS, f"show_pairs_{reading.run.name}"),
        {"now": pairs_now, "ever": pairs_ever, "back": pairs_back, "prevented": pairs_prevented},
    )
    pairs = shows[asked](reading)
    chosen = pair_of(reading, st.query_params.get("pair"))
    if pairs:
        _table_pairs(reading, asked, [pair_line(reading, pair) for pair in pairs[:ROWS]], len(pairs))
    else:
        prevented = len(pairs_prevented(reading)) if asked in ("now", "ever") else 0
        st.text(EMPTY[asked] + (f" {PREVENTED.format(counted(prevented, 'pair'))}" if prevented else ""))
    if chosen is not None or pairs:
        _whole(reading, pair_line(reading, chosen or pairs[0]))


def _table_pairs(reading: Reading, asked: str, lines: list[PairLine], among: int) -> None:
    key, codes = f"pairs_{asked}_{reading.run.name}", [pair_code(line.ids) for line in lines]
    st.dataframe(
        pairs_frame(lines),
        hide_index=True,
        key=key,
        on_select=lambda: _select_pairs(key, codes),
        selection_mode="single-row",
        alt=PAIRS_SHOWS[asked],
        column_config=COLUMNS,
    )
    first = f"The first {len(lines):,} of {counted(among, 'pair')}" if among > len(lines) else counted(among, "pair")
    st.caption(f"{first}. Click a row to see the whole pair.")


def _select_pairs(key: str, codes: list[str]) -> None:
    """Put the selected pair into the URL by id, because its row may move as the run continues."""
    rows = st.session_state[key]["selection"]["rows"]
    if rows:
        st.query_params["pair"] = codes[rows[0]]
    else:
        st.query_params.pop("pair", None)


def _whole(reading: Reading, line: PairLine) -> None:
    st.markdown("**The pair**")
    both = zip(line.ids, line.labels, line.answers, strict=True)
    notes = [f"example {name} · labelled {label or '–'} · answer {answer or '–'}" for name, label, answer in both]
    sided(line.texts, notes)
    st.text(demand(reading, line))
    lasted = f"Inconsistent {counted(line.times, 'time')}, for {counted(line.steps, line.unit)} in all"
    st.text(f"{lasted}; now: {line.words}.")
    repairs = repairs_of(reading, pair=line.pair)
    if repairs:
        st.button(
            f"Its {counted(len(repairs), 'repair')}",
            key="to_repairs",
            icon=":material/build:",
            on_click=_to_repairs,
            args=(reading.run.name, pair_code(line.ids)),
        )


def _to_repairs(run: str, code: str) -> None:
    st.session_state[f"view_{run}"] = "Repairs"
    st.session_state[f"only_{run}"] = True
    st.query_params.pop("repair", None)
    st.query_params.update({"view": "Repairs", "pair": code, "only": "pair"})


# after the sentence that nothing is inconsistent
PREVENTED = "In proposals only, {} became inconsistent: see Proposed and prevented."
GROUPS_SHOWS = {"now": "In conflict now", "ever": "Ever in conflict", "prevented": "With prevented conflicts"}
NO_GROUPS = {
    "now": "No group is in conflict now.",
    "ever": "No group has been in conflict so far.",
    "prevented": "No group has been in conflict so far, not even in a proposal.",
}


def show_groups(store: Store, reading: Reading) -> None:
    """Draw the groups of one page, most conflicts first."""
    asked = session.choice("show", GROUPS_SHOWS, f"show_groups_{reading.run.name}")
    groups = groups_in_conflict(reading, ever=asked == "ever", prevented=asked == "prevented")
    if not groups:
        st.text(NO_GROUPS[asked])
        return
    page = turned("groups", f"groups_{asked}_{reading.run.name}", group_pages(groups))
    graphs = [graph(store, reading, group) for group in group_page(groups, page)]
    chart = groups_chart(graphs, reading.trajectory.labels, session.dark())
    key = f"groups_{asked}_{page}_{reading.run.name}"
    st.caption(f"{counted(len(groups), 'group')}, {len(graphs)} of them here.")
    charts.show(chart, groups_frame(graphs), key, clicked=lambda code: _clicked(reading.run.name, code))


def _clicked(run: str, code: str) -> None:
    """Show the pair whose cross was clicked."""
    st.session_state[f"view_{run}"] = "Pairs"
    st.query_params.update({"view": "Pairs", "pair": code})


BROKEN = 50  # maximum number of listed pairs that a repair's step made inconsistent
NUMBERS = {
    "U": st.column_config.NumberColumn(format="%.2f"),
    "change": st.column_config.NumberColumn(format="%+.2f", help="Change of U from the labels before."),
}


def show_repairs(store: Store, reading: Reading) -> None:
    """Draw the list of repairs and the one in the URL, else the newest."""
    pair = pair_of(reading, st.query_params.get("pair"))
    kind, only = _filters(reading, pair)
    marks = repairs_of(reading, kind, pair if only else None)
    if marks:
        page = turned("page", f"repairs_{kind}_{only}_{reading.run.name}", repair_pages(marks))
        _table_repairs(reading, repair_page(marks, page), len(marks))
    else:
        st.text("No repair has been tried so far." if not reading.repairs else "No repair matches.")
    chosen = repair_at(reading, st.query_params.get("repair")) or (marks[0] if marks else None)
    if chosen is not None:
        _card(reading, repair_card(store, reading, chosen))


def _filters(reading: Reading, pair: Pair | None) -> tuple[str, bool]:
    """Draw the filters: the outcome of a repair and its example."""
    run = reading.run.name
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        kind = session.choice("repairs", FILTERS, f"repairs_{run}")
        if pair is None:
            return kind, False
        key = f"only_{run}"
        only = st.toggle(
            "This pair only",
            value=st.query_params.get("only") == "pair",
            key=key,
            on_change=_only,
            args=(key,),
            help=" and ".join(formatting.escaped(reading.run.codec.ids[i]) for i in pair),
        )
    return kind, only


def _only(key: str) -> None:
    if st.session_state[key]:
        st.query_params["only"] = "pair"
    else:
        st.query_params.pop("only", None)


def _table_repairs(reading: Reading, marks: Sequence[RepairMark], among: int) -> None:
    codes = [repair_code(mark) for mark in marks]
    key = f"repairs_table_{codes[0]}_{len(codes)}_{reading.run.name}"
    st.dataframe(
        repairs_frame(reading, marks),
        hide_index=True,
        key=key,
        on_select=lambda: _select_repairs(key, codes),
        selection_mode="single-row",
        alt="Repairs, newest first",
        column_config=COLUMNS,
    )
    st.caption(f"{counted(among, 'repair')}, newest first, {len(marks):,} here. Click a row to see all of it.")


def _select_repairs(key: str, codes: list[str]) -> None:
    """Put the selected repair into the URL by event, because its row may move as the run continues."""
    rows = st.session_state[key]["selection"]["rows"]
    if rows:
        st.query_params["repair"] = codes[rows[0]]
    else:
        st.query_params.pop("repair", None)


def _card(reading: Reading, card: RepairCard) -> None:
    with st.container(border=True, key="repair"):
        with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
            st.markdown("**The repair**", width="content")
            menu.link_step(reading.run.name, card.mark.step, card.mark.event, reading.unit)
            name = "repair" if reading.by_folds else "round"
            st.text(f"{name} {card.mark.round + 1} · {result_words(card.mark)}")
        line = card.line
        both = zip(line.ids, card.labels, line.answers, strict=True)
        notes = [f"example {name} · was {label} · answer {answer or '–'}" for name, label, answer in both]
        sided(line.texts, notes)
        for sentence in (card.demand, card.choice, card.verdict):
            st.text(sentence)
        if card.options:
            key = f"options_{repair_code(card.mark)}_{reading.run.name}"
            charts.show(options_chart(card, session.dark()), options_frame(card), key, NUMBERS)
        _broken(card)
        st.button(
            "See the pair",
            key="to_pair",
            icon=":material/compare_arrows:",
            on_click=_to_pair,
            args=(reading.run.name, pair_code(line.ids)),
        )


def _broken(card: RepairCard) -> None:
    if not card.broken:
        st.text(f"{card.after}: no pair.")
        return
    st.text(f"{card.after}: {counted(len(card.broken), 'pair')}.")
    st.dataframe(pairs_frame(card.broken[:BROKEN]), hide_index=True, alt=card.after, column_config=COLUMNS)


def _to_pair(run: str, code: str) -> None:
    st.session_state[f"view_{run}"] = "Pairs"
    st.query_params.update({"view": "Pairs", "pair": code})


workspace.show("Conflicts and repairs", show)
