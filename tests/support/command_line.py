"""The command line, called in the process of the test."""

import pytest

from icm_engine.cli.main import main


def icm(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return code, output.out, output.err
