"""The help of the command line, wrong arguments, and the syntax of options."""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from icm_engine.cli.main import GROUPS, icm, main
from icm_engine.store.datasets import Dataset
from icm_engine.store.store import Store
from tests.golden.in_process import choices, command_parsers, parsed
from tests.support.paths import ROOT


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Return the exit status of a command that ends early, and what it wrote."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    output = capsys.readouterr()
    return int(ended.value.code or 0), output.out, output.err


def test_help_shows_each_command_in_its_group_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = refused(capsys, "--help")
    assert (code, err) == (0, "")
    listed: dict[str, list[str]] = {}
    for section in out.split("\n\n")[-len(GROUPS) :]:
        title, *lines = section.splitlines()
        listed[title.removesuffix(":")] = [line.split()[0] for line in lines]
        for line in lines:
            assert line.startswith("  "), line
            assert not line.startswith("   "), f"goes on over the line: {line}"
            assert len(line.split()) > 2, f"has no help: {line}"
            assert line.endswith("."), f"is cut: {line}"
    assert listed == {title: [command.name for command in commands] for title, commands in GROUPS.items()}
    assert list(GROUPS) == ["Data", "Runs", "Steering", "Jobs", "Models", "Training", "Experiments", "App"]


def test_every_command_is_in_one_group() -> None:
    grouped = [str(command.name) for commands in GROUPS.values() for command in commands]
    assert sorted(grouped) == sorted(icm.commands)
    assert len(grouped) == len(set(grouped))


@pytest.mark.parametrize("words", sorted(command_parsers()))
def test_the_help_of_a_command_has_every_option_with_its_choices_and_default(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = refused(capsys, *words.split(), "--help")
    assert (code, err) == (0, "")
    text = "".join(out.split())  # lines also end at a dash
    for parameter in command_parsers()[words].params:
        shown = parameter.opts[-1] if isinstance(parameter, click.Option) else str(parameter.metavar).replace(" ", "")
        assert shown in text
        assert all(choice in text for choice in choices(parameter) or ())
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert parameter.help.endswith((".", "]")), parameter.help
            default = parameter.to_info_dict()["default"]
            if isinstance(default, (str, int, float)) and not parameter.is_flag:
                assert f"[default:{default}" in text, parameter.name


def test_an_option_of_several_commands_has_one_help() -> None:
    for name in ("--db", "--json", "--detach", "--quantization", "--dtype", "--device", "--encoding", "--ray"):
        found = {
            option.help
            for words, command in command_parsers().items()
            for option in command.params
            if isinstance(option, click.Option) and name in option.opts and words != "import"  # --encoding of a file
        }
        assert len(found) == 1, name


# -- exit statuses


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("lits",), "No such command 'lits'. Did you mean 'list'?"),
        (("show",), "Missing argument 'RUN'."),
        (("show", "a", "b"), "Got unexpected extra argument (b)"),
        (("run", "--model", "fake"), "Missing option '--dataset'."),
        (("run", "--dataset", "x", "--model", "fake", "--preset", "best"), "'best' is not one of"),
        (("run", "--dataset", "x", "--model"), "Option '--model' requires an argument."),
        (("run", "--dataset", "--model", "fake"), "Option '--dataset' requires an argument."),
        (("run", "--dataset", "x", "--model", "fake", "--set", "alpha"), "'alpha' has no '=': use name=value"),
        (("run", "--dataset", "x", "--model", "fake", "--se", "1"), "ambiguous: use one of --set, --seed."),
        (("step", "x", "0"), "'0' is not a whole number of 1 or more"),
        (("show", "x", "--jsn"), "No such option '--jsn'"),
        (("show", "\udcff"), "Argument '\\udcff' is not UTF-8 text: rename what it names."),
        (("use", "x", "--shots", "0", "many"), "'many' is not a number of shots: use 0, 1, 2, ... or fit"),
    ],
)
def test_wrong_arguments_end_with_2_and_say_what_is_wrong(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = refused(capsys, *words)
    assert (code, out) == (2, "")
    assert said in err.splitlines()[-1]
    assert err.startswith("Usage: ")


def test_no_arguments_end_with_2_and_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = refused(capsys)
    assert (code, out) == (2, "")
    assert "\nSteering:\n" in err


def test_what_goes_wrong_otherwise_ends_with_1_and_one_line(
    store: Store, pairs: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    store.add_dataset(pairs)
    for words in (
        ("show", "nothing-1"),
        ("run", "--dataset", "pairs", "--model", "fake", "--set", "alpha=x"),
        ("run", "--dataset", "pairs", "--model", "fake", "--restarts", "2", "--batch-size", "8"),
        ("jobs", "nothing"),
        ("trained", "nothing"),
    ):
        assert main(words) == 1
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err.startswith("icm: ")
        assert output.err.count("\n") == 1


def test_interrupting_a_command_is_left_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that follows something answers Ctrl-C itself; elsewhere nothing turns it into an exit status."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("icm_engine.cli.options.Store", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main(["list"])


def test_a_closed_pipe_ends_a_command_with_1_and_no_complaint(store: Store) -> None:
    for words in (["jobs", "--json"], ["--help"]):
        command = [sys.executable, "-m", "icm_engine", *words]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()  # before it can have written: it takes longer to begin
            assert (process.wait(), process.stderr.read()) == (1, "")


# -- the syntax of options


def test_an_option_takes_several_values_and_its_last_time_counts() -> None:
    given = parsed(["evaluate", "main", "--seeds", "0", "1", "-2", "--datasets", "a", "b", "--quick"])
    assert (given["seeds"], given["datasets"], given["quick"]) == ((0, 1, -2), ("a", "b"), True)
    assert parsed(["evaluate", "--seeds", "0", "1", "--seeds=2", "main"])["seeds"] == (2,)
    assert parsed(["use", "run-1"])["shots"] == (0, "fit")


def test_options_may_be_shortened_and_stand_anywhere() -> None:
    given = parsed(["fork", "--ru", "none", "run-1", "--set", "alpha=1", "--det", "--set=seed=2"])
    assert (given["run"], given["rule"], given["settings"], given["detach"]) == (
        "run-1",
        "none",
        ("alpha=1", "seed=2"),
        True,
    )


def test_negative_numbers_and_texts_with_a_space_are_values() -> None:
    given = parsed(["note", "run-1", "-1", "-- see page 3"])
    assert (given["example"], given["text"]) == ("-1", "-- see page 3")
    assert parsed(["run", "--dataset", "x", "--model", "fake", "--seed", "-3"])["seed"] == -3
    assert parsed(["pin", "run-1", "--", "-a=True"])["labels"] == ("-a=True",)
