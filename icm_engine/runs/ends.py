"""How runs of batches ended, a row each: thousands are summed up without reading their logs.

A row is kept with the number of the event it was made after. Where the run has gone on since, it is made anew, so a
row can be deleted, and never says what is no longer so.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from icm_engine.runs.connection import stored_json
from icm_engine.runs.interventions import encode_state
from icm_engine.runs.replay import current_state, open_run
from icm_engine.runs.store import Store

_COSTS = (
    "select total(json_extract(body, '$.usage.prompts')), total(json_extract(body, '$.usage.tokens_encoded')), "
    "total(json_extract(body, '$.set_evaluations')), total(seconds) from events "
    "where run = ? and kind in ('initial', 'labelled', 'step', 'hand')"
)
_KEPT = (
    "select r.name, {names}, (select max(number) from events where run = r.name) from runs r "
    "left join ends e on e.run = r.name where r.name >= ? and r.name < ? "
    "and exists (select 1 from events where run = r.name and kind = 'finished')"
)


@dataclass(frozen=True, slots=True)
class End:
    """Where a run stood after its event `number`: labels by `balance`, U, and what it had cost."""

    run: str
    number: int
    labelled: int
    utility: float
    inconsistency: float
    steps: int
    balance: Mapping[str, int]
    prompts: int
    tokens_encoded: int
    set_evaluations: int
    seconds: float


def end_of(store: Store, run: str, snapshot: bool = False) -> End | None:
    """Return where a run stands, None before its initial labels; with `snapshot`, keep its whole state as well."""
    opened, number = open_run(store, run), store.last_number(run)
    state = current_state(store, opened)
    if state is None:
        return None
    if snapshot:
        store.keep_snapshot(run, number, encode_state(opened.codec, state))
    prompts, tokens, evaluations, seconds = store.db.execute(_COSTS, [run]).fetchone()
    return End(
        run, number, len(state.labeling), state.evaluation.utility, state.evaluation.inconsistency, state.step,
        Counter(state.labeling.values()), int(prompts), int(tokens), int(evaluations), seconds,
    )  # fmt: skip


def keep_end(store: Store, run: str) -> None:
    """Keep how a run has ended, with its last state, so that nobody has to replay it."""
    with store.transaction():
        end = end_of(store, run, snapshot=True)
        if end is not None:
            store.db.table("ends").insert({**asdict(end), "balance": json.dumps(end.balance)}, replace=True)


def read_ends(store: Store, first: str, beyond: str) -> list[End]:
    """Return how the finished ones of those runs ended whose names are from `first` on and before `beyond`."""
    names = ", ".join(f"e.{field.name}" for field in fields(End))
    found = list[End | None]()
    for run, *kept, last in store.db.execute(_KEPT.format(names=names), [first, beyond]).fetchall():
        end = End(*kept)
        fresh = last == end.number  # not where no row was kept, either
        found.append(
            replace(end, balance=stored_json(end.balance, f"the end of run {run!r}")) if fresh else end_of(store, run)
        )
    return [end for end in found if end is not None]


def _kept_end(row: End) -> End:
    return replace(row, balance=stored_json(row.balance, f"the end of run {row.run!r}"))
