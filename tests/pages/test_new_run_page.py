"""The form of a new run, drawn by Streamlit's own tester: what is folded, what it costs, what cannot work."""

import ast
import re
from collections.abc import Iterator

import pytest
from streamlit.testing.v1 import AppTest

from icm_engine import jobs
from icm_engine.analysis.formatting import without_flags
from icm_engine.analysis.model_trials import run_cost
from icm_engine.analysis.run_form import PHRASES, NewRun, settings
from icm_engine.core.labeling import Example, Task
from icm_engine.core.settings import PRESETS, ModelChoice
from icm_engine.data.gold import add_gold
from icm_engine.jobs import job_process, job_worker
from icm_engine.store.datasets import Dataset
from icm_engine.store.store import Store
from tests.support.drawn_pages import button, page, shown_markup, texts
from tests.support.paths import ROOT
from tests.support.stores import HOSTILE, small_dataset


def add(store: Store, name: str, examples: int, labels: tuple[str, ...] = ("True", "False"), group: int = 1) -> None:
    """Store a data set without a rule, so many examples to a group."""
    rows = tuple(Example(f"{name}-{k}", {"text": f"Text {k} {HOSTILE}"}, f"g{k // group}") for k in range(examples))
    task = Task(name, "Text: {text}\nLabel:", labels, labels[0], fields=("text",))
    store.add_dataset(Dataset(name, task, rows, tuple(dict(row.fields) for row in rows), task.fields, name))


def form(dataset: str, model: str = "fake") -> AppTest:
    test = page("search", dataset=dataset)
    test.selectbox(key="model").set_value(model).run()
    assert not test.exception
    return test


def warned(test: AppTest) -> str:
    return "\n".join(element.value.replace("\\", "") for element in test.warning)


def mends(test: AppTest) -> list[str]:
    return [one.label for one in test.button if str(one.key).startswith("mend_")]


# -- what is shown, and what is folded


def folded(test: AppTest, key: str) -> bool:
    """Whether the field with this key is in an expander."""
    inside = [element for expander in test.expander for element in (*expander.number_input, *expander.selectbox)]
    return key in [element.key for element in [*inside, *(one for e in test.expander for one in e.toggle)]]


def test_data_set_model_and_start_come_first_and_all_else_is_folded(store: Store) -> None:
    small_dataset(store)
    test = form("sums")
    fields = [*test.selectbox, *test.number_input, *test.toggle]
    assert [one.key for one in fields if not folded(test, str(one.key))] == ["pick_None", "dataset", "model"]
    assert not [expander.label for expander in test.expander if expander.proto.expanded]
    assert [one.label for one in test.button if one.key in ("start_new", "measure")] == [
        "Start",
        "Check tokens and time",
    ]
    assert (warned(test), mends(test)) == ("", [])


@pytest.mark.parametrize("preset", list(PRESETS))
def test_each_setting_has_a_phrase_its_symbol_and_its_default(store: Store, preset: str) -> None:
    assert {setting.name for setting in settings(preset)} == set(PHRASES)
    test = page("search")
    test.selectbox(key="preset").set_value(preset).run()
    labels = {one.key: one.label for one in (*test.number_input, *test.selectbox, *test.toggle)}
    alpha = f"{PRESETS[preset].alpha:g}"
    assert labels[f"{preset}_alpha"] == f"Weight of mutual predictability against conflicts (alpha, default {alpha})"
    assert labels[f"{preset}_initial_temperature"] == "Temperature at the first step (T0, default 10)"
    drawn = [label for key, label in labels.items() if key not in ("dataset", "model", "pick_None")]
    assert [label for label in drawn if "default" not in label] == []


def test_a_field_left_empty_takes_its_default(store: Store) -> None:
    small_dataset(store)
    test = form("sums")
    test.number_input(key="default_alpha").set_value(None)
    test.number_input(key="chains").set_value(None)
    test.number_input(key="limit").set_value(None).run()
    button(test, "start_new").click().run()
    spec = store.spec("sums-1")
    assert (spec.search.alpha, spec.limit, spec.rule) == (PRESETS["default"].alpha, None, None)


# -- what it costs


def check(store: Store) -> str:
    (job,) = jobs.names(store, "context-check")
    assert job_process.main(job_worker.perform, ["--db", str(store.path), job]) == 0
    return job


def test_the_cost_is_asked_for_with_a_button_and_then_known(store: Store) -> None:
    small_dataset(store)
    test = form("sums")
    assert "72 steps for 18 examples" in texts(test)  # four times 18
    assert "not known yet: a context check finds them out" in texts(test)
    assert "tokens ·" not in texts(test)
    button(test, "measure").click().run()
    assert not test.exception
    job = check(store)
    assert jobs.spec(store, job).body == {"dataset": "sums", "limit": 64}
    test.run()
    found = jobs.result(store, job)
    assert found is not None
    cost = run_cost(store, NewRun("sums", 64, "default", "mean_log_odds", 8), 18, ModelChoice("fake"))
    assert cost.tokens == pytest.approx(2 * 18 * found["evaluation"]["tokens_encoded"])  # two evaluations an example
    assert cost.seconds == pytest.approx(2 * 18 * found["evaluation"]["seconds"])
    assert f"{cost.words}" in texts(test)
    assert f"By {job}" in shown_markup(test)
    assert "measure" not in {one.key for one in test.button}
    test.number_input(key="chains").set_value(3)
    test.number_input(key="max_steps").set_value(100).run()
    assert "300 steps for 18 examples in 3 searches" in texts(test)


def test_a_check_with_another_model_or_of_deleted_data_says_nothing(store: Store) -> None:
    small_dataset(store)
    button(form("sums"), "measure").click().run()
    check(store)
    wish = NewRun("sums", None, "default", "mean_log_odds", 8)
    assert run_cost(store, wish, 18, ModelChoice("fake")).tokens
    assert run_cost(store, wish, 18, ModelChoice("fake", "int8")).tokens is None
    store.db.execute("update datasets set created = created + 1000 where name = 'sums'")
    assert run_cost(store, wish, 18, ModelChoice("fake")).tokens is None


def test_a_template_trial_gives_the_cost_too(store: Store) -> None:
    small_dataset(store)
    body = {"dataset": "sums", "limit": 64, "templates": [], "labels": []}
    job = jobs.request(store, jobs.JobSpec("template-trial", body, ModelChoice("fake")))
    assert job_process.main(job_worker.perform, ["--db", str(store.path), job]) == 0
    (row,) = (row for row in jobs.result(store, job)["rows"] if row["own"])  # type: ignore[index]
    cost = run_cost(store, NewRun("sums", 64, "default", "mean_log_odds", 8), 18, ModelChoice("fake"))
    assert (cost.job, cost.seconds) == (job, pytest.approx(60 * row["minutes"]))
    assert cost.tokens == pytest.approx(2 * 18 * row["tokens_per_evaluation"])


def test_a_data_set_larger_than_the_context_can_be_limited_or_split(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_dataset(store)
    button(form("sums"), "measure").click().run()
    job = check(store)
    found = jobs.result(store, job)
    assert found is not None
    small = {**found, "batch": 9, "fits": {"by_mean": 10, "whichever": 8}, "context": 500}
    monkeypatch.setattr(jobs, "result", lambda store, job: small)
    test = form("sums")
    assert "takes 9 of the 18 examples at once" in warned(test)
    assert mends(test) == ["Label 9 of them", "Label all in batches of 8"]
    button(test, "mend_batch_size_8").click().run()
    assert test.number_input(key="batch_size").value == 8
    assert mends(test) == []
    assert "in 3 searches" in texts(test)


# -- what cannot work, before there is a run


def test_groups_without_a_rule_are_noticed_and_a_rule_is_one_button(store: Store) -> None:
    add(store, "pairs", 20, group=2)
    test = form("pairs")
    assert "20 examples are in 10 groups, and no rule says" in warned(test)
    assert mends(test) == ["At most one is True", "Exactly one is True", "They do not"]  # there are no answers
    button(test, "mend_rule_exactly-one").click().run()
    assert (warned(test), mends(test), test.selectbox(key="rule").value) == ("", [], "exactly-one")
    button(test, "start_new").click().run()
    assert store.spec("pairs-1").rule == "exactly-one"


def test_groups_that_do_not_depend_on_each_other_are_let_be(store: Store) -> None:
    add(store, "pairs", 20, group=2)
    test = form("pairs")
    button(test, "mend_rule_none").click().run()
    assert warned(test) == ""
    add(store, "alone", 20)
    assert warned(form("alone")) == ""


def test_fewer_examples_than_initial_labels_are_noticed(store: Store) -> None:
    add(store, "few", 6)
    test = form("few")
    assert "The run has 6 examples and begins with 8 labels at random" in warned(test)
    assert mends(test) == ["Begin with 3"]
    button(test, "mend_initial_labels_3").click().run()
    assert warned(test) == ""
    button(test, "start_new").click().run()
    assert store.spec("few-1").search.initial_labels == 3


def test_a_limit_below_the_initial_labels_can_be_taken_away(store: Store) -> None:
    small_dataset(store)
    test = form("sums")
    test.number_input(key="limit").set_value(2).run()
    assert "limit of 2 leaves no whole group" in warned(test)
    button(test, "mend_limit_None").click().run()
    assert (test.number_input(key="limit").value, warned(test)) == (None, "")


def test_one_row_is_too_few(store: Store) -> None:
    add(store, "one", 1)
    test = form("one")
    assert "one example only" in warned(test)
    assert [link.proto.label for link in test.get("page_link")].count("Open the data set") == 1


def test_one_label_in_gold_is_noticed(store: Store) -> None:
    add(store, "same", 20)
    add_gold(store, "same", {f"same-{k}": "True" for k in range(20)})
    assert "All 20 gold labels are True" in warned(form("same"))
    add_gold(store, "same", {f"same-{k}": str(k > 0) for k in range(20)})
    assert warned(form("same")) == ""


def test_a_form_of_two_labels_that_a_person_chose_is_mended(store: Store) -> None:
    add(store, "three", 20, ("a", "b", "c"))
    test = form("three")
    test.selectbox(key="preset").set_value("mean-log-odds").run()
    assert warned(test) == ""  # the form of the preset is replaced, as the remark says
    assert "mean\\_log\\_prob in place of mean\\_log\\_odds" in shown_markup(test)
    test.selectbox(key="preset").set_value("paper").run()
    test.selectbox(key="paper_predictability").set_value("mean_log_odds").run()
    assert "for two labels, but this data set has 3" in warned(test)
    button(test, "mend_predictability_mean_log_prob").click().run()
    assert warned(test) == ""
    button(test, "start_new").click().run()
    assert store.spec("three-1").search.predictability == "mean_log_prob"


# -- no option of the command line in the browser

FLAG = re.compile(r"(?:^|[\s(])--[a-z]")
# asked for on the command line alone; or arguments of a process; or what is said before there is a page, or in a file
NOT_ON_PAGES = ("cli/", "cluster/", "access/policy.py", "notebook.py", "runs/lease.py",
                "runs/fetched_models.py", "jobs/__main__.py", "store/migrations.py",
                "training/trainers.py", "models/gguf_header.py")  # fmt: skip


def sentences() -> Iterator[tuple[str, str]]:
    """Every sentence of the engine that names an option, with its file; f-strings with a value in each hole."""
    for path in sorted((ROOT / "icm_engine").rglob("*.py")):
        name = path.relative_to(ROOT / "icm_engine").as_posix()
        if name.startswith(NOT_ON_PAGES):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inside: set[ast.AST] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                inside.update(node.values)
            elif _is_pattern(node):
                inside.update(ast.walk(node))
        docs = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, DOCUMENTED)}
        for node in ast.walk(tree):
            if node not in inside and FLAG.search(said := _said(node)) and said not in docs:
                yield name, said


def _is_pattern(node: ast.AST) -> bool:
    """Whether the node is a pattern that looks for options, not a sentence with one."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "re.compile"


DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)


def _said(node: ast.AST) -> str:
    """The sentence of a node, with a value in each hole; empty for a single word, which nobody is shown."""
    said = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        said = "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
    return said if " " in said else ""


def test_no_message_of_the_engine_names_an_option_on_a_page() -> None:
    found = list(sentences())
    assert len(found) > 30
    left = [(name, said) for name, said in found if FLAG.search(re.sub(r"\(vLLM: [^()]*\)", "", without_flags(said)))]
    assert left == []


def test_no_page_names_an_option() -> None:
    for path in [ROOT / "app.py", *(ROOT / "pages").rglob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert [said for node in ast.walk(tree) if FLAG.search(said := _said(node))] == [], path.name


def test_values_of_people_and_other_programs_are_left_as_they_are() -> None:
    assert without_flags("label '--limit' is twice (see the file)") == "label '--limit' is twice (see the file)"
    assert without_flags("start it anew (vLLM: --dtype)") == "start it anew (vLLM: --dtype)"
