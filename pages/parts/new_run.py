"""The settings of a new run: what to label, with what, how; and a file to import."""

from typing import Any

import streamlit as st

from icm_engine.analysis.choices import (
    ABOUT,
    APART,
    QUANTIZATIONS,
    IcmError,
    Setting,
    Store,
    begin,
    dataset_names,
    make_spec,
    presets,
    settings,
)
from pages.parts import session, upload


def show(store: Store) -> None:
    """Draw the form of a new run; Start creates it and opens it."""
    st.subheader("New run")
    choices = _what(store) | _how()
    values = _all_settings(choices["preset"]) | {name: choices.pop(name) for name in APART}
    st.button(
        "Start", type="primary", icon=":material/play_arrow:", shortcut="S", key="start_new", width=220,
        on_click=_begin, args=(choices, values), help="Creates the run and starts its worker.",
    )  # fmt: skip
    if error := st.session_state.pop("problem", None):
        session.complain(error)
    upload.show()


def _what(store: Store) -> dict[str, Any]:
    names = dataset_names(store)
    data, model, quantization = st.columns(3, gap="medium")
    return {
        "dataset": data.selectbox("Data set", names, key="dataset", help=ABOUT["dataset"]),
        "model": model.selectbox(
            "Model", ["sample", "fake"], key="model", help=ABOUT["model"], accept_new_options=True
        ),
        "quantization": quantization.selectbox(
            "Quantization", list(QUANTIZATIONS), key="quantization", help=ABOUT["quantization"]
        ),
    }


def _how() -> dict[str, Any]:
    preset, limit, seed, steps = st.columns(4, gap="medium")
    chosen = preset.selectbox("Preset", presets(), key="preset", help=ABOUT["preset"])
    apart = {setting.name: setting for setting in settings(chosen) if setting.name in APART}
    return {
        "preset": chosen,
        "limit": limit.number_input("Limit", 0, value=64, step=8, key="limit", help=ABOUT["limit"]),
        "seed": seed.number_input("Seed", value=apart["seed"].value, key="seed", help=apart["seed"].explanation),
        "max_steps": steps.number_input(
            "Steps", 0, value=apart["max_steps"].value, step=50, key="max_steps", help=apart["max_steps"].explanation
        ),
    }


def _all_settings(preset: str) -> dict[str, Any]:
    """Draw every other setting, keyed by preset: another preset shows its own values."""
    shown = [setting for setting in settings(preset) if setting.name not in APART]
    with st.expander("All settings of the search", icon=":material/tune:"):
        columns = st.columns(3, gap="medium")
        thirds = zip(shown, [*columns] * len(shown), strict=False)
        return {setting.name: _setting(setting, column, preset) for setting, column in thirds}


def _setting(setting: Setting, column: Any, preset: str) -> Any:
    label, key = setting.words.capitalize(), f"{preset}_{setting.name}"
    if isinstance(setting.value, bool):
        return column.toggle(label, setting.value, key=key, help=setting.explanation)
    if setting.choices:
        place = setting.choices.index(setting.value)
        return column.selectbox(label, setting.choices, place, key=key, help=setting.explanation)
    return column.number_input(label, value=setting.value, key=key, help=setting.explanation)


def _begin(choices: dict[str, Any], values: dict[str, Any]) -> None:
    try:
        with Store() as store:
            session.choose(begin(store, make_spec(**choices, values=values)))
    except IcmError as error:
        st.session_state["problem"] = error
