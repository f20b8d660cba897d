"""The results of a suite: its tables, its figures, its report to download, and the way to its runs."""

import streamlit as st

from icm_engine.analysis.choices import Store
from icm_engine.analysis.experiments import asking
from icm_engine.analysis.experiments.asking import Json
from icm_engine.analysis.experiments.report import as_html, as_markdown
from icm_engine.analysis.experiments.report_figures import figures
from icm_engine.analysis.experiments.report_tables import facts, table_frame, tables
from icm_engine.analysis.wording import moment
from icm_engine.runs import jobs
from pages.parts import charts, job_line, menu, session


def show(store: Store) -> None:
    """Draw the suite in the address, else the last one."""
    made = jobs.names(store, asking.KIND)
    if not made:
        st.info("No suite has been run yet.", icon=":material/info:")
        return
    asked = st.query_params.get("job")
    job = asked if asked in made else made[0]
    st.selectbox(
        "Results of", made, made.index(job), key=f"suite_{job}", on_change=_picked, args=(job,), width=520,
        format_func=lambda name: _title(store, name), help="The newest first.",
    )  # fmt: skip
    if job_line.show(store, job).phase == "done" and (found := jobs.result(store, job)):
        _found(found, job)


def _picked(job: str) -> None:
    st.query_params["job"] = st.session_state[f"suite_{job}"]


def _title(store: Store, job: str) -> str:
    spec = jobs.spec(store, job)
    return f"{spec.body['key']} · {spec.model.model if spec.model else ''} · {moment(jobs.created(store, job))}"


def _found(found: Json, job: str) -> None:
    st.header(found["title"])
    st.text(found["question"])
    for number, chart in enumerate(figures(found, session.dark())):
        charts.show(chart, None, f"figure_{number}_{job}")
    for table in tables(found):
        st.markdown(f"**{table.title}**")
        st.dataframe(table_frame(table), hide_index=True, height="content", alt=table.title)
        st.caption(table.caption)
    _runs(found, job)
    with st.expander("How this was made", icon=":material/receipt_long:"):
        for name, value in facts(found):
            st.text(f"{name}: {value}")
    name = asking.folder_name(found)
    with st.container(horizontal=True, gap="small"):
        st.download_button("Report (HTML)", lambda: as_html(found, figures(found)), f"{name}.html", "text/html",
                           key="report_html", icon=":material/download:", on_click="ignore")  # fmt: skip
        st.download_button(
            "Report (Markdown)",
            lambda: as_markdown(found, figures(found), {}),
            f"{name}.md",
            "text/markdown",
            key="report_markdown",
            icon=":material/download:",
            on_click="ignore",
        )


def _runs(found: Json, job: str) -> None:
    """The way from a row to the runs behind it."""
    runs = asking.runs_of(found)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        run = st.selectbox("Run behind the numbers", list(runs), key=f"run_{job}", format_func=runs.get, width=420)
        if run is not None:
            st.page_link(menu.SEARCH, label="Open it", icon=":material/show_chart:", query_params={"run": run})
