"""Texts that would be something else than text where they are not shown as text, and a database full of them."""

from icm_engine.core.labeling import Example, Task
from icm_engine.data.gold import add_gold
from icm_engine.runs import control
from icm_engine.store.datasets import Dataset
from icm_engine.store.store import Store
from tests.support.stores import add_run

SITE = "evil.example"
MARKUP = (
    "<script>icmHit('script')</script>",
    "<img src=x onerror=\"icmHit('img')\"><b data-hostile>html</b>",
    f"![picture](http://{SITE}/x.png) [link](http://{SITE}/) <http://{SITE}/auto> http://{SITE}/bare www.{SITE}",
    "**boldly** _italic_ `code` # heading\n\n# heading\n\n> quote\n\n- item\n\n| a | b |\n|---|---|\n| 1 | 2 |",
    "$\\frac{1}{2}$ and $$x^2$$",
    ":red[coloured] :blue-badge[badge] :material/skull: :tada: :streamlit:",
    f"<a href='javascript:icmHit(1)'>a</a> [js](javascript:icmHit(2)) <iframe src='http://{SITE}'></iframe>",
    "{{7*7}} ${7*7} <%= 7*7 %> %s %n {0} {claim}",
    "=HYPERLINK(\"http://evil.example\",\"x\")",
)  # fmt: skip
CONTROLS = (
    "clear\x1b[2J red\x1b[31m title\x1b]0;x\x07 link\x1b]8;;http://evil.example\x1b\\x\x1b]8;;\x1b\\",
    "back\b\b\b return\rover bell\x07 csi\x9b2J delete\x7f",
    "override\u202egnp.exe isolate\u2066x\u2069 mark\u200f",
    "zero\u200bwidth\u200d join\ufeff soft\u00adhyphen tag\U000e0041",
    "line\u2028para\u2029next\x85",
)
LONG = "long " * 200_000  # 1 MB
NAME = f"<b data-hostile>n</b> **boldly** $x$ :tada: [l](http://{SITE})"
LABELS = ("<b data-hostile>yes</b> **boldly** $a$", ":red[no] :tada: ![p](http://evil.example/l.png)")
PICTURE = f"![p](http://{SITE}/q.png) <b data-hostile>q</b> :tada: **boldly** $z$"


def hostile_dataset(store: Store, name: str = NAME) -> None:
    """Store every text in a group of two, with hostile ids, labels, columns, sources and names of everything."""
    texts = (*MARKUP, *CONTROLS)
    examples = tuple(
        Example(f"id {k}.{n} {text[:60]}", {"text": f"{n} {text}", "other": text[:100]}, f"g{k} {text[:40]}")
        for k, text in enumerate(texts)
        for n in (0, 1)
    )
    task = Task(f"task {PICTURE}", "{other} {text}\nIs it?", LABELS, LABELS[0], "exactly-one", ("text", "other"))
    inputs = tuple({f"text {PICTURE}": e.fields["text"], "x": e.fields["other"]} for e in examples)
    source = f"file {PICTURE}.csv"
    store.add_dataset(Dataset(name, task, examples, inputs, tuple(inputs[0]), source, (f"note {PICTURE}",)))
    add_gold(store, name, {e.id: LABELS[k % 2] for k, e in enumerate(examples)})


def long_run(store: Store) -> str:
    """Store a run on a data set of four examples, one of which has 1 MB of text."""
    texts = (LONG, "a", "b", "c")
    examples = tuple(Example(f"long-{k}", {"text": text}, f"g{k // 2}") for k, text in enumerate(texts))
    task = Task("long", "{text} is", rule="exactly-one", fields=("text",))
    store.add_dataset(Dataset("long", task, examples, tuple({"text": e.fields["text"]} for e in examples), ("text",)))
    return add_run(store, "paused", steps=6, dataset="long")


def hostile_runs(store: Store) -> tuple[str, str]:
    """Store two runs on it: one with steps and a note on an example, one that failed in hostile words."""
    hostile_dataset(store)
    run, failed = add_run(store, "paused", steps=20, dataset=NAME), add_run(store, "created", dataset=NAME)
    control.queue(store, failed)
    for words in (*MARKUP, *CONTROLS):
        store.append(failed, "failed", {"error": "ModelNotUsable", "message": f"server says: {words}"})
    return run, failed
