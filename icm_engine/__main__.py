"""The command line as `python -m icm_engine`."""

import sys

from icm_engine.cli.main import script

if __name__ == "__main__":
    sys.exit(script())
