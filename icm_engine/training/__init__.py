"""Training on labels: LoRA adapters, by trl's trainers. Runs in the job worker's process alone.

How another trainer plugs in (a reward model, DPO, reinforcement):

1. A kind of job: a line in `jobs.KINDS` that names a function of this room. The worker's process imports it when such
   a job comes, so that nothing else ever loads trl.
2. What it is asked is a JobSpec made by a module of `runs` (as `jobs.finetuning`), which needs no runtime: the body
   names runs, settings and the `name` of the result; the rows come from `core.training_rows`.
3. Its module here loads a model (`models.loading`), builds rows of token ids and a trl trainer with
   `trainers.arguments`, and calls `trainers.train`: that goes on from the last whole checkpoint of the same job, tells
   the job its progress and every log of the trainer, and learns there that it was cancelled.
4. `runs.model_registry.put` moves the result to its place whole, with its facts; `cards.card` writes what people read.

The room imports `core`, `models` and `runs`, never `data`: no gold is within its reach, and what it trains on are the
labels of runs, marked as supervised where gold or people made them.
"""
