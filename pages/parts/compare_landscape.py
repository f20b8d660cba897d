"""The landscape: U of what was found beside reference labelings, scored by a job when a person asks for it."""

import streamlit as st

from icm_engine.analysis import landscape
from icm_engine.analysis.agreement_with_gold import gold_by_place, gold_shown
from icm_engine.analysis.choices import IcmError, Store
from icm_engine.analysis.compare_figures import landscape_chart
from icm_engine.analysis.compare_frames import landscape_frame
from icm_engine.analysis.reading import Reading
from icm_engine.runs import jobs
from pages.parts import charts, compare_tables, job_line, session

COLUMNS = {
    "same as found": compare_tables.SHARE,
    "label mass": compare_tables.SHARE,
    "what it is": st.column_config.TextColumn(width="medium"),
}
WHAT = (
    "Scores other labelings of the same examples as the search scores its own. A reference above what was found: the "
    "search failed. Gold below what was found: the objective prefers other labels."
)


def show(store: Store, reading: Reading) -> None:
    """Draw what a landscape costs, and the one in the address, else the last one."""
    st.text(WHAT)
    gold = gold_by_place(store, reading, tuple(reading.labeling))
    named = landscape.references(reading, gold)
    st.text(f"References: {', '.join(named)}, {landscape.ZERO_SHOT}.")
    st.text(landscape.price(store, reading, len(named)).words)
    run = reading.run.name
    made = jobs.names(store, landscape.KIND, run=run)
    busy = bool(made) and not jobs.status(store, made[0]).settled
    st.button(
        "Score them", key="landscape", type="primary", icon=":material/landscape:", on_click=_ask, args=(run,),
        disabled=busy, help="In a process of its own; the page can be left meanwhile.",
    )  # fmt: skip
    if error := st.session_state.pop("landscape_problem", None):
        session.complain(error)
    if not made:
        return
    job = job_line.chosen(store, made, "Landscape")
    if job_line.show(store, job).phase == "done" and (found := jobs.result(store, job)):
        _found(landscape.landscape(found, gold_shown(reading)), job, reading)


def _ask(run: str) -> None:
    try:
        with Store() as store:
            reading, _ = session.look(run)
            gold = gold_by_place(store, reading, tuple(reading.labeling))
            st.query_params["job"] = landscape.ask(store, reading, gold)
    except IcmError as error:
        st.session_state["landscape_problem"] = error


def _found(found: landscape.Landscape, job: str, reading: Reading) -> None:
    with st.container(border=True, key="verdict"):
        st.text(landscape.verdict(found))
    st.text(landscape.higher(found))  # labels are in it, and they are no markup
    charts.show(landscape_chart(found, session.dark()), None, f"chart_{job}")
    st.dataframe(landscape_frame(found), hide_index=True, column_config=COLUMNS, alt="The landscape as a table")
    st.caption(landscape.when(found, reading))
