"""Parts shared by pages; Streamlit does not look for pages in this folder.

menu                the frame of all pages: the menu, the login, and who may see a page
workspace           the header, tabs and selection of one run
home                the page of runs, the choice of a run, the frame of a page about one run
session             state of this session: database, URL, theme
charts              charts that update in place, and tables
job_line            the chosen job and its progress
run_controls        status, buttons and settings of a run
batch_view          batched runs and chains
step_card           the card of one step or event; what-if
flips               label changes, and one example over time
annotate_queue      the queue and the list of keys
annotate_card       one example, its buttons, blind annotation
comparison          the views of Evaluate, but for the audit
datasets            data sets, and trials of a model on one; import_form: the form of one file
"""
