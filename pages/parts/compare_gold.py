"""A run beside gold: what is right, which mistakes there are, and whether its probabilities can be believed."""

import streamlit as st

from icm_engine.analysis.agreement_with_gold import (
    Against,
    against_gold,
    cell_caption,
    cell_rows,
    cells,
    counted_examples,
    gold_by_place,
    no_gold_words,
    pins_words,
)
from icm_engine.analysis.calibration import area_under_curve, calibration
from icm_engine.analysis.choices import Store
from icm_engine.analysis.compare_figures import accuracy_chart, confusion_chart, reliability_chart
from icm_engine.analysis.compare_frames import (
    accuracy_frame,
    accuracy_steps_frame,
    cell_frame,
    classes_frame,
    confusion_frame,
    reliability_frame,
)
from icm_engine.analysis.reading import Reading
from icm_engine.analysis.wording import decimal, percent
from pages.parts import charts, session

ROWS = 500  # examples of one cell that are shown
NONE = "no cell"
COLUMNS = {
    "text": st.column_config.TextColumn(width="large"),
    "probability": st.column_config.ProgressColumn(
        format="percent", min_value=0.0, max_value=1.0, help="Of the label it has, given all the others."
    ),
}
SHARES = {
    name: st.column_config.NumberColumn(format="percent")
    for name in ("mean probability", "share right", "gap", "accuracy", "balanced", "flipped")
}
INTERVALS = (
    "In brackets: 95 % intervals (Wilson), as if examples were independent; those tied by a rule are not, so the true "
    "ones are wider. All examples: unlabelled counts as wrong, as in recall. Flipped: both labels swapped; it stands "
    "beside the accuracy and never in its place."
)


def show(store: Store, reading: Reading) -> None:
    """Draw the run beside gold, over the examples that count."""
    counted = counted_examples(reading)
    gold = gold_by_place(store, reading, counted)
    if not gold:
        st.text(no_gold_words(reading))
        return
    against = against_gold(reading, gold, counted)
    if reading.pins:
        st.text(pins_words(reading))
    left, right = st.columns(2, gap="large")
    with left:
        _confusion(reading, against)
    with right:
        _accuracy(against)
    _cell(reading, against)
    left, right = st.columns(2, gap="large")
    with left:
        _over_steps(reading)
    with right:
        _calibration(reading, against)


def _confusion(reading: Reading, against: Against) -> None:
    chosen = st.query_params.get("cell")
    chart = confusion_chart(against, session.dark(), chosen)
    charts.show(chart, confusion_frame(against), f"confusion_{reading.run.name}", clicked=_clicked)


def _clicked(cell: str) -> None:
    """Put a clicked cell into the address; the same one once more takes it out."""
    if st.query_params.get("cell") == cell:
        st.query_params.pop("cell")
    else:
        st.query_params["cell"] = cell


def _accuracy(against: Against) -> None:
    st.markdown("**Accuracy**")
    st.dataframe(accuracy_frame(against), hide_index=True, alt="Accuracy, raw and flipped, with intervals")
    st.dataframe(classes_frame(against), hide_index=True, alt="Precision and recall of every label")
    st.text(f"Balanced accuracy, the mean recall: {percent(against.balanced)}.")
    st.caption(INTERVALS)


def _cell(reading: Reading, against: Against) -> None:
    known = cells(against.labels)
    asked = st.query_params.get("cell")
    chosen, key = asked if asked in known else NONE, f"cell_{reading.run.name}_{asked}"
    options = [NONE, *known]
    st.selectbox(
        "Examples of a cell", options, options.index(chosen), key=key, on_change=_picked, args=(key,), width=420,
        format_func=lambda cell: f"gold {known[cell][0]}, labelled {known[cell][1]}" if cell in known else NONE,
    )  # fmt: skip
    if chosen == NONE:
        return
    places = against.cell(*known[chosen])
    if not places:
        st.text("No example is in this cell.")
        return
    rows = cell_rows(reading, against, places)[:ROWS]
    st.dataframe(cell_frame(rows), hide_index=True, column_config=COLUMNS, placeholder="–", alt="Examples of the cell")
    st.caption(cell_caption(len(places), ROWS))


def _picked(key: str) -> None:
    cell = st.session_state[key]
    if cell == NONE:
        st.query_params.pop("cell", None)
    else:
        st.query_params["cell"] = cell


def _over_steps(reading: Reading) -> None:
    chart = accuracy_chart(reading, session.dark())
    if chart is not None:
        charts.show(chart, accuracy_steps_frame(reading), f"accuracy_{reading.run.name}", SHARES)


def _calibration(reading: Reading, against: Against) -> None:
    if reading.state is None:
        return
    scores, places = reading.state.evaluation.scores, against.labelled
    found = calibration(against.labels, scores, against.given, against.gold, places)
    chart = reliability_chart(found, session.dark())
    charts.show(chart, reliability_frame(found), f"reliability_{reading.run.name}", SHARES)
    area = area_under_curve(against.labels, reading.run.dataset.task.true_label, scores, against.gold, places)
    st.text(f"AUROC of the margin against gold: {decimal(area, 3)}.")
    st.caption(
        "The margin is the log-odds of the label that means true, from each example given all the others. "
        "1: it puts every true example first; 0.5: no better than a coin; near 0: inverted."
    )
