"""Every label change as a table, with filters that stand in the address."""

import streamlit as st

from icm_engine.analysis.flip_frames import changes_frame
from icm_engine.analysis.flips import CAUSES, Filter, counts, filtered
from icm_engine.analysis.reading import Reading
from icm_engine.analysis.shown import known
from pages.parts import session

ALL = "all causes"
ROWS = 500


def show(reading: Reading) -> None:
    """Draw the filters and the changes that pass."""
    st.subheader("Label changes")
    wanted = _filter(reading)
    found = filtered(reading, wanted)
    said = " · ".join(f"{cause} {count:,}" for cause, count in counts(found).items())
    st.text(f"{len(found):,} of {len(reading.history):,} label changes" + (f": {said}" if said else ""))
    if found:
        st.dataframe(
            changes_frame(reading, found[-ROWS:]), hide_index=True, placeholder="–", alt="Label changes, newest first",
            column_config={
                "card": st.column_config.LinkColumn(display_text="open", help="The decision card of this change."),
                "text": st.column_config.TextColumn(width="medium"),
            },
        )  # fmt: skip
        st.caption(f"The newest first, at most {ROWS} here.")


def _filter(reading: Reading) -> Filter:
    """Draw the filters, at first as the address has them."""
    points, asked = reading.trajectory.points, st.query_params
    first, last = points[0].step, points[-1].step
    columns = st.columns([1.4, 1, 1, 1.6], gap="medium", vertical_alignment="bottom")
    options = [ALL, *CAUSES]
    cause = columns[0].selectbox(
        "Cause", options, options.index(asked["cause"]) if asked.get("cause") in CAUSES else 0, key="cause",
        on_change=session.address, args=("cause", "cause"), help="What changed the label.",
    )  # fmt: skip
    low = columns[1].number_input("From step", first, last, session.number("from", first, first, last), key="from",
                                  on_change=session.address, args=("from", "from"))  # fmt: skip
    high = columns[2].number_input("To step", first, last, session.number("to", last, first, last), key="to",
                                   on_change=session.address, args=("to", "to"))  # fmt: skip
    kept = columns[3].toggle("Only labels that are there still", asked.get("kept") == "True", key="kept",
                             on_change=session.address, args=("kept", "kept"))  # fmt: skip
    example = known(reading, asked.get("example", ""))
    return Filter(cause if cause in CAUSES else None, example.place if example else None, low, high, kept)
