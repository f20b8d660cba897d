"""The command line: one file for each group of commands.

main                all commands in their groups, and what calls one
options             how commands are declared, the options that several share, types of values
terminal            what is written to a terminal, a file or a pipe; a job followed to its end
data_commands       import, check, templates, context
run_commands        run, resume, pause, stop, step, list, show, log, export, share, push
several_runs        batches, chains and clusters, for `run` and what continues and shows them
steer               labels by hand, settings and forks of a run; what-if
train               finetune, trained, use, reward, respond, prefer, reinforce, self-reward, self-teach
evaluate            verify, audit, compare, concepts, evaluate, predictors
app_commands        app, password; jobs; model fetch, model list
"""
