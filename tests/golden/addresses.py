"""Addresses of pages: every parameter that a page reads, what it accepts, which links name it, and what it does.

People keep addresses and send them to others. So a parameter keeps its name, its values and its meaning. Each row of
`ADDRESSES` is opened by `tests/golden/test_addresses.py` with and without its parameter: what it `shows` has to be
there with it alone. What other tests open already is in `ELSEWHERE`, and not opened again.

What is shown is a line `KIND VALUE` for each element of a page: a box or a button group with its value, a text, a
table with its cells in a row.
"""

from dataclasses import dataclass, field
from pathlib import Path

from . import event_logs
from .in_process import Session

MANY = ["id,question,claim,group,gold"] + [f"m{k},Q{k // 3},It is {k % 3}.,m{k // 3},{k % 3 == 0}" for k in range(90)]
MENU = ("/", "/search", "/steps", "/examples", "/flips", "/consistency", "/compare", "/annotate", "/forks", "/training",
        "/experiments", "/data", "/tour")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Address:
    """One value of one parameter of a page, beside others that it needs; `links` says who makes such an address."""

    page: str
    parameter: str
    value: str
    shows: str  # a regular expression for one of the lines
    others: dict[str, str] = field(default_factory=dict)
    links: str = "the widget itself"


RUN, FORK = {"run": "claims-1"}, {"run": "claims-3"}
DATA = {"dataset": "claims"}
LINK = "home, jobs, forks and batches"


def _each(page: str, parameter: str, kind: str, values: str, others: dict[str, str], but: str = "") -> list[Address]:
    """A row a value of a choice; of the one that an address without the parameter means (`but`), none."""
    return [
        Address(page, parameter, value, f"^{kind} {value}$", others) for value in values.split(", ") if value != but
    ]


# the other pages take `run` too: every row that has it beside its parameter shows that
ADDRESSES: tuple[Address, ...] = (
    Address("search", "run", "claims-1", r"^selectbox claims-1$", links=LINK),
    Address("search", "run", "batches.1", r"^dataframe .*search\?run=batches\.1-1", links=LINK),
    Address("search", "dataset", "sums", r"^selectbox sums$", links="Label it, on the page of a data set"),
    Address("steps", "event", "12", r"^text .*event 12\b", RUN, "cards, changes of labels, the tour, tables"),
    Address("steps", "step", "7", r"^text .*step 7 of", RUN, "one example on the page of flips"),
    Address("steps", "example", "q5-0", "^text .*example q5-0", {**RUN, "event": "12", "view": "Prompt"}),
    *_each("steps", "view", "button_group", "Curves, Prompt, Labels, Inconsistent pairs, What if", RUN, "Curves"),
    Address("flips", "example", "q5-0", "^text example q5-0", RUN, "a click in the picture or a table"),
    Address("flips", "at", "4", "^page_link .*Open step 4$", {**RUN, "example": "q5-0"}, "a click in the picture"),
    *_each("flips", "cause", "selectbox", "initial, proposal, repair, person", RUN),
    Address("flips", "from", "3", "^number_input 3$", RUN),
    Address("flips", "to", "9", "^number_input 9$", RUN),
    Address("flips", "kept", "True", "^toggle True$", RUN),
    Address("flips", "queue", "lowest-margin", "^button_group Lowest margin$", RUN),
    Address("examples", "words", "8 + 8", "^text_input 8 \\+ 8$", RUN),
    Address("examples", "show", "Label True", "^selectbox Label True$", RUN),
    Address("examples", "order", "Lowest margin", "^selectbox Lowest margin$", RUN),
    Address("examples", "example", "q5-0", "^text example q5-0", RUN, "a click in the table, least certain examples"),
    *_each("consistency", "view", "button_group", "Pairs, Groups, Repairs", RUN, "Pairs"),
    *_each("consistency", "show", "button_group", "now, ever, back", {**RUN, "view": "Pairs"}, "now"),
    Address("consistency", "show", "ever", "^button_group ever$", {**RUN, "view": "Groups"}),
    Address("consistency", "groups", "2", "^pagination 2$", {"run": "many-1", "view": "Groups", "show": "ever"}),
    Address("consistency", "pair", "q0-0,q0-1", "^text example q0-0 ", {**RUN, "show": "ever"}, "repairs and graphs"),
    *_each("consistency", "repairs", "button_group", "all, taken, kept, withheld", {**RUN, "view": "Repairs"}, "all"),
    Address("consistency", "only", "pair", "^toggle True$", {**RUN, "view": "Repairs", "pair": "q0-0,q0-1"}),
    Address("consistency", "repair", "9.0", "^button_group Repairs$", RUN, "the tour"),
    *_each("compare", "view", "button_group", "Gold, Seeds, Runs, Pair, Concepts, Landscape, Audit", RUN, "Gold"),
    Address("compare", "cell", "True,False", "^selectbox True,False$", RUN, "a click in the confusion matrix"),
    Address("compare", "with", "claims-2", r"^multiselect \['claims-2'\]$", RUN),
    *_each("compare", "by", "button_group", "step, tokens", RUN),
    Address("compare", "one", "claims-2", "^selectbox claims-2$", RUN),
    Address("compare", "other", "gold", "^selectbox gold$", RUN),
    Address("compare", "against", "nothing", "^selectbox nothing$", RUN),
    *_each("annotate", "queue", "selectbox", "order, margin, flipped, conflict, unlabelled, pinned, notes, gold", RUN,
           "order"),
    Address("annotate", "filter", "8 + 8", "^text_input 8 \\+ 8$", RUN),
    Address("annotate", "example", "q3-1", "^text .*q3-1", RUN),
    Address("annotate", "at", "5", "^text 5 of 18", RUN),
    Address("forks", "step", "7", "^number_input 7$", RUN, "Fork from here, on the page of steps"),
    Address("forks", "with", "claims-1", "^selectbox claims-1$", FORK),
    Address("data", "dataset", "claims", "^selectbox claims$", links="the list of data sets, an import"),
    *_each("data", "view", "button_group", "Examples, Rule check, Context check, Template trial", DATA, "Examples"),
    Address("data", "example", "q0-2", "^text .*q0-2", DATA),
    Address("data", "page", "2", "^pagination 2$", DATA),
    Address("data", "check", "context-check.1", "^selectbox context-check.1$", {**DATA, "view": "Context check"}),
    Address("data", "job", "template-trial.1", "^selectbox template-trial.1$", {**DATA, "view": "Template trial"}),
)  # fmt: skip

ELSEWHERE = {
    ("compare", "job"): "pages/test_compare_page.py: a landscape by its job",
    ("training", "train"): "pages/test_training_page.py: labels, a reward model, or a policy",
    ("training", "job"): "pages/test_training_page.py: a training by its job",
    ("experiments", "job"): "pages/test_experiments_page.py: a suite by its job",
    ("experiments", "part"): "pages/test_experiments_page.py: suites, or the self-rewarding loop",
    ("steps", "fold"): "pages/test_folds_page.py: a fit of a round",
    ("annotate", "influence"): "pages/test_annotate_page.py: the two forks of a pin",
    ("data", "job"): "pages/test_data_page.py: an import by its job",
    ("consistency", "page"): "pages/test_consistency_page.py: a page that is not there; a second one needs 200 repairs",
}


def fill(now: Session) -> None:
    """Store what the addresses name."""
    event_logs.import_tables(now)
    event_logs.by_hand(now)
    event_logs.run(now, "claims", "--rule", "exactly-one", "--set", "alpha=1")
    now.text("fork", "claims-2", "--step", 8, "--steps", 4)
    event_logs.batches(now)
    Path("many.csv").write_text("\n".join([*MANY, ""]), encoding="utf-8")
    now.text("import", "many.csv", "--task", "truthfulness", "--rule", "exactly-one")
    now.text("run", "--dataset", "many", "--model", "fake", "--steps", 1, "--set", "initial_labels=90",
             "--set", "max_repairs=0")  # fmt: skip
    for _ in range(2):
        now.text("context", "claims", "--model", "fake")
    for label in ("yes,no", "right,wrong"):
        now.text("templates", "claims", "--model", "fake", "--labels", label)
