"""Write the golden files: `python -m tests.golden --write`, or only some: `python -m tests.golden --write events`."""

import argparse

from . import columns, command_line, event_logs, python_api

MAKERS = {"events": event_logs.files, "command-line": command_line.files, "python": python_api.files,
          "schema": columns.files}  # fmt: skip


def main() -> None:
    """Write what is asked for, all of it unless parts are named."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("--write", action="store_true", required=True, help="replace the golden files")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(MAKERS)} (else all)")
    given = parser.parse_args()
    for part in given.parts or MAKERS:
        for path, text in MAKERS[part]().items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(path)


if __name__ == "__main__":
    main()
