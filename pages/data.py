"""Data: bring a file in, see what the model will see, check it, save it; and look at the data sets there are."""

from icm_engine.analysis.choices import IcmError, Store
from pages.parts import data_list, dataset_view, home, menu, session, upload

menu.require(home.show)

try:
    with Store() as store:
        names = store.dataset_names()
        dataset = session.chosen_dataset(names)
        data_list.heading(names, dataset)
        if dataset is None:
            upload.show()
            data_list.show(store)
        else:
            dataset_view.show(store, dataset)
except IcmError as error:
    session.complain(error)
