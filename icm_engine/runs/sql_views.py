"""Read-only views of the database for notebooks and other tools; docs/database.md has an example of each.

The migrations m003, m005, m006 and m007 make them as they stand here. To change one, write a new migration that drops
and creates it; a migration that alters a table drops the views that read it first.
"""

from collections.abc import Mapping

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

# a step that proposed nothing has no `after`: its delta, probability and draw say nothing
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

# what a person put in: one row for each example that an act touched
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

# the batch that a run labels, if it is one: v_runs as it is now
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

# of the table `runs`: what an index picks out of thousands of batches. A fork of a batch was asked for by itself
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
