"""Steps: one decision with all of its arithmetic, and the run as it stood then."""

import streamlit as st

from icm_engine.analysis.figures import conflicts_frame, labels_frame
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.status_tiles import tiles_then
from icm_engine.analysis.step_card import prompt_read
from icm_engine.analysis.step_figures import curves_then
from icm_engine.analysis.time_travel import Moment, followed, open_moment, place_at, ways, where
from icm_engine.analysis.views import conflicts_now, labels_table, notices
from icm_engine.core.text import whole_number
from icm_engine.store.store import Store
from pages.parts import charts as chart_parts
from pages.parts import menu, session, step_card, workspace

ARROWS = {"previous": "←", "next": "→"}  # keys that `step_card.listen` counts: a button loses fast presses
# name in Ways, label, icon, key on the keyboard, explanation
JUMPS = (
    ("first", "First", ":material/first_page:", None, "The initial labels."),
    ("previous", "Previous", ":material/chevron_left:", None, "One event back."),
    ("next", "Next", ":material/chevron_right:", None, "One event on."),
    ("last", "Last", ":material/last_page:", None, "Where the run stands now."),
    ("flip", "Next flip", ":material/swap_horiz:", "F", "The next time the label of this example changes."),
    ("accepted", "Next accepted", ":material/check:", "A", "The next accepted proposal."),
    ("repair", "Next repair", ":material/build:", "E", "The next step with a repair in it."),
)
OF_ROUNDS = {  # other labels and explanations, of a run that takes rounds
    "first": ("First", "The labels to start from."),
    "accepted": ("Next kept", "The next round whose labels were kept."),
    "repair": ("Next repair", "The next round with a repair in it."),
}


def show_travel(reading: Reading, moment: Moment) -> None:
    """Draw the navigation from this moment; each button puts another event into the URL."""
    run, points = reading.run.name, reading.trajectory.points
    example = followed(reading, moment, st.query_params.get("example"))
    found = ways(reading, moment.place, None if example is None else example.place)
    slider = f"travel_{run}"
    st.session_state[slider] = moment.place  # the URL also changes elsewhere
    if len(points) > 1:
        st.slider(
            "Time",
            0,
            len(points) - 1,
            key=slider,
            on_change=lambda: _go(points[st.session_state[slider]].event),
            help=f"One place for the initial labels, then one for each {reading.unit}, and for each act between two.",
        )
    keys = st.session_state.get("shortcuts", True)
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="travel"):
        for name, label, icon, key, explanation in JUMPS:
            if reading.by_folds:
                label, explanation = OF_ROUNDS.get(name, (label, explanation))
            target = getattr(found, name)
            st.button(
                f"{label} `{ARROWS[name]}`" if keys and name in ARROWS else label,
                icon=icon,
                key=f"go_{name}",
                help=explanation,
                shortcut=key if keys else None,
                disabled=target in (None, moment.event.number),
                on_click=_go,
                args=(target, example.id if example and name == "flip" else None),
            )
    place = moment.place
    here = step_card.Standing(f"steps_{run}", place, place - 1, place + 1, len(points) - 1)
    step_card.listen(here, keys, lambda wanted: _go(points[wanted].event))
    _jump(reading, moment)
    st.text(where(reading, moment))
    if example is not None and "example" in st.query_params:
        _followed(example.id, moment.then.labeling.get(example.place, "–"))


def _followed(example: str, label: str) -> None:
    """The example that is followed in place of the drawn one, with its label then."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="followed"):
        st.text(f"Following example {example}: its label then was {label}.")
        st.button("Follow the drawn one", key="unfollow", type="tertiary", on_click=_unfollow)


def _jump(reading: Reading, moment: Moment) -> None:
    unit = reading.unit.capitalize()
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom", key="jump"):
        key = f"jump_{reading.run.name}"
        st.session_state[key] = moment.state.step
        words = f"Go to this {reading.unit}."
        st.number_input(unit, 0, key=key, width=140, on_change=_to_step, args=(key,), help=words)
        st.toggle("Keyboard shortcuts", True, key="shortcuts", help="Keys on the buttons; never while you type.")


def _go(event: int, example: str | None = None) -> None:
    address = {**st.query_params.to_dict(), "event": str(event)} | ({} if example is None else {"example": example})
    for name in ("step", "fold"):
        address.pop(name, None)
    st.query_params.from_dict(address)  # in one act: a press that follows at once may end this one halfway


def _to_step(key: str) -> None:
    for name in ("event", "fold"):
        st.query_params.pop(name, None)
    session.address("step", key)


def _unfollow() -> None:
    st.query_params.pop("example", None)


VIEWS = ("Curves", "Prompt", "Labels", "Inconsistent pairs", "What if")
OF_FOLDS = ("Curves", "Labels", "Inconsistent pairs")  # no single prompt, and the models tuned are not kept
PROMPT_HEIGHT = 520  # pixels; a longer one scrolls


def show(store: Store, run: str) -> None:
    """Draw the moment in the URL, else the newest one."""
    reading = session.shelf().reading(store, run)
    if reading.trajectory.last is None:
        st.text("This run has no labels yet: the first event to look at are its initial labels.")
        return
    moment = open_moment(store, reading, place_at(reading, _asked("event"), _asked("step")))
    workspace.follow(run, reading.cursor, "event", "step")
    show_travel(reading, moment)
    if moment.event.kind == "step":
        step_card.show(reading, moment)
    elif moment.event.kind == "round":
        step_card.show_round(store, reading, moment)
    else:
        step_card.show_event(reading, moment)
    for notice in notices(reading):
        st.warning(notice.text, icon=":material/info:")
    _views(reading, moment)


def _asked(name: str) -> int | None:
    return whole_number(st.query_params.get(name, ""))


def _views(reading: Reading, moment: Moment) -> None:
    """Draw the state at that moment; only the open view is computed."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", key="then"):
        st.subheader(f"State after this {reading.unit}", width="content")
        st.page_link(
            menu.FORKS,
            label="Fork from here",
            icon=":material/fork_right:",
            width="content",
            query_params={"run": reading.run.name, "step": str(moment.state.step)},
        )
    with st.container(key="counts"):
        chart_parts.tiles(tiles_then(moment.then))
    view = session.choice("view", OF_FOLDS if reading.by_folds else VIEWS, f"view_{reading.run.name}")
    drawn = {VIEWS[1]: _prompt, VIEWS[2]: _labels, VIEWS[3]: _pairs, VIEWS[4]: _what_if}
    drawn.get(view, _curves)(reading, moment)


def _curves(reading: Reading, moment: Moment) -> None:
    charts = curves_then(moment.then, reading.trajectory, session.dark())
    for pair in (charts[:2], charts[2:]):
        for column, chart in zip(st.columns(2, gap="large"), pair, strict=False):
            with column:
                st.markdown(f"**{chart.title}**")
                chart_parts.show_live(chart, key=f"then_{chart.title}_{reading.run.name}")
                st.caption(chart.caption)


def _prompt(reading: Reading, moment: Moment) -> None:
    if moment.event.kind != "step":
        st.text("No single prompt belongs to this event: it drew no example.")
        return
    found = prompt_read(reading, moment)
    if found.matches is False:
        st.warning(found.sentence, icon=":material/warning:")
    else:
        st.text(found.sentence)
    session.exactly(found.text, PROMPT_HEIGHT)
    st.caption("· space · ↵ line end · → tab. The label follows after the last sign.")
    st.text(f"sha256 {found.sha256}")


def _labels(reading: Reading, moment: Moment) -> None:
    rows = labels_table(moment.then, chart_parts.ROWS)
    st.dataframe(
        labels_frame(rows),
        hide_index=True,
        column_config=chart_parts.numbers(reading),
        placeholder="–",
        alt=f"The labels after this {reading.unit}",
    )
    st.caption(f"Labelled examples first, at most {chart_parts.ROWS} here.")


def _pairs(reading: Reading, moment: Moment) -> None:
    pairs = conflicts_now(moment.then)
    if not pairs:
        st.text("Nothing was inconsistent then.")
        return
    st.dataframe(
        conflicts_frame(pairs[: chart_parts.ROWS]), hide_index=True, alt="The pairs that were inconsistent then"
    )


def _what_if(reading: Reading, moment: Moment) -> None:
    example = followed(reading, moment, st.query_params.get("example"))
    if example is None:
        st.text("This event drew no example: put one into the address, or go to a step.")
        return
    st.text(f"Example {example.id}, with the labels after this step:")
    step_card.show_what_if(moment.then, moment.event.number, example.id)


workspace.show("Steps", show)
