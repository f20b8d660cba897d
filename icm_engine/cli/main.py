"""The command line: what the pages do, without a browser. JSON goes to stdout alone.

Exit status: 0 for success, 2 for wrong arguments, 1 otherwise, with one line on stderr.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from icm_engine.cli import (
    app_commands,
    data_commands,
    evaluate,
    run_commands,
    steer,
    train,
)
from icm_engine.cli.terminal import hang_up, sanitized
from icm_engine.core import __version__
from icm_engine.core.errors import IcmError
from icm_engine.data.readers.source import storable

GROUPS: dict[str, tuple[click.Command, ...]] = {
    "Data": (
        data_commands.import_command,
        data_commands.check_command,
        data_commands.templates_command,
        data_commands.context_command,
    ),
    "Runs": (
        run_commands.run_command,
        run_commands.resume_command,
        run_commands.pause_command,
        run_commands.stop_command,
        run_commands.step_command,
        run_commands.list_command,
        run_commands.show_command,
        run_commands.log_command,
        evaluate.verify_command,
        evaluate.audit_command,
        evaluate.compare_command,
        evaluate.concepts_command,
        run_commands.export_command,
        run_commands.share_command,
        run_commands.push_command,
        run_commands.delete_command,
    ),
    "Steering": (
        steer.pin_command,
        steer.override_command,
        steer.unpin_command,
        steer.note_command,
        steer.undo_command,
        steer.redo_command,
        steer.retune_command,
        steer.fork_command,
        steer.what_if_command,
    ),
    "Jobs": (app_commands.jobs_command,),
    "Models": (app_commands.model_command,),
    "Training": (
        train.finetune_command,
        train.trained_command,
        train.use_command,
        train.reward_command,
        train.prefer_command,
        train.reinforce_command,
        train.self_reward_command,
        train.self_teach_command,
        train.respond_command,
    ),
    "Experiments": (evaluate.evaluate_command, evaluate.predictors_command),
    "App": (app_commands.app_command, app_commands.password_command),
}


class Commands(click.Group):
    """All commands, in the groups of `GROUPS`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse arguments that a database can hold: a shell passes any bytes on. Raises UsageError for others."""
        for text in args:
            if not storable(text):
                raise click.UsageError(f"Argument {text!a} is not UTF-8 text: rename what it names.", ctx)
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, group by group, with a line each."""
        longest = max(map(len, self.commands))
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(str(one.name).ljust(longest), one.get_short_help_str(formatter.width)) for one in commands]
                )


@click.group(
    cls=Commands,
    commands=[command for commands in GROUPS.values() for command in commands],
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(__version__, message="icm-workbench %(version)s")
def icm() -> None:
    """ICM Workbench, without a browser.

    Each command has its own help: COMMAND --help. JSON goes to stdout alone (--json). The exit status is 0 for
    success, 2 for wrong arguments, and 1 otherwise, with one line on stderr.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status. Raises SystemExit for wrong arguments and after help."""
    with sanitized():
        try:
            with icm.make_context(_called(), list(sys.argv[1:] if arguments is None else arguments)) as context:
                icm.invoke(context)
        except IcmError as error:
            print(f"icm: {' '.join(str(error).split())}", file=sys.stderr)
            return 1
        except click.ClickException as error:
            error.show(sys.stderr)
            raise SystemExit(error.exit_code) from None
        except click.exceptions.Exit as ended:
            raise SystemExit(ended.exit_code) from None
    return 0


def _called() -> str:
    """The program as it was called: by its own name, or as a module."""
    return "icm" if Path(sys.argv[0]).stem == "icm" else "python -m icm_engine"


def script() -> int:
    """Run the command of this process and return its exit status. A closed output pipe is not traced as a failure."""
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        hang_up()
        code = 1
    return code
