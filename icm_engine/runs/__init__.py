"""Runs: a worker that appends to a log, and commands that steer it.

worker              the process that searches; it waits for a server that went away
command_handler     validation of commands; the event and receipt each becomes
control             what a person can ask of a run; launching; its status; a progress bar until it is settled
life_cycle          the phases of runs and jobs, derived from the log and the lease
lease               one worker a run: how its process begins and ends; temporary files named after it
model_registry      which model a run or job uses; models trained here (trained:NAME)
fetched_models      small models from a package index: the list, fetching, those fetched
new_run             the spec of a new run, completed and checked; remarks before it starts
baseline_run        a run whose labels come at once: from a label source, or with its spec
fork                a new run that begins where another one stood
verify              checks a log against the method: every draw, repair and verdict again
verify_records      checks a log against itself: evaluations, prompts, interventions, forks
"""
