"""The command line: one file for each group of commands.

main                the parser, `run` and the commands that steer and show runs
terminal            what is written to a terminal, a file or a pipe
data_commands       import, check, templates
job_commands        context, jobs
several_runs        batches, restarts and clusters
steer               labels, settings and forks of a run; what if
evaluate            verify, evaluate, predictors
train               finetune, trained, use, reward, respond, prefer, reinforce
model_commands      model fetch, model list
app_commands        what opens no database: app, password
"""
