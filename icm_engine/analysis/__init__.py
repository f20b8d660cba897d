"""Read models computed from events, and figures and tables drawn from them.

Every read model is a function of the log and of gold. Nothing here imports a model runtime or streamlit.

    run_history         a run as read so far, extended by the events after its cursor
    label_history       every label change, repair and conflict; label counts; accuracy
    traces              the numbers of the curves, packed and downsampled
    views               overviews, the table of runs, summaries, label tables, the end of a run
    run_cache           readings cached between refreshes of a page; how often it refreshes
    status_tiles        the main numbers of a run, for the tiles of a page
    formatting          numbers, states and whitespace in words
    figures             the curves of a run (U, temperature, acceptance, labels, accuracy), its tables, the common style
    run_form            the settings that a person can choose before and during a run
    import_form         a file to import; a trial import
    datasets            the list of data sets, pages of examples, what a rule yields
    model_trials        the context check and the template trial
    step_card           one step with all of its arithmetic
    example_table       the examples of a run as one table
    event_cards         cards of events other than steps
    step_figures        figures of one step, and of labels over time
    time_travel         a run as it stood after one of its events
    flips               label changes, filtered and ranked
    conflicts           inconsistent pairs and their groups
    repairs             the repairs of a run, and one with all its options
    conflict_figures    figures and tables of consistency
    annotation          labels put in by hand, and queues of examples to annotate
    forks               the tree of forks, where two runs diverge, what-if
    alerts              signs that a search is going wrong, or that its model reads the texts otherwise
    tour                a guided tour of one run
    gold_agreement      labels against gold, with intervals; calibration
    audit               a person's answers about some labels: accuracy with an interval, verdict
    seed_agreement      agreement between runs, without gold
    paired              two label sources on the same examples: kappa, McNemar, a paired interval
    landscape           U of the found labels compared with reference labelings
    compare_figures     figures and tables of the Evaluate tab
    batches             a batched run
    restarts            the chains of a restarts job
    tuned_models        fine-tuning as people see it
    evaluation          labels in use and rewards against gold; bootstrap intervals

Functions that start a run or a job (`submit`, `begin`) are in the module of the read model that shows it. They use
`runs.control` or `jobs`.
"""
