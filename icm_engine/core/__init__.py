"""The method of Internal Coherence Maximization, in the standard library alone.

Everything here is pure: a search is a function of its data, its settings and a seed. The only edge is the Scorer
protocol, and its deterministic fake ships with it.

    labeling            Example, Task, Labeling D (frozen; slots that never move), Flip
    consistency         rules: conflicts(D), neighbours(i), consistent labels of a pair
    custom_rules        a user's own rule: a Python file, held to its hash
    prompting           templates, segments, the order of demonstrations, leave-one-out prompts
    scoring             the Scorer protocol, LabelLogProbs, TableScorer (the fake)
    objective           U(D) = alpha * P(D) - I(D), and the named forms of mutual predictability P
    search              Algorithm 1: initialize, step, apply; interventions between steps
    sampled_terms       the change of U estimated from some of its terms
    advance             what a step needs before it: a new sample, an exact evaluation; breakpoints
    folds               ICM with fine-tuned folds: rounds in place of steps
    repair              Algorithm 2: repair of inconsistent pairs, in a proposal only
    interventions       what a person puts in, pins, notes and takes back
    rng                 randomness as a function of (seed, step)
    settings            every setting, the presets, an explanation for each
    batching            run versions, whole groups under a limit, batches, token counts of a context
    training_rows       labels and rewards as rows to train on
    server_address      http://HOST:PORT/v1#..., which never holds a secret
    text                text from outside: control characters, paths, whole numbers
    errors              the tree of errors
    resources           where the app, its pages and the sample data lie, in a checkout and installed

A search with the fake scorer:

    >>> from icm_engine.core.custom_rules import make_rule
    >>> from icm_engine.core.labeling import Example, Task
    >>> from icm_engine.core.objective import Objective
    >>> from icm_engine.core.scoring import TableScorer, agreeable_belief
    >>> from icm_engine.core.search import initialize, step
    >>> from icm_engine.core.settings import SearchConfig
    >>> task = Task("sums", "{text} Verdict:", rule="exclusive")
    >>> examples = [Example(str(n), {"text": f"2 + 2 = {n}"}, "2 + 2") for n in range(6)]
    >>> rule = make_rule(task.rule, examples, task.labels, task.true_label)
    >>> objective, config = Objective(examples, task, rule, TableScorer(agreeable_belief)), SearchConfig(seed=1)
    >>> first, _ = initialize(objective, config)
    >>> state = first
    >>> for _ in range(20):
    ...     state, record = step(state, objective, config)
    >>> state.evaluation.utility > first.evaluation.utility
    True
"""

__version__ = "0.1.0"
