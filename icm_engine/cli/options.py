"""How commands are declared: the class of all commands, the options that several of them share, and types of values.

An option that several commands have is defined here once. Options that belong together reach a command as one value:
`model_options` as `ModelOptions`, `cluster_options` as `ClusterOptions`.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, fields, replace
from functools import wraps
from pathlib import Path
from typing import Any

import click

from icm_engine import cluster
from icm_engine.cli.terminal import show
from icm_engine.core.settings import DTYPES, ModelChoice
from icm_engine.core.text import home_expanded, whole_number
from icm_engine.store.store import Store

Function = Callable[..., Any]
Decorator = Callable[[Function], Function]

# -- the syntax


class Many(click.Option):
    """An option with one or more values after it (`--seeds 0 1 2`); the last time it is given counts."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **{**keywords, "multiple": True})


class IcmCommand(click.Command):
    """A command whose options may be abbreviated and take several values, which click does not offer itself.

    A negative number and a text with a space are values, also as positional arguments.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments after writing each option as `--name=value`, the positional arguments last."""
        words, options, positional = deque(args), dict[str, list[str]](), list[str]()
        while words:
            word = words.popleft()
            if word == "--":
                positional += words
                break
            if self._is_option(ctx, word):
                self._take(ctx, word, words, options)
            else:
                positional.append(word)
        spelled_out = [text for texts in options.values() for text in texts]
        return super().parse_args(ctx, [*spelled_out, "--", *positional])

    def _take(self, ctx: click.Context, word: str, words: deque[str], options: dict[str, list[str]]) -> None:
        """Move the values of an option from the words to the options."""
        name, equals, value = word.partition("=")
        option = self._named(ctx, name)
        if option is None or option.is_flag:
            options.setdefault(word, []).append(f"{option.opts[-1]}{equals}{value}" if option else word)
            return
        name, values = option.opts[-1], [value] if equals else []
        while not equals and words and words[0] != "--" and not self._is_option(ctx, words[0]):
            values.append(words.popleft())
            if not isinstance(option, Many):
                break
        if not values:
            raise click.BadOptionUsage(name, f"Option {name!r} requires an argument.", ctx)
        earlier = [] if isinstance(option, Many) else options.get(name, [])
        options[name] = earlier + [f"{name}={value}" for value in values]

    def _is_option(self, ctx: click.Context, word: str) -> bool:
        if not word.startswith("-") or word == "-":
            return False
        number = re.fullmatch(r"-\d+|-\d*\.\d+", word)
        return self._named(ctx, word.partition("=")[0]) is not None or not (number or " " in word)

    def _named(self, ctx: click.Context, name: str) -> click.Option | None:
        """The option of this name, or the only one that begins like it. Raises UsageError where there are several."""
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        if exact := [option for option in options if name in option.opts]:
            return exact[0]
        found = [option for option in options if name.startswith("--") and option.opts[-1].startswith(name)]
        if len(found) > 1:
            names = ", ".join(option.opts[-1] for option in found)
            raise click.UsageError(f"Option {name!r} is ambiguous: use one of {names}.", ctx)
        return found[0] if found else None


def command(name: str) -> Callable[[Function], click.Command]:
    """Make a command of a function that takes a store and its options, and returns what is printed."""

    def made(function: Function) -> click.Command:
        @database
        @as_json
        @wraps(function)
        def invoked(db: Path | None, as_json: bool, **given: Any) -> None:
            with Store(db) as store:
                found = function(store, **{name: _as_list(value) for name, value in given.items()})
            show(found, as_json)

        return click.command(name, cls=IcmCommand)(invoked)

    return made


def _as_list(value: Any) -> Any:
    """Several values as the list that the database gives back, so that the two are equal."""
    return list(value) if isinstance(value, tuple) else value


# -- types of values


def count(text: object) -> int:
    """Return a whole number of 1 or more."""
    if not (number := whole_number(str(text))):
        raise click.BadParameter(f"{text!r} is not a whole number of 1 or more")
    return number


def assignment(text: str) -> str:
    """Return the text, which has an '='."""
    if "=" not in text:
        raise click.BadParameter(f"{text!r} has no '=': use name=value")
    return text


def pairs(texts: Iterable[str]) -> dict[str, Any]:
    """Return what the texts assign; the last text of a name counts."""
    return dict(text.split("=", 1) for text in texts)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise click.BadParameter(f"{text!r} is not a number of GPUs: use 0, 0.5, 1, 2 ...")
    return value


# -- options that several commands share

database = click.option(
    "--db", type=Path, metavar="FILE", help="The database (default: ICM_DB, or the one in your data folder)."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
run_argument = click.argument("run", metavar="RUN")
dataset_argument = click.argument("dataset", metavar="DATASET")
detach = click.option("--detach", is_flag=True, help="Return at once with the name; the work continues.")
settings = click.option(
    "--set",
    "settings",
    multiple=True,
    default=[],
    type=assignment,
    metavar="name=value",
    help="A setting of the search; may be given again.",
)


def limit(help: str) -> Decorator:
    """Add `--limit`."""
    return click.option("--limit", type=count, metavar="N", help=help)


def rule(help: str, default: str | None = None) -> Decorator:
    """Add `--rule`."""
    return click.option("--rule", default=default, metavar="RULE", help=help)


def labels_of_others(function: Function) -> Function:
    """Add `--gold` and `--human`, which let labels of gold and people into an export."""
    gold = click.option("--gold", is_flag=True, help="Add gold labels, where there are any, to a folder's labels.")
    human = click.option("--human", is_flag=True, help="Add human labels to a folder's labels.")
    return gold(human(function))


MODEL_HELP = (
    "sample, a directory, a GGUF file, a fetched model (`model fetch`), a hub id, trained:NAME, "
    "a server (http://HOST:PORT/v1), or fake."
)


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """The options of a model; None where one was not given."""

    model: str | None = None
    quantization: str | None = None
    dtype: str | None = None
    device: str | None = None
    encoding: str | None = None

    def given(self) -> dict[str, str]:
        """Return the options that were given."""
        named = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in named if value is not None}

    def choice(self) -> ModelChoice:
        """Return the model that was named, ~ as the home directory."""
        given = self.given()
        return ModelChoice(home_expanded(given.pop("model")), **given)  # type: ignore[arg-type]

    def instead_of(self, own: ModelChoice) -> ModelChoice:
        """Return another model with the options that were given in place of its own."""
        return replace(own, **self.given())  # type: ignore[arg-type]


def model_options(
    *,
    required: bool = False,
    default: str | None = None,
    encoding: bool = True,
    defaults: bool = True,
    help: str = MODEL_HELP,
) -> Decorator:
    """Add the options of a model, given as `model`; with `defaults=False` only `--model` may have a default."""
    own = ModelChoice("fake") if defaults else ModelOptions()
    options: list[Decorator] = [
        click.option(
            "--model", metavar="MODEL", help=help, **({"required": True} if required else {"default": default})
        ),
        _choice("--quantization", ("nf4", "int8", "none"), own.quantization, "How weights are kept in memory."),
        _choice("--dtype", DTYPES, own.dtype, "The precision of the arithmetic."),
        click.option("--device", default=own.device, metavar="DEVICE", help="auto, cpu or cuda."),
        _choice("--encoding", ("prefix-tree", "full-prompts"), own.encoding, "How prompts are given to the model."),
    ]
    return _as_one("model", ModelOptions, options if encoding else options[:-1])


def _choice(name: str, choices: Sequence[str], default: str | None, help: str) -> Decorator:
    return click.option(name, type=click.Choice(choices), default=default, help=help)


def trained_model_option(function: Function) -> Function:
    """Add `--model` alone, given as `model`, for what is trained."""
    help = "What is trained (default: the model that the labels are from)."
    return _as_one("model", ModelOptions, [click.option("--model", metavar="MODEL", help=help)])(function)


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """The requested Ray cluster; without an address, this machine."""

    ray: str | None = None
    ray_cpus: int | None = None
    ray_gpus: float | None = None

    def spec(self, side_by_side: int) -> cluster.ClusterSpec | None:
        """Return the cluster, None for this machine. Raises SettingError where Ray cannot be used."""
        if self.ray is None:
            return None
        where = cluster.ClusterSpec(self.ray, self.ray_cpus, self.ray_gpus, side_by_side)
        cluster.require_ray(where)
        return where


def cluster_options(function: Function) -> Function:
    """Add the options of a Ray cluster, given as `where`."""
    options: list[Decorator] = [
        click.option("--ray", metavar="ADDRESS", help="Work on a Ray cluster: HOST:PORT, auto, or local."),
        click.option("--ray-cpus", type=count, metavar="N", help="CPUs, and threads, of each run there."),
        click.option("--ray-gpus", type=_share, metavar="N", help="GPUs of each run there; 0.5 shares one."),
    ]
    return _as_one("where", ClusterOptions, options)(function)


def settings_options(kind: type, explanations: Mapping[str, str], name: str = "training") -> Decorator:
    """Add an option for each setting of this kind; those that were given are in the dictionary of this name."""
    options: list[Decorator] = [
        click.option(f"--{field.name.replace('_', '-')}", metavar="VALUE", help=_sentence(field, explanations))
        for field in fields(kind)
    ]

    def only_given(**given: str | None) -> dict[str, str]:
        return {name: value for name, value in given.items() if value is not None}

    return _as_one(name, only_given, options)


def _sentence(field: Field[Any], explanations: Mapping[str, str]) -> str:
    """What a setting is, and its default, which settings have and the option has not."""
    text = explanations[field.name]
    return f"{text[0].upper()}{text[1:]}.  [default: {field.default}]"


def _as_one(name: str, made: Callable[..., object], options: Sequence[Decorator]) -> Decorator:
    """Add options whose values reach the function as one, made of them."""

    def decorated(function: Function) -> Function:
        @wraps(function)
        def gathered(*args: Any, **given: Any) -> Any:
            own = {key: given.pop(key) for key in keys}
            return function(*args, **given, **{name: made(**own)})

        before = len(getattr(gathered, "__click_params__", []))
        for option in reversed(options):
            option(gathered)
        added = gathered.__click_params__[before:]  # type: ignore[attr-defined]
        keys = [parameter.name for parameter in added]
        return gathered

    return decorated
