"""What worker processes of runs and jobs share: arguments, and how they end."""

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from icm_engine.core.errors import IcmError, RunBusy, StoreError
from icm_engine.runs.control import log
from icm_engine.store.events import Json
from icm_engine.store.store import Store


def main(what: str, do: Callable[[Store, str], int], arguments: Sequence[str] | None = None) -> int:
    """Do the run or job (`what`) named by the arguments, in their database; return the result of `do`, else 1.

    A lease held by another process, or an unusable database, is reported in one line.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--db", type=Path, required=True)
    parser.add_argument("name", metavar=what)
    given = parser.parse_args(arguments)
    try:
        with Store(given.db) as store:
            return do(store, given.name)
    except RunBusy as error:
        print(error, file=sys.stderr)
    except StoreError as error:
        log(f"stops: {error}")
    return 1


def guarded(do: Callable[[], None], fail: Callable[[Json], None]) -> int:
    """Run `do`, recording any failure with `fail`; return 0, or 1 if it failed. Raises RunBusy.

    For errors that are not ours, the process log has the traceback. Failures that cannot be recorded are raised.
    """
    try:
        do()
    except RunBusy:
        raise
    except Exception as error:  # any error must be recorded in the run or job
        if not isinstance(error, IcmError):
            traceback.print_exc()
        try:
            fail({"error": type(error).__name__, "message": str(error) or type(error).__name__})
        except StoreError:  # the database cannot take that either; its first error is the cause
            raise error from None
        return 1
    return 0
