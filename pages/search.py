"""Search: choose settings, start a run, steer it, and watch it label."""

from icm_engine.analysis.choices import IcmError, Store
from pages.parts import home, menu, new_run, run_heading, run_view, session

menu.require(home.show)

try:
    with Store() as store:
        names = store.run_names()
        run = session.chosen_run(names)
        run_heading.show("Search", names, run, run_view.NEW)
        if run is None:
            new_run.show(store)
        else:
            run_view.show(run)
except IcmError as error:
    session.complain(error)
