"""What people look at: read models computed from events, and figures and tables drawn from read models.

Every read model is a function of the log and of gold beside it. Nothing here has a model runtime or imports streamlit.

    run_history         the fold: a run as read so far, extended by the events after its cursor
    label_history       every label change, repair and conflict; counts of labels
    traces              curves, packed and downsampled
    views               overviews, summaries, label tables, the end of a run
    run_cache           runs kept between two reads of a page; how often it refreshes
    status_tiles        the numbers a person looks at first
    formatting          numbers, states and whitespace in words
    figures             plotly figures and pandas tables of a run
    run_form            what a person can choose for a run, before and while it is under way
    import_form         a file on its way to a data set; a trial import
    datasets            the list of data sets, pages of examples, what a rule yields
    model_trials        the context check and the template trial
    decision            one step with all of its arithmetic
    example_table       the examples of a run as one table
    event_cards         the events that are no steps
    step_figures        figures of one moment, and of labels over time
    time_travel         a run as it stood after one of its events
    flips               label changes, filtered and ranked
    conflicts           inconsistent pairs, and the groups they lie in
    repairs             the repairs of a run, and one with all its options
    conflict_figures    figures and tables of consistency
    annotation          labels put in by hand, and queues of examples to annotate
    forks               the tree of forks, where two runs part, and what if
    alerts              signs that a search goes wrong
    tour                a guided look at one run
    gold_agreement      labels beside gold, with intervals; calibration
    seed_agreement      runs beside each other, without gold
    landscape           U of what was found beside reference labelings
    compare_figures     figures and tables of the Compare page
    batches             a batched run
    restarts            the chains of a restarts job
    tuned_models        fine-tuning as people look at it
    evaluation          labels in use and rewards beside gold; bootstrap intervals

What asks for a run or a job (`submit`, `begin`) stands beside the read model that shows it, and goes through
`runs.control` or `jobs`.
"""
