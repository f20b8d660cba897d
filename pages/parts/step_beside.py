"""The card of an event that is no step: the initial labels, a person's acts, other settings, a fork."""

import streamlit as st

from icm_engine.analysis.beside import beside, change_words
from icm_engine.analysis.decision_figures import changed_frame, terms_frame
from icm_engine.analysis.reading import Reading
from icm_engine.analysis.travel import Moment
from pages.parts import menu, step_card


def show(reading: Reading, moment: Moment) -> None:
    """Draw the card."""
    card = beside(reading, moment)
    with st.container(border=True, key="card"):
        st.markdown(f"**{card.title}**")
        for sentence in (*card.sentences, change_words(card)):
            st.text(sentence)
        if card.parent:
            st.page_link(menu.STEPS, label="The run it came from", icon=":material/fork_right:",
                         query_params=card.parent)  # fmt: skip
        frame = terms_frame(card.before, card.after)
        st.dataframe(frame, hide_index=True, column_config=step_card.NUMBERS, alt="U and its parts, before and after")
        if card.changed:
            st.dataframe(changed_frame(card.changed), hide_index=True, placeholder="–", alt="The examples it touched")
        step_card.repairs(card.repairs)
