"""A page that looks at one run: the frame, the choice of the run, and one error in place of a traceback."""

from collections.abc import Callable

from icm_engine.analysis.choices import IcmError, Store
from pages.parts import home, menu, run_heading, session


def show(title: str, draw: Callable[[Store, str], None]) -> None:
    """Draw the page of the run in the address; without one, say what to do."""
    menu.require(home.show)
    try:
        with Store() as store:
            names = session.run_names(store)
            run = session.followed_run(names)
            run_heading.show(title, names, run)
            if run is not None:
                draw(store, run)
    except IcmError as error:
        session.complain(error)
