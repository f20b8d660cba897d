"""A run as a thing that lasts: a worker that appends to its log, and commands that steer it.

worker              the process that searches; it waits for a server that went away
command_handler     what a command must be, and the event and receipt it becomes
control             what a person can ask of a run; launching; its status
life_cycle          the phases of runs and jobs, derived from the log and the lease
lease               one worker a run; temporary files named after their process
process             what the processes of runs and jobs share: arguments, and how they end
model_registry      which model a run or job uses; models trained here (trained:NAME)
fetched_models      small models that a package index carries: the list, fetching, those fetched
remarks             what to know about a run, in words
baseline_run        a run whose labels come at once: from a label source, or with its spec
fork                a new run that begins where another one stood
progress            a progress bar until a run is settled
verify              a log against the method: every draw, repair and verdict, done again
verify_records      a log against itself: evaluations, prompts, interventions, forks
"""
