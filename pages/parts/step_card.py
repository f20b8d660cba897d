"""The decision card of one step: what was proposed, the arithmetic, the verdict, the repairs, what moved."""

import streamlit as st

from icm_engine.analysis.decision import Decision, Repaired, decision
from icm_engine.analysis.decision_figures import movers_chart, movers_frame, options_frame, scores_frame, terms_frame
from icm_engine.analysis.decision_words import (
    cost_sentence,
    decision_tiles,
    proposal_sentence,
    scored_sentence,
    sentence,
    settings_words,
    threshold_sentence,
)
from icm_engine.analysis.reading import Reading
from icm_engine.analysis.shown import Shown
from icm_engine.analysis.steps import VERDICT_WORDS
from icm_engine.analysis.travel import Moment
from icm_engine.analysis.wording import escaped
from pages.parts import live_curve, session

NUMBERS = {
    "before": st.column_config.NumberColumn(format="%.4f"),
    "after": st.column_config.NumberColumn(format="%.4f"),
    "change": st.column_config.NumberColumn(format="%+.4f"),
    "log-prob": st.column_config.NumberColumn(format="%.4f", help="Natural log, as the model gave it."),
    "share": st.column_config.ProgressColumn(
        format="percent", min_value=0.0, max_value=1.0, help="Probability among the labels."
    ),
    "U": st.column_config.NumberColumn(format="%.4f"),
    "against U now": st.column_config.NumberColumn(format="%+.4f", help="Against U of the labels being repaired."),
    "log p before": st.column_config.NumberColumn(format="%.4f"),
    "log p after": st.column_config.NumberColumn(format="%.4f"),
}
COLOURS = {"accepted": "blue", "rejected": "orange", "unchanged": "gray"}


def show(reading: Reading, moment: Moment) -> None:
    """Draw the card."""
    card = decision(reading, moment)
    with st.container(border=True, key="card"):
        _verdict(card)
        example, numbers = st.columns([1.1, 1], gap="large")
        with example:
            text_of(card.example)
            st.text(proposal_sentence(card))
            st.dataframe(scores_frame(card.scores), hide_index=True, column_config=NUMBERS, alt="What the model gave")
        with numbers:
            frame = terms_frame(card.before, card.after)
            st.dataframe(frame, hide_index=True, column_config=NUMBERS, alt="U and its parts, before and after")
            st.caption(settings_words(moment.config))
            st.text(scored_sentence(card))
        for repair in card.repairs:
            _repair(repair)
        if card.movers:
            _movers(card)
        st.caption(cost_sentence(card))
        st.text(f"prompt sha256 {card.prompt_sha256 or '–'}")


def _verdict(card: Decision) -> None:
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="verdict"):
        st.badge(VERDICT_WORDS[card.verdict], color=COLOURS[card.verdict])  # type: ignore[arg-type]
        st.text(sentence(card))
    if said := threshold_sentence(card):
        st.text(said)
    with st.container(key="decisive"):
        for tile in decision_tiles(card):
            st.metric(tile.name, tile.value, help=tile.explanation, border=True)


def text_of(example: Shown) -> None:
    """Draw an example: its texts as they are, then its id, group, answer and gold."""
    session.plain(example.text)
    facts = [f"example {example.id}", f"group {example.group}"]
    if example.answer is not None:
        facts.append(f"answer {example.answer}")
    if example.gold is not None:
        facts.append(f"gold {example.gold}")
    st.text(" · ".join(facts))


def _repair(repair: Repaired) -> None:
    title = f"⟲ Repair {repair.number}. {escaped(repair.sentence)}"
    with st.expander(title, expanded=repair.taken is not None):
        for column, example, label in zip(st.columns(2, gap="medium"), repair.pair, repair.labels, strict=True):
            with column:
                text_of(example)
                st.text(f"label before the repair: {label}")
        st.dataframe(options_frame(repair), hide_index=True, column_config=NUMBERS, placeholder="–",
                     alt="Every option of this repair")  # fmt: skip
        if repair.withheld_words:
            st.text(repair.withheld_words)


def _movers(card: Decision) -> None:
    chart = movers_chart(card.movers, session.dark())
    st.markdown(f"**{chart.title}**")
    if st.toggle("As a table", key="movers_table"):
        frame = movers_frame(card.movers)
        st.dataframe(frame, hide_index=True, column_config=NUMBERS, alt="Change of log p for each example")
    else:
        live_curve.show(chart, key="movers")
    st.caption(chart.caption)


def repairs(found: tuple[Repaired, ...]) -> None:
    """Draw repairs of an event that is no step."""
    for repair in found:
        _repair(repair)
