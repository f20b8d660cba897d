"""Search: choose settings, start a run, steer it, and watch it label."""

from icm_engine.analysis.batches import is_batched
from icm_engine.analysis.choices import IcmError, Store
from pages.parts import batch_view, home, menu, new_run, run_heading, run_view, session

menu.require(home.show)

try:
    with Store() as store:
        names = session.run_names(store, wholes=True)
        run = session.chosen_run(names)
        run_heading.show("Search", names, run, run_view.NEW)
        if run is None:
            new_run.show(store)
        elif is_batched(store, run):
            batch_view.show(store, run)
        else:
            run_view.show(run)
except IcmError as error:
    session.complain(error)
