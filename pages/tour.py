"""Tour: a guided look at one run, on its own real steps."""

from icm_engine.analysis.choices import IcmError, Store
from pages.parts import home, menu, run_heading, session, tour_view

menu.require(home.show)

try:
    with Store() as store:
        names = session.run_names(store)
        run = session.followed_run(names)
        run_heading.show("Tour", names, run)
        tour_view.show(run)
except IcmError as error:
    session.complain(error)
