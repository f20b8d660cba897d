"""Locations of files outside the package's modules: the app, its pages, the sample data and model.

In a checkout they are at its top, beside `icm_engine`. An installed package has them in `icm_engine/_app`, so that it
adds nothing else to site-packages. The folder may be read-only: nothing is written there.
"""

import os
import sysconfig
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
INSTALLED = PACKAGE / "_app"


def app_folder() -> Path:
    """Return the folder that contains app.py, .streamlit/, pages/, static/ and sample_data/."""
    return INSTALLED if INSTALLED.is_dir() else PACKAGE.parent


def resource(*parts: str) -> Path:
    """Return the path of one of these files or folders: `resource("sample_data", "model")`."""
    return app_folder().joinpath(*parts)


def search_path() -> str:
    """Return a PYTHONPATH that lets a new interpreter find this package from any folder.

    Default locations are left out: placed before the standard library, site-packages could shadow parts of it.
    """
    given = os.environ.get("PYTHONPATH", "")
    top = str(PACKAGE.parent)
    known = {os.path.realpath(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    return given if top in known else os.pathsep.join(filter(None, [top, given]))


def install_command(extra: str) -> str:
    """Return the command that installs an optional part: an extra of the package, or a pinned file in a checkout."""
    if INSTALLED.is_dir():
        return f"pip install 'icm-workbench[{extra}]'"
    return f"pip install -r requirements-{'training' if extra == 'train' else extra}.txt"
