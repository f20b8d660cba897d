"""The decision card of one step, the card of any other event, and the what-if question."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import streamlit as st

from icm_engine import jobs
from icm_engine.analysis import forks
from icm_engine.analysis.event_cards import RoundCard, change_words, event_card, predictions, round_card
from icm_engine.analysis.formatting import MANY, escaped
from icm_engine.analysis.run_history import VERDICT_WORDS, FitRow, Reading
from icm_engine.analysis.step_card import (
    Decision,
    RepairLine,
    cost_sentence,
    decision,
    decision_tiles,
    proposal_sentence,
    scored_sentence,
    sentence,
    settings_words,
    threshold_sentence,
)
from icm_engine.analysis.step_figures import (
    changed_frame,
    movers_chart,
    movers_frame,
    options_frame,
    predictions_frame,
    scores_frame,
    terms_frame,
)
from icm_engine.analysis.time_travel import Moment
from icm_engine.analysis.views import NOT_KEPT, ExampleView
from icm_engine.core.errors import IcmError
from icm_engine.runs import control
from icm_engine.store.store import Store
from pages.parts import charts, job_line, menu, session

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
ROUND_TERMS = {
    "before": st.column_config.NumberColumn(format="%.4f", help="Of the labels kept so far."),
    "tried": st.column_config.NumberColumn(format="%.4f", help="Of the labels that this round tried."),
    "change": st.column_config.NumberColumn(format="%+.4f"),
}
PREDICTED = {
    "tried": st.column_config.TextColumn(width=96, help="The label that the round tried for it."),
    "share": st.column_config.ProgressColumn(
        format="percent", min_value=0.0, max_value=1.0, help="Probability of that label among the labels."
    ),
    "favoured": st.column_config.TextColumn(width=96, help="The most probable label."),
    "its share": st.column_config.ProgressColumn(
        format="percent", min_value=0.0, max_value=1.0, help="Probability of the most probable label."
    ),
}
COLOURS = {"accepted": "blue", "rejected": "orange", "unchanged": "gray", "initial": "gray"}


def show(reading: Reading, moment: Moment) -> None:
    """Draw the decision card of a step."""
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


def text_of(example: ExampleView) -> None:
    """Draw an example: its texts literally, then id, group, answer and gold."""
    session.plain(example.text)
    facts = [f"example {example.id}", f"group {example.group}"]
    if example.answer is not None:
        facts.append(f"answer {example.answer}")
    if example.gold is not None:
        facts.append(f"gold {example.gold}")
    st.text(" · ".join(facts))


def _repair(repair: RepairLine) -> None:
    title = f"⟲ Repair {repair.number}. {escaped(repair.sentence)}"
    with st.expander(title, expanded=repair.taken is not None):
        for column, example, label in zip(st.columns(2, gap="medium"), repair.pair, repair.labels, strict=True):
            with column:
                text_of(example)
                st.text(f"label before the repair: {label}")
        st.dataframe(
            options_frame(repair),
            hide_index=True,
            column_config=NUMBERS,
            placeholder="–",
            alt="Every option of this repair",
        )
        if repair.withheld_words:
            st.text(repair.withheld_words)


def _movers(card: Decision) -> None:
    chart = movers_chart(card.movers, session.dark())
    st.markdown(f"**{chart.title}**")
    if st.toggle("As a table", key="movers_table"):
        frame = movers_frame(card.movers)
        st.dataframe(frame, hide_index=True, column_config=NUMBERS, alt="Change of log p for each example")
    else:
        charts.show_live(chart, key="movers")
    st.caption(chart.caption)


def repairs(found: tuple[RepairLine, ...]) -> None:
    """Draw the repairs of an event other than a step."""
    for repair in found:
        _repair(repair)


def show_event(reading: Reading, moment: Moment) -> None:
    """Draw the card of an event other than a step."""
    card = event_card(reading, moment)
    with st.container(border=True, key="card"):
        st.markdown(f"**{card.title}**")
        for sentence in (*card.sentences, change_words(card)):
            st.text(sentence)
        if card.parent:
            st.page_link(
                menu.STEPS, label="The run it came from", icon=":material/fork_right:", query_params=card.parent
            )
        frame = terms_frame(card.before, card.after)
        st.dataframe(frame, hide_index=True, column_config=NUMBERS, alt="U and its parts, before and after")
        if card.changed:
            st.dataframe(changed_frame(card.changed), hide_index=True, placeholder="–", alt="The examples it touched")
        repairs(card.repairs)


def show_round(store: Store, reading: Reading, moment: Moment) -> None:
    """Draw the card of a round, its fits, and the predictions of the fit in the URL."""
    card = round_card(store, reading, moment)
    with st.container(border=True, key="card"):
        with st.container(horizontal=True, gap="small", vertical_alignment="center", key="verdict"):
            st.badge(card.row.words, color=COLOURS[card.row.verdict])  # type: ignore[arg-type]
            st.text(card.sentences[0])
        for sentence in card.sentences[1:]:
            st.text(sentence)
        if card.row.number:
            with st.container(key="decisive"):
                for tile in card.tiles:
                    st.metric(tile.name, tile.value, help=tile.explanation, border=True)
        _tried(card)
        repairs(card.repairs)
    if card.fits:
        show_fits(store, reading, card.fits, f"Fits of round {card.row.number:,}", moment)
    if reading.fitted and moment.event.number == reading.trajectory.points[-1].event:
        show_fits(store, reading, reading.fitted, f"Fits so far of round {card.row.number + 1:,}, which is in progress")


def _tried(card: RoundCard) -> None:
    frame = terms_frame(card.before, card.tried).rename(columns={"after": "tried"})
    st.dataframe(frame, hide_index=True, column_config=ROUND_TERMS, alt="U and its parts, before and tried")
    if card.changed:
        st.markdown("**Labels tried**" if card.row.number else "**Initial labels**")
        st.dataframe(changed_frame(card.changed), hide_index=True, placeholder="–", alt="The labels that it changed")


def show_fits(store: Store, reading: Reading, fits: Sequence[FitRow], title: str, moment: Moment | None = None) -> None:
    """Draw fits of one round, and the predictions of the chosen one; `moment` is that of the round, if it ended."""
    st.markdown(f"**{title}**")
    charts.show_fits(fits, title)
    by_name = {fit.words.capitalize(): fit for fit in fits}
    asked = (st.query_params.get("fold"), st.query_params.get("event"))
    found = (name for name, fit in by_name.items() if str(fit.fold) == asked[0] or str(fit.event) == asked[1])
    key = f"fold_{fits[-1].event}_{len(fits)}_{reading.run.name}"
    first = next(found, None)
    name = st.selectbox(
        "Predictions of one fit",
        list(by_name),
        None if first is None else list(by_name).index(first),
        key=key,
        placeholder="choose a fold",
        width=320,
        on_change=lambda: _choose_fold(by_name.get(st.session_state[key])),
        help="What the tuned model predicted for the examples held out.",
    )
    if name is not None:
        rows = predictions(store, reading, by_name[name], moment)
        st.dataframe(
            predictions_frame(rows),
            hide_index=True,
            column_config=PREDICTED,
            placeholder="–",
            alt=f"Predictions: {name}",
        )


def _choose_fold(fit: FitRow | None) -> None:
    if fit is None:
        st.query_params.pop("fold", None)
    else:
        st.query_params["fold"] = str(fit.fold)


def show_what_if(reading: Reading, event: int, example: str) -> None:
    """Draw the what-if question about one labelled example at an event, and existing answers."""
    labels = forks.other_labels(reading, example)
    if reading.by_folds:
        st.text(NOT_KEPT)
        return
    if not labels:
        st.text("What if? can be asked about examples that have a label.")
        return
    st.caption(forks.price(reading).words)
    if len(labels) > MANY:
        _pick_what_if(reading.run.name, event, example, labels)
        labels = ()
    with st.container(horizontal=True, gap="small"):
        for label in labels:
            st.button(
                f"What if {escaped(label)}?",
                key=f"what_if_{example}_{label}",
                icon=":material/help:",
                on_click=_ask,
                args=(reading.run.name, event, example, label),
                help="Scores the other label. Nothing changes.",
            )
    if error := st.session_state.pop("what_if_problem", None):
        session.complain(error)
    if child := st.session_state.pop("what_if_fork", None):
        st.switch_page(menu.SEARCH, query_params={"run": child})
    with Store() as store:
        for job in forks.asked_before(store, reading.run.name, example)[:3]:
            if job_line.show(store, job).complete:
                _answer(store, job)


def _pick_what_if(run: str, event: int, example: str, labels: Sequence[str]) -> None:
    """Draw a choice of the label, which is searched by typing, in place of a button for each."""
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        key = f"what_if_{example}"
        label = st.selectbox(
            f"What if it were one of {len(labels)} other labels?",
            labels,
            None,
            key=key,
            placeholder="type to find a label",
            width=320,
        )
        st.button(
            "What if?",
            key=f"ask_{key}",
            icon=":material/help:",
            disabled=label is None,
            on_click=_ask,
            args=(run, event, example, label),
            help="Scores this label. Nothing changes.",
        )


def _ask(run: str, event: int, example: str, label: str) -> None:
    reading, _ = session.look(run)
    with Store() as store:
        forks.submit_what_if(store, reading, event, example, label)


def _answer(store: Store, job: str) -> None:
    found = jobs.result(store, job)
    if found is None:
        return
    with st.container(border=True):
        for line in forks.answer_words(found):
            st.text(line)
        with st.container(horizontal=True, gap="small"):
            st.button(
                f"Pin {escaped(found['label'])}",
                key=f"pin_{job}",
                icon=":material/push_pin:",
                on_click=_pin,
                args=(found["run"], found["example"], found["label"]),
                help="Puts the label into this run, for good.",
            )
            st.button(
                "Open as fork",
                key=f"fork_{job}",
                icon=":material/fork_right:",
                on_click=_fork,
                args=(found["run"], found["event"], found["example"], found["label"]),
                help="A new run from here with this label pinned; this one stays as it is.",
            )


def _pin(run: str, example: str, label: str) -> None:
    try:
        with Store() as store:
            control.submit_intervention(store, run, "pin", [example], [label])
    except IcmError as error:
        st.session_state["what_if_problem"] = error


def _fork(run: str, event: int, example: str, label: str) -> None:
    try:
        with Store() as store:
            st.session_state["what_if_fork"] = forks.begin_with_label(store, run, event, example, label)
    except IcmError as error:
        st.session_state["what_if_problem"] = error


# The arrow keys as places in an order. Presses that come faster than the page is drawn add up: each starts from the
# place that was asked for last, and the newest is sent. A key that a widget has handled, or that is typed, is no step.
JS = """
const PAUSE = 80;  // milliseconds for which presses are collected
const LATE = 5000;  // milliseconds after which a place that was asked for is no longer waited for

export default function ({ data, parentElement, setTriggerValue }) {
  const state = (parentElement.icmArrows ??= {});
  state.send = (place) => setTriggerValue("place", place);
  if (state.order !== data.order || state.wanted === data.place) state.wanted = undefined;
  state.order = data.order;
  document.removeEventListener("keydown", state.listener);
  state.listener = (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const typing = event.target.closest?.("input, textarea, select, [contenteditable=true], [role=slider], canvas");
    const other = event.ctrlKey || event.altKey || event.metaKey || event.shiftKey || event.defaultPrevented;
    if (!by || !data.on || typing || other) return;
    const now = performance.now(), waiting = state.wanted !== undefined && now - state.pressed < LATE;
    const wanted = waiting ? state.wanted + by : by < 0 ? data.left : data.right;
    if (wanted < 0 || wanted > data.last) return;
    event.preventDefault();
    Object.assign(state, { wanted, pressed: now });
    state.timer ??= setTimeout(() => { state.timer = undefined; state.send(state.wanted); }, PAUSE);
  };
  document.addEventListener("keydown", state.listener);
  return () => document.removeEventListener("keydown", state.listener);
}
"""
_arrows = st.components.v2.component("icm_arrow_keys", html="<span></span>", js=JS, isolate_styles=False)


@dataclass(frozen=True, slots=True)
class Standing:
    """A place in an order of things, from 0, and the places that the arrow keys lead to; None: beside the order."""

    order: str  # its name
    place: int | None
    left: int
    right: int
    last: int


def listen(now: Standing, on: bool, go: Callable[[int], None]) -> None:
    """Listen for the arrow keys left and right; `go` receives the place they lead to."""
    key = f"arrows_{now.order}"

    def moved() -> None:
        wanted = st.session_state[key].place
        if wanted is not None:
            go(min(max(int(wanted), 0), now.last))

    with st.container(key="arrows", width="content"):
        _arrows(key=key, data={**asdict(now), "on": on}, on_place_change=moved)
