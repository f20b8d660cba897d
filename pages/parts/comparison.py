"""The views of Evaluate: gold, seeds, other runs, two label sources, reference labelings."""

import streamlit as st

from icm_engine import jobs
from icm_engine.analysis import landscape
from icm_engine.analysis.compare_figures import (
    AXES,
    SPACIOUS,
    accuracy_chart,
    accuracy_frame,
    accuracy_steps_frame,
    apart_frame,
    balances_frame,
    cell_frame,
    classes_frame,
    concepts_frame,
    confusion_chart,
    confusion_frame,
    disagreements_frame,
    landscape_chart,
    landscape_frame,
    paired_frame,
    pairs_frame,
    reliability_chart,
    reliability_frame,
    rights_frame,
    two_ways_frame,
    utilities,
    utilities_frame,
)
from icm_engine.analysis.formatting import decimal, escaped, one_line, percent
from icm_engine.analysis.gold_agreement import (
    Against,
    against_gold,
    area_under_curve,
    calibration,
    cell_caption,
    cell_rows,
    cells,
    counted_examples,
    gold_by_place,
    gold_shown,
    no_gold_words,
    pins_words,
)
from icm_engine.analysis.paired import (
    GOLD,
    Paired,
    paired_in,
    paired_words,
    references_of,
    sources_of,
)
from icm_engine.analysis.restarts import supports_frame
from icm_engine.analysis.run_form import ABOUT, model_choice, model_names, require_server
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.seed_agreement import (
    SeedAgreement,
    agreement,
    difference,
    differing,
    labels_of,
    other_settings,
    pairs_of,
    per_example,
    siblings,
    verdict,
)
from icm_engine.analysis.views import NOT_KEPT, example_text
from icm_engine.core.errors import IcmError
from icm_engine.store.store import Store
from pages.parts import batch_view, charts, job_line, session

ROWS = 500  # maximum number of examples shown for one cell
NONE = "no cell"
GOLD_COLUMNS = {
    "text": st.column_config.TextColumn(width="large"),
    "probability": st.column_config.ProgressColumn(
        format="percent", min_value=0.0, max_value=1.0, help="Of the label it has, as the model predicts it."
    ),
}
SHARES = {
    name: st.column_config.NumberColumn(format="percent")
    for name in ("mean probability", "share right", "gap", "accuracy", "balanced", "flipped")
}
INTERVALS = (
    "In brackets: 95 % intervals (Wilson), which assume independent examples; under a rule examples depend on each "
    "other, so the true intervals are wider. All examples: unlabelled ones count as wrong, as in recall. Flipped: "
    "both labels swapped, shown next to the accuracy, never instead of it."
)


def show_gold(store: Store, reading: Reading) -> None:
    """Draw the run against gold, over the examples that count."""
    counted = counted_examples(reading)
    gold = gold_by_place(store, reading, counted)
    if not gold:
        st.text(no_gold_words(reading))
        return
    against = against_gold(reading, gold, counted)
    if reading.pins:
        st.text(pins_words(reading))
    # a large matrix and a table of many labels need the width
    left, right = st.columns(2, gap="large") if len(against.labels) <= SPACIOUS else (st.container(), st.container())
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
    """Put a clicked cell into the URL; a second click removes it."""
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
        "Examples of a cell",
        options,
        options.index(chosen),
        key=key,
        on_change=_picked_gold,
        args=(key,),
        width=420,
        format_func=lambda cell: f"gold {known[cell][0]}, labelled {known[cell][1]}" if cell in known else NONE,
    )
    if chosen == NONE:
        return
    places = against.cell(*known[chosen])
    if not places:
        st.text("No example is in this cell.")
        return
    rows = cell_rows(reading, against, places)[:ROWS]
    st.dataframe(
        cell_frame(rows), hide_index=True, column_config=GOLD_COLUMNS, placeholder="–", alt="Examples of the cell"
    )
    st.caption(cell_caption(len(places), ROWS))


def _picked_gold(key: str) -> None:
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
    st.text(f"AUROC of the log-odds against gold: {decimal(area, 3)}.")
    st.caption(
        f"Ranks examples by the log-odds of the true label, {reading.given}. 1: every true example comes first; 0.5: "
        "no better than chance; near 0: mirrored."
    )


LANDSCAPE_COLUMNS = {
    "same as found": charts.SHARE,
    "label mass": charts.SHARE,
    "what it is": st.column_config.TextColumn(width="medium"),
}
WHAT = (
    "Scores other labelings of the same examples as the search scores its own. A reference above the found labels: "
    "the search failed. Gold below the found labels: the objective prefers other labels."
)


def show_landscape(store: Store, reading: Reading) -> None:
    """Draw the cost of a landscape, and the one in the URL, else the last one."""
    if reading.by_folds:
        st.text(NOT_KEPT)
        return
    st.text(WHAT)
    gold = gold_by_place(store, reading, tuple(reading.labeling))
    named = landscape.references(reading, gold)
    st.text(f"References: {landscape.reference_names(named)}.")
    st.text(landscape.price(store, reading, len(named)).words)
    run = reading.run.name
    made = jobs.names(store, landscape.KIND, run=run)
    busy = bool(made) and not jobs.status(store, made[0]).settled
    st.button(
        "Score them",
        key="landscape",
        type="primary",
        icon=":material/landscape:",
        on_click=_ask,
        args=(run,),
        disabled=busy,
        help="Runs in a separate process; you can leave the page meanwhile.",
    )
    if error := st.session_state.pop("landscape_problem", None):
        session.complain(error)
    if not made:
        return
    job = job_line.chosen(store, made, "Landscape")
    if job_line.show(store, job).complete and (found := jobs.result(store, job)):
        _found(landscape.landscape(found, gold_shown(reading)), job, reading)


def _ask(run: str) -> None:
    try:
        with Store() as store:
            reading, _ = session.look(run)
            gold = gold_by_place(store, reading, tuple(reading.labeling))
            st.query_params["job"] = landscape.submit(store, reading, gold)
    except IcmError as error:
        st.session_state["landscape_problem"] = error


def _found(found: landscape.Landscape, job: str, reading: Reading) -> None:
    with st.container(border=True, key="verdict"):
        st.text(landscape.verdict(found))
    st.text(landscape.higher(found))  # it contains labels, which are not markup
    charts.show(landscape_chart(found, session.dark()), None, f"chart_{job}")
    st.dataframe(
        landscape_frame(found), hide_index=True, column_config=LANDSCAPE_COLUMNS, alt="The landscape as a table"
    )
    st.caption(landscape.when(found, reading))


MOST = 4  # maximum number of other runs; more curves cannot be told apart


def show_runs(store: Store, reading: Reading, names: list[str]) -> None:
    """Draw the choice of other runs, and their comparison."""
    run = reading.run.name
    options = [name for name in names if name != run]
    asked = [name for name in st.query_params.get_all("with") if name in options][:MOST]
    key = f"with_{run}"
    chosen = st.multiselect(
        "Other runs",
        options,
        asked,
        key=key,
        on_change=_picked_runs,
        args=(key,),
        max_selections=MOST,
        placeholder="choose one or more",
    )
    readings = [reading, *(session.look(name)[0] for name in chosen)]
    _curves(readings)
    if not chosen:
        return
    for other in readings[1:]:
        _settings(reading, other)
    same = [other for other in readings if other.run.spec.dataset == reading.run.spec.dataset]
    if len(same) > 1:
        _differences(store, same)


def _picked_runs(key: str) -> None:
    st.query_params["with"] = st.session_state[key]


def _curves(readings: list[Reading]) -> None:
    by = session.choice("by", {axis: f"by {axis}" for axis in AXES}, "by_axis")
    charts.show(utilities(readings, by, session.dark()), utilities_frame(readings, by), f"utilities_{by}")


def _settings(reading: Reading, other: Reading) -> None:
    apart = other_settings(reading.run.spec, other.run.spec)
    st.text(f"{other.run.name} differs in: {', '.join(apart) or 'nothing'}.")


def _differences(store: Store, readings: list[Reading]) -> None:
    st.text(difference(readings).words)
    first = readings[0]
    reference = GOLD if all(map(gold_shown, readings)) else None
    found = [paired_in(store, first, first.run.name, one.run.name, reference, _read) for one in readings[1:]]
    _pairs(f"{first.run.name} with each of the others", [one for one in found if one.rows])
    gold = gold_by_place(store, first, tuple(first.labeling))
    rows = differing(readings, {first.run.codec.ids[i]: label for i, label in gold.items()}, ROWS)
    if rows:
        frame = disagreements_frame(rows, [one.run.name for one in readings])
        charts.examples("Where they differ", frame, ROWS, charts.ORDER)


PAIRED_COLUMNS = {
    "same labels": st.column_config.NumberColumn(format="percent", help="Share of the examples that both label."),
    "kappa": st.column_config.NumberColumn(format="%.2f", help="Cohen's kappa: 1 full agreement, 0 chance level."),
    "gold: first right": charts.SHARE,
    "other right": charts.SHARE,
    "difference": st.column_config.TextColumn(help="First minus other, with a 95 % interval over whole groups."),
    "McNemar p": st.column_config.TextColumn(help="Exact test of whether the two are equally often right."),
}
NO_REFERENCE = "nothing"


def _read(run: str) -> Reading:
    return session.look(run)[0]


def _pairs(title: str, found: list[Paired]) -> None:
    """Draw comparisons of two sources each as a table."""
    if found:
        st.markdown("**Paired comparisons**")
        st.dataframe(paired_frame(found), hide_index=True, column_config=PAIRED_COLUMNS, placeholder="–", alt=title)
        st.caption(f"{escaped(title)}, on the examples that both label. The view Pair has the details.")


def show_pair(store: Store, reading: Reading, names: list[str]) -> None:
    """Draw the choice of two label sources and a reference, and their comparison."""
    offered, run = sources_of(store, reading, names), reading.run.name
    if len(offered) < 2:
        st.text("There is nothing to compare these labels with: no other run on this data, no human labels, no gold.")
        return
    with st.container(horizontal=True, gap="small", key="pair"):
        asked = st.query_params.get("one"), st.query_params.get("other"), st.query_params.get("against")
        one = _source("Labels of", "one", asked[0], offered, run)
        other = _source("Compared with", "other", asked[1], offered, next(name for name in offered if name != one))
        known = [*(name for name in references_of(store, reading) if name not in (one, other)), NO_REFERENCE]
        reference = _source("Reference", "against", asked[2], known, known[0])
    if one == other:
        st.text("These are the same labels twice: choose two sources.")
        return
    found = paired_in(store, reading, one, other, None if reference == NO_REFERENCE else reference, _read)
    for words in paired_words(found):
        st.text(words)
    if found.rows:
        _two_ways(reading, found)


def _source(label: str, parameter: str, asked: str | None, options: list[str], usual: str) -> str:
    """Draw the choice of a source, which is in the URL."""
    chosen, key = asked if asked in options else usual, f"pair_{parameter}_{asked}"
    at, args = options.index(chosen), (parameter, key)
    return st.selectbox(label, options, at, key=key, width=260, on_change=session.address, args=args)


def _two_ways(reading: Reading, found: Paired) -> None:
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**How often each two labels meet**")
        st.dataframe(two_ways_frame(found), hide_index=True, alt="Confusion of the two sources")
    with right:
        if found.against is not None:
            st.markdown("**Which of the two is right**")
            st.dataframe(rights_frame(found), hide_index=True, alt="Examples by which source is right")
    if found.apart:
        place = reading.run.codec.index
        frame = apart_frame(found, lambda name: one_line(example_text(reading, place(name))), ROWS)
        charts.examples("Where they differ", frame, ROWS, "In the order of the data set")


def show_seeds(store: Store, reading: Reading) -> None:
    """Draw the proposal if these seeds were requested together, and the agreement of this run's seeds."""
    proposed = batch_view.show_chains(store, reading.run.name)
    if not reading.labeling:
        st.text("This run has no labels yet.")
        return
    others = [found for name in siblings(store, reading.run.name) if (found := session.look(name)[0]).labeling]
    readings = [reading, *others]
    names = [one.run.name for one in readings]
    if not others:
        st.text(
            "There is no other run with labels that differs from this one in its seed alone. Start one with another "
            "seed from the form of a new run: labels on which seeds agree are less likely to be due to chance."
        )
        _balances(readings)
        return
    labelings = dict(zip(names, map(labels_of, readings), strict=True))
    agreed, pairs = agreement(list(labelings.values())), pairs_of(labelings)
    _agreement_tiles(len(readings), agreed)
    st.text(verdict(agreed, pairs, two_labels=len(reading.tally.labels) == 2))
    left, right = st.columns(2, gap="large")
    with left:
        _balances(readings)
    with right:
        st.markdown("**Every two runs**")
        st.dataframe(
            pairs_frame(pairs),
            hide_index=True,
            column_config=charts.EXAMPLE_NUMBERS,
            placeholder="–",
            alt="Agreement of every two runs",
        )
    gold = gold_by_place(store, reading, tuple(reading.labeling))
    by_id = {reading.run.codec.ids[i]: label for i, label in gold.items()}
    if proposed is not None:
        rows = per_example(readings, by_id, ROWS, tuple(proposed.supports))
        frame = supports_frame(disagreements_frame(rows, names), proposed)
        charts.examples("Every example", frame, ROWS, batch_view.ORDER)
    elif agreed.examples:
        frame = disagreements_frame(per_example(readings, by_id, ROWS), names)
        charts.examples("Every example", frame, ROWS, charts.ORDER)


def _agreement_tiles(seeds: int, agreed: SeedAgreement) -> None:
    with st.container(key="checks"):
        st.metric("Seeds", seeds, border=True, help="Forks are left out: they share labels by descent.")
        st.metric("Labelled in all", f"{agreed.examples:,}", border=True, help="The examples that count here.")
        st.metric("Raw agreement", percent(agreed.raw), border=True, help="Mean over pairs of runs.")
        st.metric(
            agreed.kind,
            decimal(agreed.kappa, 2),
            border=True,
            help="1: full agreement. 0: what chance gives with these label balances.",
        )


def _balances(readings: list[Reading]) -> None:
    st.markdown("**Label balance**")
    frame = balances_frame(readings)
    columns = {name: charts.SHARE for name in map(str, frame) if name.startswith("share ")}
    st.dataframe(frame, hide_index=True, column_config=columns, placeholder="–", alt="Label balance of each run")


CONCEPTS = (
    "Labels can be coherent and follow another concept than the one that was meant. These references need no gold: "
    "features of the texts, stored zero-shot labels, and witnesses, which are other models that predict each label "
    "from all others."
)
CONCEPT_NOTE = (
    "Intervals: 95 %, over whole groups. Swapped: both labels of the reference swapped. Single words: naive Bayes, "
    "which predicts each label from the labels of all other groups. Of a pair and its swapped twin one is counted."
)


def show_concepts(store: Store, reading: Reading) -> None:
    """Draw the agreement of a run's labels with every reference, and the choice of a witness."""
    st.text(CONCEPTS)
    rows = landscape.concepts(store, reading)
    with st.container(border=True, key="verdict"):
        st.text(landscape.concept_words(rows, reading))
    if rows:
        columns = {"agreement": charts.SHARE, "swapped": charts.SHARE}
        frame = concepts_frame(rows)
        st.dataframe(frame, hide_index=True, column_config=columns, placeholder="–", alt="Agreement by reference")
        st.caption(CONCEPT_NOTE)
    made = jobs.names(store, landscape.WITNESS, run=reading.run.name)
    for job in reversed(made):
        asked = jobs.spec(store, job).model
        if (found := jobs.result(store, job)) and asked:
            st.text(landscape.witness_words(found, reading, asked.model))
    _witness_form(store, reading.run.name, bool(made) and not jobs.status(store, made[0]).settled)
    if made:
        job_line.show(store, made[0])


def _witness_form(store: Store, run: str, busy: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="witness_form"):
        st.selectbox(
            "Witness", model_names(store), key="witness_model", help=ABOUT["model"], accept_new_options=True, width=300
        )
        st.button(
            "Ask this model",
            key="witness",
            icon=":material/record_voice_over:",
            on_click=_ask_witness,
            args=(run,),
            disabled=busy,
            help="Scores the labels, and their mirror, in a separate process; a cheap model is enough.",
        )
    if error := st.session_state.pop("witness_problem", None):
        session.complain(error)


def _ask_witness(run: str) -> None:
    model = st.session_state["witness_model"]
    try:
        with Store() as store:
            require_server(model)
            reading = _read(run)
            landscape.ask_witness(store, reading, model_choice(model, reading.run.spec.quantization))
    except IcmError as error:
        st.session_state["witness_problem"] = error
