"""Training on labels: LoRA adapters, by trl's trainers. Runs in the job worker's process alone.

How another trainer plugs in (a reward model, DPO, reinforcement):

1. A kind of job: a line in `jobs.KINDS` that names a function of this package. The worker's process imports it for
   such a job, so that nothing else loads trl.
2. Its request is a JobSpec made by a module of `jobs` (such as `jobs.finetuning`), which needs no runtime: the body
   names runs, settings and the `name` of the result; the rows come from `core.training_rows`.
3. Its module here loads a model (`models.loading`), builds rows of token ids and a trl trainer with
   `trainers.arguments`, and calls `trainers.train`, which continues from the last complete checkpoint of the job,
   reports progress and the trainer's logs to the job, and stops when the job is cancelled.
4. `runs.model_registry.put` moves the complete result to its place, with its facts; `trainers.card` writes the README.

The package never imports `data`, so it cannot reach gold. It trains on the labels of runs, marked as supervised
if gold or people made them.
"""
