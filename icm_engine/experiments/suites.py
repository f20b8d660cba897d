"""Suites: TOML files that say which label sources are compared, on which data and how often. Users can write their own.

title, question         shown above the report's tables
datasets, examples, seeds
preset                  of arms that name none (default: `default`)
compare                 pairs of arms whose difference the report states: ["ICM", "golden"]
recover                 performance gaps: {weak, ceiling, arms}, each the name of an arm, or several (see `Recover`)
[use]                   shots ("fit" or numbers), shuffles, test (maximum examples); without it labels are not used
[tune]                  settings of fine-tuning on each arm's labels; `shots` of the tuned model in use (default: none)
[[arms]]                see `Arm`
[quick]                 values for the same suite in a few minutes: datasets, examples, seeds, test, arms
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from icm_engine.core.errors import NotFound, SettingError
from icm_engine.core.text import expanded
from icm_engine.jobs.finetuning import settings_of

FOLDER = Path(__file__).parent / "suites"
SHIPPED = (
    "main", "objective", "alpha", "initialisation", "consistency", "perturbed", "salience", "imbalance", "spurious",
    "scaling", "persona", "noise", "landscape", "cost", "shots", "finetuned", "centred", "real", "terms",
    "weak-to-strong", "truthfulqa", "folds", "judges",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Arm:
    """One label source of a suite, with everything that distinguishes it.

    `source` is icm, given, given-shots, given-mixed or a baseline. `labels` says which labels are given (golden, human,
    human:NAME, majority, text-only, mirror, errors, errors-long, perturbed, or one label for all, such as "all True").
    `start` is where a search begins (golden, wrong, or one of these). `share` is that of wrong labels in errors. `of`
    is the arm whose accuracy perturbed labels imitate. `select` is a subset of the data chosen by gold (imbalance,
    spurious), with its `share`. `once` marks an arm that no seed changes. `test` marks one that labels the examples on
    which the labels of others are used, and counts beside their use.
    """

    name: str
    source: str = "icm"
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    preset: str = "default"
    rule: str | None = None
    labels: str = ""
    start: str = ""
    of: str = ""
    select: str = ""
    share: float = 0.0
    examples: int | None = None
    model: str = ""
    once: bool = False
    test: bool = False
    use: bool = True
    tune: bool = True


@dataclass(frozen=True, slots=True)
class Use:
    """How labels are used: numbers of demonstrations, shuffles for each, and the maximum number of test examples."""

    shots: tuple[int | str, ...] = ("fit",)
    shuffles: int = 1
    test: int = 512


@dataclass(frozen=True, slots=True)
class Tune:
    """How models are tuned on an arm's labels with the cell's seed, and with how many demonstrations they are used."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    shots: tuple[int | str, ...] = (0,)


@dataclass(frozen=True, slots=True)
class Recover:
    """Performance gaps recovered, of labels: from those of arm `weak` to those of arm `ceiling`, by each of `arms`."""

    weak: str
    ceiling: str
    arms: tuple[str, ...]

    @property
    def mentioned(self) -> set[str]:
        """The arms that it names."""
        return {self.weak, self.ceiling, *self.arms}


@dataclass(frozen=True, slots=True)
class Suite:
    """A whole suite, as its file declares it."""

    name: str
    title: str
    question: str
    datasets: tuple[str, ...]
    examples: int
    seeds: tuple[int, ...]
    arms: tuple[Arm, ...]
    use: Use | None = None
    compare: tuple[tuple[str, str], ...] = ()
    tune: Tune | None = None
    recover: tuple[Recover, ...] = ()


def read_suite(name: str, quick: bool = False) -> Suite:
    """Return a shipped suite, or the suite in a file whose name ends in .toml. Raises NotFound, SettingError."""
    path = expanded(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        raise NotFound(f"suite {name!r} does not exist: use one of {', '.join(SHIPPED)}, or a file (my_suite.toml)")
    try:
        declared = tomllib.loads(path.read_text(encoding="utf-8"))
        return _suite(path.stem, declared, quick)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise SettingError(f"suite file {path} cannot be read ({error}): compare it with those in {FOLDER}") from None


def _suite(name: str, declared: dict[str, Any], quick: bool) -> Suite:
    short = declared.pop("quick", {}) if quick else {}
    declared.pop("quick", None)
    arms = tuple(Arm(**{"preset": declared.get("preset", "default"), **arm}) for arm in declared["arms"])
    use = _use(declared["use"]) if "use" in declared else None
    if "test" in short and use is not None:
        use = replace(use, test=short["test"])
    wanted = short.get("arms", [arm.name for arm in arms])
    merged = {**declared, **{key: short[key] for key in ("datasets", "examples", "seeds", "tune") if key in short}}
    chosen = tuple(arm for arm in arms if arm.name in wanted)
    compare = tuple((one, other) for one, other in merged.get("compare", ()))
    suite = Suite(
        name,
        merged["title"],
        merged["question"],
        tuple(merged["datasets"]),
        merged["examples"],
        tuple(merged["seeds"]),
        chosen,
        use,
        compare,
        _tune(merged["tune"]) if "tune" in merged else None,
        tuple(Recover(one["weak"], one["ceiling"], tuple(one["arms"])) for one in merged.get("recover", ())),
    )
    _check(suite, {arm.name for arm in arms})
    return suite


def _use(value: Mapping[str, Any]) -> Use:
    return Use(**{**value, "shots": tuple(value.get("shots", ("fit",)))})


def _tune(value: Mapping[str, Any]) -> Tune:
    """Raises SettingError for an unknown fine-tuning setting."""
    settings = {key: setting for key, setting in value.items() if key != "shots"}
    settings_of(settings)
    return Tune(settings, tuple(value.get("shots", (0,))))


def _check(suite: Suite, known: set[str]) -> None:
    """Raise ValueError for an unknown arm, a repeated arm name, or tuned models without a test."""
    names = [arm.name for arm in suite.arms]
    if len(set(names)) < len(names):
        raise ValueError("two arms have the same name")
    mentioned = {name for pair in suite.compare for name in pair} | {arm.of for arm in suite.arms if arm.of}
    mentioned = mentioned.union(*(one.mentioned for one in suite.recover))
    if unknown := sorted(mentioned - known):
        raise ValueError(f"there is no arm {unknown[0]!r}")
    if suite.use is None and (suite.tune is not None or any(arm.test for arm in suite.arms)):
        raise ValueError("[tune], and an arm with test, need [use], which names the test part")
