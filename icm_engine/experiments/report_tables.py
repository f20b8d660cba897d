"""The tables of a report: label sources, differences, U with each form of P, predictors of accuracy."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from icm_engine.analysis.alerts import collapsed
from icm_engine.analysis.formatting import duration
from icm_engine.analysis.paired import p_words
from icm_engine.core.folds import FOLDS
from icm_engine.jobs.finetuning import settings_of
from icm_engine.store.events import SEARCH, Json

if TYPE_CHECKING:
    import pandas

NONE = "–"
BEST = ", best of "  # the row of the chain that restarts would propose


@dataclass(frozen=True, slots=True)
class Table:
    """One table and its caption."""

    title: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(found: Json) -> list[Table]:
    """Return a suite's tables: one of label sources per data set, then the tables about all data sets."""
    made = [_sources(found, dataset) for dataset in found["datasets"]]
    others = (
        _recovered(found),
        _tuned(found),
        _ends(found),
        _constants(found),
        _reasons(found),
        _differences(found),
        _forms(found),
        _predictors(found),
    )
    made += [table for table in others if table is not None]
    return made


def table_frame(table: Table) -> "pandas.DataFrame":
    """Return a table as a data frame."""
    import pandas

    return pandas.DataFrame(list(table.rows), columns=list(table.head))


def percent(made: Json | None) -> str:
    """Return an estimate in percent with its interval."""
    if made is None:
        return NONE
    return f"{100 * made['mean']:.1f} [{100 * made['low']:.1f}, {100 * made['high']:.1f}]"


def points(made: Json) -> str:
    """Return a difference in percentage points with its interval."""
    return f"{100 * made['mean']:+.1f} [{100 * made['low']:+.1f}, {100 * made['high']:+.1f}]"


def _sources(found: Json, dataset: str) -> Table:
    rows = [row for row in found["rows"] if row["dataset"] == dataset]
    label, tuned = _shown_label(rows), any(row.get("cost", {}).get("fits") for row in rows)
    seeds = "seed" if len(found["seeds"]) == 1 else "seeds"
    caption = (
        f"{found['examples']} examples, {seeds} {', '.join(map(str, found['seeds']))}. Percent right, mean and 95 % "
        "interval over seeds and examples (whole groups); by seed in brackets. “In use”: as demonstrations for "
        "examples that no source labelled. Sources marked * were made with gold or by people. Costs are means per run."
        + (" Tokens are those scored and those read in tuning, each as often as it was read." if tuned else "")
        + (
            " A source with 0 shots labelled those examples itself."
            if any(a.get("test") for a in found["arms"])
            else ""
        )
    )
    head = (
        "source",
        "labels, % right",
        "by seed",
        "flipped",
        "labelled",
        "in use, % right",
        "shots",
        "U",
        "pairs",
        "label mass",
        label,
        "evaluations a label",
        "prompts",
        *(["fits"] if tuned else []),
        "tokens",
        "seconds",
    )
    return Table(f"Label sources on {dataset}", caption, head, tuple(_source(row, label, tuned) for row in rows))


def _shown_label(rows: Sequence[Json]) -> str:
    """The label whose share is the balance: True, or the task's first label."""
    labels = [label for row in rows for label in row.get("balance", ())]
    return "True" if "True" in labels else next(iter(labels), "True")


def _source(row: Json, label: str, tuned: bool) -> tuple[str, ...]:
    if "accuracy" not in row:
        return (row["arm"], "not applicable", *[NONE] * (13 + tuned))
    used = row["used"][-1] if row["used"] else None
    cost = row["cost"]
    name = f"{row['arm']}{' *' if row['supervised'] else ''}"
    return (
        name + (" (some runs failed)" if row["reason"] else ""),
        percent(row["accuracy"]),
        " ".join(f"{100 * value:.0f}" for value in row["accuracy"]["values"]) if row["accuracy"] else NONE,
        f"{100 * row['flipped']['mean']:.1f}" if row["flipped"] else NONE,
        f"{100 * row['labelled']:.0f} %",
        percent(used),
        NONE
        if used is None
        else " ".join(map(str, used["shots"]))
        if isinstance(used["shots"], list)
        else str(used["shots"]),
        " ".join(f"{value:.1f}" for value in row["utility"]),
        " ".join(map(str, row["pairs"])),
        f"{row['label_mass']:.3f}",
        f"{100 * row['balance'].get(label, 0):.0f} %",
        f"{cost['set_evaluations_per_label']:.1f}",
        f"{cost['prompts']:,.0f}",
        *([f"{cost['fits']:,.0f}" if cost["fits"] else NONE] if tuned else []),
        f"{cost['tokens'] + cost['tokens_tuned']:,.0f}",
        f"{cost['seconds']:.1f}",
    )


def _ends(found: Json) -> Table | None:
    """How the searches ended; always stated, since a mean over seeds hides one that collapsed."""
    rows = tuple(
        (row["arm"], row["dataset"], *(str(row["ends"][how]) for how in ("runs", "collapsed", "mirrored", "stalled")))
        for row in found["rows"]
        if row.get("ends") and row["source"] in (SEARCH, FOLDS) and BEST not in row["arm"]
    )
    if not rows:
        return None
    caption = (
        "Collapsed: nearly all labels are the same. Mirrored: with every label swapped, at least 65 % are right. "
        "Stalled: fewer than three quarters of the examples are labelled."
    )
    return Table(
        "How the searches ended", caption, ("source", "data set", "runs", "collapsed", "mirrored", "stalled"), rows
    )


def _constants(found: Json) -> Table | None:
    """Runs with nearly constant labels; a mean over seeds hides them, and U may prefer them."""
    told = [(cell, collapsed(cell.get("balance", {}))) for cell in found["cells"] if not cell.get("supervised")]
    rows = tuple(
        (cell["arm"], cell["dataset"], str(cell["seed"]), words, f"{cell['utility']:.1f}", _right(cell["accuracy"]))
        for cell, words in told
        if words
    )
    if not rows:
        return None
    caption = "Each is one run. U can be higher for a constant than for the truth, so it does not tell them apart."
    head = ("source", "data set", "seed", "labels", "U", "right")
    return Table("Nearly constant labels", caption, head, rows)


def _right(accuracy: float | None) -> str:
    return NONE if accuracy is None else f"{100 * accuracy:.1f} %"


def _reasons(found: Json) -> Table | None:
    """Why sources are not applicable or runs failed; a reason that applies to all data sets is stated once."""
    by_source: dict[tuple[str, str], list[str]] = {}
    for row in found["rows"]:
        if row["reason"] and "best of" not in row["arm"]:
            by_source.setdefault((row["arm"], row["reason"]), []).append(row["dataset"])
    if not by_source:
        return None
    rows = tuple((arm, ", ".join(datasets), reason) for (arm, reason), datasets in by_source.items())
    caption = "An unavailable source is left out of every comparison; it never gets labels by other means."
    return Table("Not applicable, and why", caption, ("source", "data set", "reason"), rows)


def _differences(found: Json) -> Table | None:
    if not found["differences"]:
        return None
    rows = [
        (f"{d['one']} − {d['other']}", d["dataset"], _COMPARED[d["what"]], points(d), _verdict(d), _tests(d))
        for d in found["differences"]
    ]
    caption = (
        "Percentage points with 95 % intervals, both sides resampled together over seeds and examples. An interval "
        "that holds 0 supports no difference. McNemar: the exact test for each seed, of labels alone, which takes "
        "examples as independent."
    )
    head = ("pair", "data set", "what", "points", "interval", "McNemar p, by seed")
    return Table("Differences", caption, head, tuple(rows))


def _tests(made: Json) -> str:
    """The p values of exact McNemar, one a seed; results stored before there were any have none."""
    return " ".join(p_words(test["p"]) for test in made.get("mcnemar", ())) or NONE


_COMPARED = {"labels": "labels", "use": "in use", "tuned": "tuned", "gain": "tuned"}


def _recovered(found: Json) -> Table | None:
    """Performance gaps recovered; a report from before there were any has no such results."""
    if not found.get("recovered"):
        return None
    rows = tuple(
        (one["arm"], one["weak"], one["dataset"], *(_right(one[side]) for side in ("from", "to", "of")), _share(one))
        for one in found["recovered"]
    )
    caption = (
        "(source − weak labels) / (ceiling − weak labels), with a 95 % interval: the three are resampled together over "
        "seeds and examples. At 0 % the source is no better than the weak labels, at 100 % it is as good as the "
        f"ceiling ({', '.join(dict.fromkeys(one['ceiling'] for one in found['recovered']))}). All of them label the "
        "same examples. Where the ceiling is not above the weak labels there is nothing to recover."
    )
    head = ("source", "weak labels", "data set", "weak", "source, right", "ceiling", "gap recovered")
    return Table("Performance gap recovered", caption, head, rows)


def _share(one: Json) -> str:
    """A performance gap recovered in words; what has no number says why."""
    if one["value"] is None:
        return f"undefined: the ceiling is not above the weak labels ({points(one['gap'])} points)"
    if one["low"] is None:
        return f"{100 * one['value']:.0f} %, no interval: the gap is {points(one['gap'])} points"
    return f"{100 * one['value']:.0f} % [{100 * one['low']:.0f}, {100 * one['high']:.0f}]"


def _tuned(found: Json) -> Table | None:
    """Models tuned on each source's labels, compared with the base model without and with demonstrations."""
    rows = [row for row in found["rows"] if row.get("tuned")]
    if not rows:
        return None
    body = tuple(
        (
            f"{row['arm']}{' *' if row['supervised'] else ''}",
            row["dataset"],
            percent(row["accuracy"]),
            *(percent(row["used"][place]) if row["used"] else NONE for place in (0, -1)),
            percent(row["tuned"][0]),
            " ".join(f"{100 * value:.0f}" for value in row["tuned"][0]["values"]),
        )
        for row in rows
    )
    caption = (
        "Percent right on the test part: the base model without demonstrations and with as many labels as fit, and a "
        "model tuned on the labels, which is shown none. One fine-tuning for each seed; by seed in the last column."
    )
    head = ("source", "data set", "labels", "zero-shot", "many-shot", "tuned", "by seed")
    return Table("Fine-tuned on each source's labels", caption, head, body)


def _verdict(made: Json) -> str:
    return "above 0" if made["low"] > 0 else "below 0" if made["high"] < 0 else "holds 0"


def _forms(found: Json) -> Table | None:
    rows = [row for row in found["rows"] if row.get("forms")]
    if not rows:
        return None
    names = list(rows[0]["forms"])
    body = [
        (
            row["arm"],
            row["dataset"],
            *(" ".join(f"{value:.1f}" for value in row["forms"].get(name, [])) for name in names),
        )
        for row in rows
    ]
    caption = (
        "U of each source's labels, with each form of P and the same alpha, from the same log-probabilities; one value "
        "per seed. A sum depends on how many examples are labelled."
    )
    return Table("U with each form of P", caption, ("source", "data set", *names), tuple(body))


def _predictors(found: Json) -> Table | None:
    table = predictors_table(found["predictors"])
    return None if all(row[1] == NONE for row in table.rows) else table


def predictors_table(found: Sequence[Json]) -> Table:
    """Return the table of predictors of accuracy without gold."""
    caption = (
        "Spearman's rank correlation with accuracy over the unsupervised runs of a data set, mean over data sets, with "
        "a 95 % interval (runs resampled); U is ranked among runs with the same form of P and weights. A number whose "
        "interval holds 0 predicts nothing here."
    )
    head = ("number that needs no gold", "correlation", "data sets", "runs")
    return Table("What predicts accuracy without gold", caption, head, tuple(map(_predictor, found)))


def _predictor(one: Json) -> tuple[str, ...]:
    known = one["correlation"]
    words = NONE if known is None else f"{known:+.2f} [{one['low']:+.2f}, {one['high']:+.2f}]"
    return one["number"], words, str(one["datasets"]), str(one["runs"])


def facts(found: Json) -> list[tuple[str, str]]:
    """Return how a suite was made: command, time, model, versions, and the arms."""
    model, versions = found["model"], found["versions"]
    described: Sequence[tuple[str, str]] = [(f"source {arm['name']!r}", _arm(arm)) for arm in found["arms"]]
    return [
        ("command", found["command"]),
        ("time", f"{duration(found['seconds'])} ({found['seconds']:.0f} seconds) for what had not been computed yet"),
        ("model", f"{model['model']}, {model['quantization']}, {model['dtype']}, {model['encoding']}"),
        *([("fine-tuning", _settings(found["tune"]))] if found.get("tune") else []),
        ("versions", ", ".join(f"{name} {number}" for name, number in versions.items())),
        *described,
    ]


def _settings(tune: Json) -> str:
    """Every setting of the fine-tuning, defaults included, except the seed, which is the cell's."""
    values = {**asdict(settings_of(tune["settings"])), "seed": "the cell's", "shots": tune["shots"]}
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _arm(arm: Json) -> str:
    shown = {key: value for key, value in arm.items() if value and key not in ("name", "use")}
    return ", ".join(f"{key}={value}" for key, value in shown.items())
