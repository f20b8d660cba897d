"""The database schema as named migrations, each applied once, and its read-only views (docs/database.md).

Migrations m003, m005, m006, m007 and m011 create views as they stand here. To change one, write a new migration that
drops and creates it; a migration that alters a table drops the views on it first.
"""

from collections.abc import Mapping
from pathlib import Path

from sqlite_utils import Database, Migrations

from icm_engine.core.errors import StoreError

_DATASETS = """
select d.name as dataset, json_extract(d.task, '$.name') as task, json_extract(d.task, '$.rule') as rule,
       json_extract(d.task, '$.labels') as labels, json_extract(d.task, '$.template') as template, d.source,
       d.examples, d.consistency_groups as groups,
       datetime(d.created, 'unixepoch') as created
from datasets d
"""

_EXAMPLES = """
select dataset, position, id as example, fields, consistency_group, answer, twin_of, input
from examples
"""

_GOLD = "select dataset, example, label from gold"

_HUMAN = "select dataset, example, source, label from human"

_RUNS = """
select r.name as run, json_extract(r.spec, '$.dataset') as dataset, json_extract(r.spec, '$.model') as model,
       json_extract(r.spec, '$.quantization') as quantization, json_extract(r.spec, '$.preset') as preset,
       coalesce(json_extract(r.spec, '$.rule'), json_extract(d.task, '$.rule')) as rule,
       json_extract(r.spec, '$.limit') as example_limit,
       json_extract(r.spec, '$.search.predictability') as predictability,
       json_extract(r.spec, '$.search.alpha') as alpha, json_extract(r.spec, '$.search.seed') as seed,
       json_extract(r.spec, '$.search.max_steps') as max_steps,
       json_extract(r.spec, '$.supervised') as supervised, json_extract(r.spec, '$.forked_from') as forked_from,
       json_extract(r.spec, '$.forked_at') as forked_at, r.spec,
       (select count(*) from events e where e.run = r.name and e.kind = 'step') as steps,
       exists (select 1 from events e where e.run = r.name and e.kind = 'finished') as finished,
       datetime(r.created, 'unixepoch') as created
from runs r left join datasets d on d.name = json_extract(r.spec, '$.dataset')
"""

_EVENTS = """
select run, number, kind, datetime(time, 'unixepoch') as time, seconds, body
from events
"""

# a step that proposed nothing has no `after`, so its delta, probability and draw are null
_STEPS = """
select run, json_extract(body, '$.step') as step, json_extract(body, '$.example') as example,
       json_extract(body, '$.old') as old, json_extract(body, '$.proposed') as proposed,
       json_extract(body, '$.verdict') as verdict, json_extract(body, '$.accepted') as accepted,
       case when json_extract(body, '$.after') is not null then json_extract(body, '$.delta') end as delta,
       json_extract(body, '$.temperature') as temperature,
       case when json_extract(body, '$.after') is not null then json_extract(body, '$.accept_probability') end
           as accept_probability,
       case when json_extract(body, '$.after') is not null then json_extract(body, '$.draw') end as draw,
       json_extract(body, '$.before.utility') as utility_before, json_extract(body, '$.after.utility') as utility_after,
       json_extract(body, '$.before.inconsistency') as inconsistency_before,
       json_extract(body, '$.after.inconsistency') as inconsistency_after,
       json_array_length(body, '$.repairs') as repairs, json_extract(body, '$.label_mass') as label_mass,
       json_extract(body, '$.log_probs') as log_probs, json_extract(body, '$.set_evaluations') as set_evaluations,
       json_extract(body, '$.usage.prompts') as prompts, json_extract(body, '$.usage.tokens_encoded') as tokens_encoded,
       seconds, number as event
from events where kind = 'step'
"""

_REPAIRS = """
select e.run, coalesce(json_extract(e.body, '$.step'), 0) as step, r.key + 1 as round,
       json_extract(r.value, '$.pair[0]') as example_a, json_extract(r.value, '$.pair[1]') as example_b,
       json_extract(r.value, '$.labels[0]') as label_a, json_extract(r.value, '$.labels[1]') as label_b,
       json_extract(r.value, '$.taken[0]') as taken_a, json_extract(r.value, '$.taken[1]') as taken_b,
       json_extract(r.value, '$.utility') as utility, json_extract(r.value, '$.options') as options,
       coalesce(json_extract(e.body, '$.accepted'), 1) as accepted, e.number as event
from events e, json_each(e.body, '$.repairs') r
where e.kind in ('initial', 'step')
"""

# one row for each example whose label is another after the event: a repair may undo what its proposal did. Events are
# grouped, each by itself, so that the windows sort flips without carrying the bodies of their events along
_FLIPS = """
select run, step, example, old, new, cause, event
from (
    select e.run, e.number as event, e.step, json_extract(f.value, '$.example') as example,
           first_value(json_extract(f.value, '$.old')) over in_order as old, json_extract(f.value, '$.new') as new,
           json_extract(f.value, '$.cause') as cause, lead(f.key) over in_order as next
    from (
        select run, number, coalesce(json_extract(body, '$.step'), 0) as step, json_extract(body, '$.flips') as flips
        from events
        where kind in ('initial', 'hand') or (kind = 'step' and json_extract(body, '$.accepted'))
        group by run, number
    ) e, json_each(e.flips) f
    window in_order as (partition by e.run, e.number, json_extract(f.value, '$.example') order by f.key)
)
where next is null and old is not new
union all
select e.run, json_extract(e.body, '$.step'), json_extract(l.value, '$[0]'), null, json_extract(l.value, '$[1]'),
       'fork', e.number
from events e, json_each(e.body, '$.labels') l
where e.kind = 'forked'
"""

# windows and not max(): SQLite then looks at the events of one run only, where one is asked for
_LABELS = """
select run, example, new as label, step as last_change_step, changes - 1 as flips
from (
    select run, example, new, step, row_number() over (partition by run, example order by event desc) as back,
           count(*) over (partition by run, example) as changes
    from v_flips
)
where back = 1 and new is not null
"""

# interventions: one row for each example that an act touched
HAND = """
select e.run, json_extract(e.body, '$.step') as step, json_extract(a.value, '$.verb') as verb,
       json_extract(c.value, '$.example') as example,
       json_extract(c.value, '$.before.label') as label_before, json_extract(c.value, '$.after.label') as label_after,
       json_extract(c.value, '$.before.pinned') as pinned_before,
       json_extract(c.value, '$.after.pinned') as pinned_after,
       json_extract(c.value, '$.after.note') as note, e.number as event
from events e, json_each(e.body, '$.acts') a, json_each(a.value, '$.changes') c
where e.kind = 'hand'
"""

_COMMANDS = """
select run, verb, steps, body, datetime(created, 'unixepoch') as created, applied as event
from commands
"""

_LEASES = """
select run, pid, host, ready, datetime(heartbeat, 'unixepoch') as heartbeat
from leases
"""

JOBS = """
select name as job, kind, json_extract(spec, '$.body.dataset') as dataset, json_extract(spec, '$.model.model') as model,
       spec, datetime(created, 'unixepoch') as created
from jobs
"""

# the batch that a run labels, if any: v_runs as of now
RUNS = _RUNS.replace(
    "as forked_at,",
    "as forked_at, json_extract(r.spec, '$.part.number') as batch, json_extract(r.spec, '$.part.of') as batches,",
)

PARTS = """
select p.dataset, p.examples, p.size, p.seed, p.number as batch, e.id as example
from parts p, json_each(p.positions) j
join examples e on e.dataset = p.dataset and e.position = j.value
"""

ENDS = """
select run, number as event, steps, labelled, balance, utility, inconsistency, prompts, tokens_encoded, set_evaluations,
       seconds
from ends
"""

DELETED = """
select name, datetime(created, 'unixepoch') as created, datetime(deleted, 'unixepoch') as deleted
from deleted
"""

# rounds of a search with folds: v_runs, v_repairs, v_flips and v_labels as of now count and list them as they do steps
RUNS_WITH_ROUNDS = RUNS.replace(
    "e.kind = 'step') as steps",
    "(e.kind = 'step' or (e.kind = 'round' and json_extract(e.body, '$.step') > 0))) as steps",
)

REPAIRS_WITH_ROUNDS = _REPAIRS.replace(
    "coalesce(json_extract(e.body, '$.accepted'), 1)",
    "coalesce(json_extract(e.body, '$.kept'), json_extract(e.body, '$.accepted'), 1)",
).replace("('initial', 'step')", "('initial', 'step', 'round')")

FLIPS_WITH_ROUNDS = _FLIPS.replace(
    "json_extract(body, '$.accepted'))\n",
    "json_extract(body, '$.accepted'))\n            or (kind = 'round' and json_extract(body, '$.kept'))\n",
)

# labels that a source gave all at once, as those that a fork begins with: v_flips as of now
FLIPS_WITH_SOURCES = FLIPS_WITH_ROUNDS.replace("'fork', e.number", "iif(e.kind = 'forked', 'fork', 'source'), e.number")
FLIPS_WITH_SOURCES = FLIPS_WITH_SOURCES.replace("e.kind = 'forked'\n", "e.kind in ('forked', 'labelled')\n")

ROUNDS = """
select run, json_extract(body, '$.step') as round, json_extract(body, '$.kept') as kept,
       json_extract(body, '$.before.utility') as utility_before, json_extract(body, '$.tried.utility') as utility_tried,
       json_extract(body, '$.after.utility') as utility,
       json_extract(body, '$.tried.inconsistency') as inconsistency_tried,
       json_array_length(body, '$.flips') as flips, json_array_length(body, '$.repairs') as repairs,
       json_extract(body, '$.groups') as groups, json_extract(body, '$.most') as most,
       json_extract(body, '$.left') as groups_left, seconds, number as event
from events where kind = 'round'
"""

FITS = """
select run, json_extract(body, '$.round') as round, json_extract(body, '$.fold') as fold,
       json_array_length(body, '$.held_out') as held_out, json_extract(body, '$.rows') as labels,
       json_extract(body, '$.steps') as steps, json_extract(body, '$.tokens') as tokens_tuned,
       json_extract(body, '$.usage.tokens_encoded') as tokens_scored, json_extract(body, '$.first_loss') as first_loss,
       json_extract(body, '$.last_loss') as last_loss, seconds, number as event
from events where kind = 'fold'
"""

# columns of `runs` by which an index selects among thousands of batches. A fork of a batch counts as a run of its own
OF_EXPERIMENT = "json_extract(spec, '$.experiment') is not null"
LISTED = "(json_extract(spec, '$.part') is null or json_extract(spec, '$.forked_from') is not null)"

VIEWS: Mapping[str, str] = {
    "v_datasets": _DATASETS,
    "v_examples": _EXAMPLES,
    "v_gold": _GOLD,
    "v_human": _HUMAN,
    "v_runs": _RUNS,
    "v_events": _EVENTS,
    "v_steps": _STEPS,
    "v_repairs": _REPAIRS,
    "v_flips": _FLIPS,
    "v_labels": _LABELS,
    "v_commands": _COMMANDS,
    "v_leases": _LEASES,
}


migrations = Migrations("icm")
USER_VERSION = 0  # in the file's header; a format that older programs must not read would use another number


@migrations()
def m001_first(db: Database) -> None:
    """Data sets with gold and human labels apart; runs, events, commands, leases."""
    db.table("datasets").create(
        {"name": str, "task": str, "source": str, "columns": str, "notes": str, "created": float},
        pk="name",
    )
    example_key = ("dataset", "position")
    db.table("examples").create(
        {
            "dataset": str, "position": int, "id": str, "fields": str, "consistency_group": str, "answer": str,
            "twin_of": str, "input": str,
        },
        pk=example_key,
        not_null={"id", "fields", "consistency_group"},
    )  # fmt: skip
    db.table("examples").create_index(["dataset", "id"], unique=True)
    db.table("gold").create({"dataset": str, "example": str, "label": str}, pk=("dataset", "example"))
    db.table("human").create(
        {"dataset": str, "example": str, "source": str, "label": str}, pk=("dataset", "example", "source")
    )
    db.table("runs").create({"name": str, "spec": str, "created": float}, pk="name")
    db.table("events").create(
        {"run": str, "number": int, "kind": str, "time": float, "seconds": float, "body": str},
        pk=("run", "number"),
        not_null={"kind", "time", "body"},
    )
    db.table("commands").create(
        {"id": int, "token": str, "run": str, "verb": str, "steps": int, "created": float, "applied": int}, pk="id"
    )
    db.table("commands").create_index(["token"], unique=True)
    db.table("leases").create(
        {
            "run": str, "token": str, "pid": int, "pid_started": float, "host": str, "heartbeat": float,
            "ready": int, "log": str,
        },
        pk="run",
    )  # fmt: skip


@migrations()
def m002_counts(db: Database) -> None:
    """Counts shown in the list of data sets are stored; an index finds the last example of a group."""
    for column in ("examples", "consistency_groups", "gold", "human"):
        db.execute(f"alter table datasets add column {column} integer not null default 0")
    db.table("examples").create_index(["dataset", "consistency_group", "position"])
    db.table("gold").create_index(["dataset", "label"])
    db.execute(
        """
        update datasets set
            examples = (select count(*) from examples where dataset = datasets.name),
            consistency_groups = (select count(distinct consistency_group) from examples where dataset = datasets.name),
            gold = (select count(*) from gold where dataset = datasets.name),
            human = (select count(*) from human where dataset = datasets.name)
        """
    )


@migrations()
def m003_views(db: Database) -> None:
    """Read-only views for notebooks and other tools; gold and human labels in views of their own."""
    for name, query in VIEWS.items():
        db.create_view(name, query)


@migrations()
def m004_jobs(db: Database) -> None:
    """Jobs; their events and leases share the tables of the runs'."""
    db.table("jobs").create({"name": str, "kind": str, "spec": str, "created": float}, pk="name")


@migrations()
def m005_job_view(db: Database) -> None:
    """The read-only view of jobs."""
    db.create_view("v_jobs", JOBS)


@migrations()
def m006_hand(db: Database) -> None:
    """Commands carry interventions; snapshots for time travel; events are found by kind; views show interventions."""
    for name in ("v_labels", "v_flips", "v_runs", "v_commands"):
        db.execute(f"drop view {name}")
    db.execute("alter table commands add column body text not null default '{}'")
    db.table("snapshots").create({"run": str, "number": int, "body": str}, pk=("run", "number"), not_null={"body"})
    db.table("events").create_index(["run", "kind", "number"])
    for name in ("v_runs", "v_flips", "v_labels", "v_commands"):
        db.create_view(name, VIEWS[name])
    db.create_view("v_hand", HAND)


@migrations()
def m007_batches(db: Database) -> None:
    """Batches: the examples of each, and how its run ended, so that lists of runs need not read thousands of logs."""
    db.table("parts").create(
        {"dataset": str, "examples": int, "size": int, "seed": int, "number": int, "positions": str},
        pk=("dataset", "examples", "size", "seed", "number"), not_null={"positions"},
    )  # fmt: skip
    db.table("ends").create(
        {
            "run": str, "number": int, "labelled": int, "utility": float, "inconsistency": float, "steps": int,
            "balance": str, "prompts": int, "tokens_encoded": int, "set_evaluations": int, "seconds": float,
        },
        pk="run",
    )  # fmt: skip
    db.execute(f"create index idx_runs_listed on runs ({OF_EXPERIMENT}, created) where {LISTED}")
    db.table("commands").create_index(["run", "applied"])
    for name in ("dataset", "forked_from"):
        db.execute(f"create index idx_runs_{name} on runs (json_extract(spec, '$.{name}'))")
    db.execute("drop view v_runs")
    for name, query in (("v_runs", RUNS), ("v_parts", PARTS), ("v_ends", ENDS)):
        db.create_view(name, query)


@migrations()
def m008_boots(db: Database) -> None:
    """A lease names its boot: after a restart, pid and start time may belong to another program."""
    db.execute("alter table leases add column boot text not null default ''")


@migrations()
def m009_lease_file(db: Database) -> None:
    """A lease names the file it was taken in: in a copy of the database its holder works on another file."""
    db.execute("alter table leases add column file text not null default ''")


@migrations()
def m010_deleted(db: Database) -> None:
    """Names of deleted runs are never used again, so that no link or file can come to refer to another run."""
    db.table("deleted").create({"name": str, "created": float, "deleted": float}, pk="name")
    db.create_view("v_deleted", DELETED)


@migrations()
def m011_rounds(db: Database) -> None:
    """Views show searches with folds: their rounds and fits, and the labels, flips and repairs of rounds."""
    for name in ("v_labels", "v_flips", "v_repairs", "v_runs"):
        db.execute(f"drop view {name}")
    for name, query in (
        ("v_runs", RUNS_WITH_ROUNDS),
        ("v_repairs", REPAIRS_WITH_ROUNDS),
        ("v_flips", FLIPS_WITH_ROUNDS),
        ("v_labels", _LABELS),
        ("v_rounds", ROUNDS),
        ("v_fits", FITS),
    ):
        db.create_view(name, query)


@migrations()
def m012_sources(db: Database) -> None:
    """Views show the labels of label sources, which are no steps."""
    for name in ("v_labels", "v_flips"):
        db.execute(f"drop view {name}")
    db.create_view("v_flips", FLIPS_WITH_SOURCES)
    db.create_view("v_labels", _LABELS)


def require_known(db: Database, path: Path) -> None:
    """Raise StoreError for another program's database or one of a newer version. Changes nothing."""
    tables = [name for name in db.table_names() if not name.startswith("sqlite_")]
    if tables and not migrations.applied(db):
        raise StoreError(
            f"database {path} is another program's (it has the table {tables[0]!r}), nothing was changed: use another "
            "file (--db)"
        )
    version = db.execute("pragma user_version").fetchone()[0]
    if version != USER_VERSION or (unknown := _unknown(db)):
        what = f"the version {version}" if version != USER_VERSION else f"the migration {unknown[-1]!r}"
        raise StoreError(
            f"database {path} has {what}, which this program does not know, nothing was changed: it was written by a "
            "newer version; use that one, or another database (--db)"
        )


def migrate(db: Database, path: Path) -> None:
    """Migrate the database to this version's schema. Raises StoreError as `require_known` does."""
    if not migrations.pending(db):
        return
    with db.conn:
        db.conn.execute("BEGIN IMMEDIATE")  # two processes may open a new database at once
        require_known(db, path)
        migrations.apply(db)


def _unknown(db: Database) -> list[str]:
    known = {migration.name for migration in migrations._migrations}  # the library has no public list
    return sorted({migration.name for migration in migrations.applied(db)} - known)
