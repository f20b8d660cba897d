"""What the processes that work at one run or one job have in common: their arguments, and how they end."""

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
    """Do the run or job (`what`) that the arguments name, in their database; return what `do` does, else 1.

    One that another process holds, and a database that cannot be used, is said in one line.
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
    """Do it, and have whatever goes wrong recorded by `fail`; return 0, or 1 if it failed. Raises RunBusy.

    The log of the process has the traceback of what is no error of ours. What cannot be recorded is raised.
    """
    try:
        do()
    except RunBusy:
        raise
    except Exception as error:  # whatever it is, the run or job must say so
        if not isinstance(error, IcmError):
            traceback.print_exc()
        try:
            fail({"error": type(error).__name__, "message": str(error) or type(error).__name__})
        except StoreError:  # the database cannot take that either: what it says first is the cause
            raise error from None
        return 1
    return 0
