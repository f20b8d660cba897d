"""The Data page in every state, drawn by Streamlit's own tester: a file becomes a data set, and is looked at."""

import gzip
import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from icm_engine import jobs
from icm_engine.analysis import import_form
from icm_engine.analysis.datasets import PAGE
from icm_engine.core import custom_rules
from icm_engine.core.custom_rules import rule_reference
from icm_engine.core.settings import ModelChoice
from icm_engine.data import importing
from icm_engine.data.gold import add_human, load_gold
from icm_engine.data.importing import import_file
from icm_engine.jobs import JobSpec, job_process, job_worker
from icm_engine.store.store import Store
from tests.support.drawn_pages import button, page, shown_markup, texts
from tests.support.held_jobs import perform
from tests.support.stores import HOSTILE, add_run, small_dataset

ZERO_WIDTH = chr(0x200B)
ROWS = [f"What is {n} + 1?,It is {n + 1 + n % 2}. {HOSTILE},{n % 2 == 0},yes" for n in range(4)]
CLAIMS = "\n".join(["question,claim,is_correct,crowd", *ROWS])


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty data folder of the pages."""
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("ICM_DATA", str(tmp_path / "data"))


def do(store: Store, job: str) -> None:
    """Do a job here, as its process would."""
    assert job_process.main(perform, ["--db", str(store.path), job]) == 0


def uploaded(test: AppTest, name: str, content: str, kind: str = "text/csv") -> AppTest:
    test.file_uploader(key="upload").set_value((name, content.encode(), kind)).run()
    assert not test.exception
    return test


def chosen(test: AppTest, kind: str, label: str):  # type: ignore[no-untyped-def]
    """The widget with this label, whose key depends on the file."""
    return next(element for element in getattr(test, kind) if element.label == label)


def metrics(test: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in test.metric}


def codes(test: AppTest) -> list[str]:
    return [code.value.replace(ZERO_WIDTH, "") for code in test.code]


def steps(test: AppTest) -> list[str]:
    """The headings of the steps that are shown; the last one comes with the button that saves."""
    shown = [element.value for element in test.subheader]
    assert ("3. Check and save" in shown) == any(found.key == "save" for found in test.button)
    return shown


# -- a file becomes a data set


def test_an_uploaded_file_is_guessed_previewed_checked_and_saved(store: Store) -> None:
    test = uploaded(page("data"), "mine.csv", CLAIMS)
    assert chosen(test, "selectbox", "Task").value == "truthfulness"
    fields = ("question", "claim", "gold", "group", "id")
    columns = [chosen(test, "selectbox", field).value for field in fields]
    assert columns == ["question", "claim", "is_correct", "not used", "not used"]
    assert chosen(test, "multiselect", "human labels").value == ["crowd"]
    assert "Column 'is_correct' was set apart as gold" in texts(test)
    prompts = codes(test)[:3]
    hostile = HOSTILE.replace(" ", "·")
    assert prompts[0].endswith(f"Question:·What·is·0·+·1?↵\nClaim:·It·is·1.·{hostile}↵\nI·think·this·claim·is")
    assert prompts[0].count("I·think·this·claim·is·") == 2  # the two others, labelled
    assert "crowd" not in prompts[0]
    shown = metrics(test)
    assert (shown["Examples"], shown["Groups"], shown["Constraints"]) == ("4", "4", "0")
    assert (shown["Gold labels"], shown["Gold violations"]) == ("4", "–")
    assert store.dataset_names() == []  # nothing is kept before it is saved
    button(test, "save").click().run()
    assert not test.exception
    info = store.dataset_info("mine")
    assert (info.examples, info.gold, info.human) == (4, 4, 4)
    assert test.query_params["dataset"] == "mine"
    assert "Imported" in test.success[0].value
    assert HOSTILE not in shown_markup(test)


def test_the_mapping_is_corrected_by_hand(store: Store) -> None:
    test = uploaded(page("data"), "mine.csv", CLAIMS)
    chosen(test, "selectbox", "gold").set_value("not used").run()
    assert "Column 'is_correct' looks like labels and was left out" in texts(test)
    chosen(test, "selectbox", "claim").set_value("not used").run()
    assert any("needs a column claim" in code for code in test.code.values)
    assert steps(test) == ["1. File", "2. Columns"]
    chosen(test, "selectbox", "claim").set_value("claim")
    chosen(test, "selectbox", "Rule").set_value("same-answer")
    chosen(test, "selectbox", "group").set_value("crowd")  # of no use as a group, but a column may serve one field only
    test.run()
    assert any("is mapped to both" in code for code in test.code.values)
    chosen(test, "multiselect", "human labels").set_value([]).run()
    assert metrics(test)["Groups"] == "1"
    button(test, "save").click().run()
    assert (store.dataset_info("mine").gold, store.dataset_info("mine").task.rule) == (0, "same-answer")


def test_gold_that_breaks_the_rule_is_counted_before_anything_is_saved(store: Store) -> None:
    rows = [{"question": f"Q{k // 2}", "claim": f"c{k}", "label": 1} for k in range(6)]
    test = uploaded(page("data"), "claims.json", json.dumps(rows), "application/json")
    chosen(test, "selectbox", "Rule").set_value("exactly-one").run()
    assert (metrics(test)["Constraints"], metrics(test)["Gold violations"]) == ("3", "3")
    assert "Gold itself violates the rule in 3 of 3 pairs (100.0%)" in texts(test)


def test_ties_and_the_first_response_are_chosen_on_the_page(store: Store) -> None:
    rows = "prompt,response_a,response_b,label\nq,one,two,1\nr,three,four,tie\ns,five,six,0\n"
    test = uploaded(page("data"), "pairs.csv", rows)
    assert any("has the value 'tie', a tie" in code for code in test.code.values)
    chosen(test, "selectbox", "Ties").set_value("drop").run()
    assert (metrics(test)["Examples"], metrics(test)["Gold labels"]) == ("4", "4")
    assert "row 1 (line 2) has '1': A, 'one' is taken as better than 'two'" in texts(test)
    chosen(test, "text_input", "First response").set_value("0").run()
    assert "row 1 (line 2) has '1': B, 'two' is taken as better than 'one'" in texts(test)
    button(test, "save").click().run()
    assert not test.exception
    assert list(load_gold(store, "pairs").labels.values()) == ["False", "True", "True", "False"]


def test_a_file_with_all_answers_in_one_row(store: Store) -> None:
    rows = "Question,Best Answer,Correct Answers,Incorrect Answers\nQ,Yes,Yes; It is,No; Never\n"
    test = uploaded(page("data"), "wide.csv", rows)
    assert [chosen(test, "selectbox", f).value for f in ("question", "claim", "gold", "answer")] == [
        "Question", "claim", "gold", "not used",
    ]  # fmt: skip
    assert (metrics(test)["Examples"], metrics(test)["Gold labels"]) == ("4", "4")
    button(test, "save").click().run()
    assert store.dataset_info("wide").examples == 4


def test_a_column_of_final_answers_is_used_only_if_it_is_chosen(store: Store) -> None:
    rows = "question,claim,answer\nq,So A: 5,7\nq,So A: 6,7\n"
    test = uploaded(page("data"), "maths.csv", rows)
    chosen(test, "selectbox", "Task").set_value("maths-verification").run()
    assert chosen(test, "selectbox", "answer").value == "not used"
    chosen(test, "selectbox", "answer").set_value("answer").run()
    assert "the same final answer for different claims in 1 of 1 groups" in texts(test)


def test_a_classification_asks_for_its_labels(store: Store) -> None:
    test = uploaded(page("data"), "posts.csv", "text,topic\none,a\ntwo,b\n")
    assert chosen(test, "selectbox", "Task").value == "classification"
    assert steps(test) == ["1. File", "2. Columns"]
    chosen(test, "multiselect", "Labels").set_value(["a", "b"]).run()
    category = "I·think·the·category·of·this·text·is"
    assert codes(test)[0] == f"Text:·two↵\n{category}·b↵\n↵\nText:·one↵\n{category}"
    chosen(test, "text_input", "Name of the data set").set_value("topics").run()
    button(test, "save").click().run()
    assert store.dataset_info("topics").task.labels == ("a", "b")


def test_a_file_that_cannot_be_read_says_why(store: Store) -> None:
    test = uploaded(page("data"), "broken.json", '{"question": ', "application/json")
    assert any("broken.json" in code for code in test.code.values)
    test = uploaded(page("data"), "twice.csv", "text,text\na,b\n")
    assert any("has column 'text' twice" in code for code in test.code.values)


def test_a_file_in_another_encoding_is_read_once_it_is_named(store: Store) -> None:
    test = page("data")
    content = "text,topic\ncafé,a\nthé,b\n".encode("latin-1")
    test.file_uploader(key="upload").set_value(("posts.csv", content, "text/csv")).run()
    assert "0xe9" in test.code[0].value
    chosen(test, "selectbox", "Encoding").set_value("windows-1252").run()
    chosen(test, "multiselect", "Labels").set_value(["a", "b"]).run()
    button(test, "save").click().run()
    assert not test.exception
    assert [example.fields["text"] for example in store.examples("posts")] == ["café", "thé"]


def test_a_name_that_is_taken_is_refused_and_the_form_stays(store: Store) -> None:
    small_dataset(store, "mine")
    test = uploaded(page("data"), "mine.csv", CLAIMS)
    button(test, "save").click().run()
    assert any("'mine' exists already" in code for code in test.code.values)
    assert chosen(test, "selectbox", "Task").value == "truthfulness"
    assert store.dataset_info("mine").examples == 18


def test_a_path_stays_inside_the_data_folder(store: Store, tmp_path: Path) -> None:
    (tmp_path / "data" / "inner").mkdir()
    (tmp_path / "data" / "inner" / "mine.csv").write_text(CLAIMS)
    (tmp_path / "secret.csv").write_text(CLAIMS)
    (tmp_path / "data" / "away").symlink_to(tmp_path)
    test = page("data")
    test.segmented_control(key="way").set_value("A file on this machine").run()
    assert test.selectbox(key="listed").options == ["inner/mine.csv"]
    for outside in (
        "../secret.csv",
        str(tmp_path / "secret.csv"),
        "away/secret.csv",
        "/etc/passwd",
        "~/x.csv/../../..",
    ):
        test.text_input(key="path").set_value(outside).run()
        assert f"the page reads files inside {tmp_path / 'data'} only" in test.code[0].value
        assert len(test.selectbox) == 2  # the choices of a data set and of a file: no form
    test.text_input(key="path").set_value("missing.csv").run()
    assert "there is no such file" in test.code[0].value
    test.selectbox(key="listed").set_value("inner/mine.csv").run()
    assert test.text_input(key="path").value == "inner/mine.csv"
    button(test, "save").click().run()
    assert store.dataset_info("mine").examples == 4


@pytest.mark.parametrize("way", ["upload", "path"])
def test_a_large_file_is_imported_by_a_job(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(import_form, "SMALL", 100)
    test = page("data")
    if way == "upload":
        uploaded(test, "mine.csv", CLAIMS)
    else:
        (tmp_path / "data" / "mine.csv").write_text(CLAIMS)
        test.segmented_control(key="way").set_value("A file on this machine").run()
        test.text_input(key="path").set_value("mine.csv").run()
    assert "It is checked during the import" in texts(test)
    button(test, "save").click().run()
    assert not test.exception
    (job,) = jobs.names(store, "import")
    assert test.query_params["job"] == job
    assert "Import of mine" in texts(test)
    assert not store.has_dataset("mine")
    do(store, job)
    test.run()
    assert store.dataset_info("mine").gold == 4
    assert test.query_params["dataset"] == "mine"
    assert not list((tmp_path / "uploads").glob("*")) if way == "upload" else (tmp_path / "data" / "mine.csv").exists()


def test_an_import_that_fails_says_why_and_keeps_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "data" / "mine.csv").write_text(CLAIMS + "\nlast,,True,yes\n")
    job = jobs.request(store, importing.import_spec(tmp_path / "data" / "mine.csv", "truthfulness", "mine"))
    assert job_process.main(job_process.perform, ["--db", str(store.path), job]) == 1
    test = page("data", job=job)
    assert any("row 5" in code for code in test.code.values)
    assert store.dataset_names() == []


def test_an_import_in_the_background_fails_in_the_words_of_the_form(store: Store, tmp_path: Path) -> None:
    (tmp_path / "data" / "mine.csv").write_text("frage,satz\nWer war es,sie war es\n")
    job = jobs.request(store, importing.import_spec(tmp_path / "data" / "mine.csv", "truthfulness", "mine"))
    assert job_process.main(job_process.perform, ["--db", str(store.path), job]) == 1
    assert "--map" in jobs.status(store, job).message  # for the command line
    test = page("data", job=job)
    (said,) = [code for code in test.code.values if "under Columns" in code]
    assert "--" not in said


def test_an_import_that_was_cut_short_can_be_tried_again_or_forgotten(store: Store, tmp_path: Path) -> None:
    (tmp_path / "data" / "mine.csv").write_text(CLAIMS)
    job = jobs.request(store, importing.import_spec(tmp_path / "data" / "mine.csv", "truthfulness", "mine"))
    store.append(job, "ready", {})  # its process was there, and is gone
    test = page("data")
    assert "Import of mine" in texts(test)
    button(test, f"again_{job}").click().run()
    assert jobs.status(store, job).phase == "starting"
    store.append(job, "ready", {})
    button(page("data"), f"cancel_{job}").click().run()
    assert "Import of mine" not in texts(page("data"))


# -- the three steps

POSTS = "\n".join(["text,topic,source", *(f"post number {n} is here,{'ab'[n % 2]},web {n}" for n in range(6))])


def links(test: AppTest) -> list[str]:
    return [link.proto.label for link in test.get("page_link")]


def remarks(test: AppTest) -> str:
    """The sentences about what cannot work with the data."""
    return "\n".join(element.value for element in test.text if element.value.startswith("⚠"))


def test_a_step_appears_when_the_one_before_it_is_complete(store: Store) -> None:
    test = page("data")
    assert steps(test) == ["1. File"]
    uploaded(test, "posts.csv", POSTS)
    assert steps(test) == ["1. File", "2. Columns"]
    chosen(test, "multiselect", "Labels").set_value(["a", "b"]).run()
    assert steps(test) == ["1. File", "2. Columns", "3. Check and save"]


def test_the_first_step_says_how_the_file_was_read(store: Store) -> None:
    quoting = "quotation marks quote cells"
    test = uploaded(page("data"), "mine.csv", CLAIMS)
    assert f"CSV, cells separated by commas · UTF-8 · {quoting} · 4 rows · 4 columns" in texts(test)
    test = uploaded(page("data"), "mine.csv", CLAIMS.replace(",", ";"))
    assert "CSV, cells separated by semicolons" in texts(test)
    rows = json.dumps([{"question": "q", "claim": "c"}])
    assert "JSON · UTF-8 · 1 row · 2 columns" in texts(uploaded(page("data"), "d.json", rows, "application/json"))
    test = page("data")
    packed = gzip.compress(CLAIMS.encode("utf-16"))
    test.file_uploader(key="upload").set_value(("mine.csv.gz", packed, "application/gzip")).run()
    assert f"unpacked from gzip · UTF-16 · {quoting} · 4 rows" in texts(test)


def test_each_field_has_its_meaning_and_sample_cells_as_text(store: Store) -> None:
    rows = [f"What is {n}?,{'very ' * 40}long {HOSTILE},{n % 2 == 0},{HOSTILE} {n}" for n in range(5)]
    test = uploaded(page("data"), "mine.csv", "\n".join(["question,claim,is_correct,<b>notes</b>", *rows]))
    shown = [element.value for element in test.text]
    assert "What is 0?\nWhat is 1?\nWhat is 2?" in shown  # three samples
    (claim,) = [text for text in shown if text.startswith("very")]  # the cells are equal
    assert (len(claim), claim[-1]) == (54, "…")
    assert "True\nFalse" in shown
    assert f"<b>notes</b>: {HOSTILE} 0" in shown  # the column that is not used
    captions = [caption.value for caption in test.caption]
    assert "The true label, for comparison only: the search never sees it." in captions
    assert HOSTILE not in shown_markup(test)
    assert "<b>notes" not in shown_markup(test)
    chosen(test, "selectbox", "group").set_value("<b>notes</b>").run()
    assert "Columns that are not used" not in shown_markup(test)


def test_the_labels_of_a_column_that_is_gold_by_its_name_are_filled_in(store: Store) -> None:
    test = uploaded(page("data"), "posts.csv", POSTS.replace("topic", "Label "))
    assert chosen(test, "selectbox", "gold").value == "Label "
    assert chosen(test, "multiselect", "Labels").value == ["a", "b"]
    assert "Filled in from column 'Label '." in texts(test)
    button(test, "save").click().run()
    assert (store.dataset_info("posts").task.labels, store.dataset_info("posts").gold) == (("a", "b"), 6)


def test_a_column_of_nothing_but_labels_is_offered_as_gold(store: Store) -> None:
    test = uploaded(page("data"), "posts.csv", POSTS)
    assert "Column 'topic' has nothing but these labels: a, b. Use it as gold?" in texts(test)
    assert "Column 'source' has nothing" not in texts(test)  # each cell is another one
    chosen(test, "button", "Use it as gold").click().run()
    assert not test.exception
    assert not test.warning
    assert chosen(test, "selectbox", "gold").value == "topic"
    assert chosen(test, "multiselect", "Labels").value == ["a", "b"]
    assert "Use it as gold" not in [found.label for found in test.button]
    button(test, "save").click().run()
    assert store.dataset_info("posts").gold == 6


def test_the_labels_of_a_gold_column_chosen_by_hand_are_offered(store: Store) -> None:
    test = uploaded(page("data"), "posts.csv", POSTS)
    chosen(test, "selectbox", "gold").set_value("topic").run()
    assert "Column 'topic' has these labels: a, b." in texts(test)
    chosen(test, "button", "Use these labels").click().run()
    assert chosen(test, "multiselect", "Labels").value == ["a", "b"]
    assert "Use these labels" not in [found.label for found in test.button]


def test_no_gold_is_said_and_mended_before_saving(store: Store) -> None:
    rows = [f"What is {n // 2}?,It is {n}.,{n % 2},{n}" for n in range(4)]
    test = uploaded(page("data"), "mine.csv", "\n".join(["question,claim,checked,weight", *rows]))
    assert "There is no gold" in remarks(test)
    chosen(test, "selectbox", "Column of gold").set_value("checked").run()
    assert not test.exception
    assert chosen(test, "selectbox", "gold").value == "checked"
    assert metrics(test)["Gold labels"] == "4"
    assert "There is no gold" not in remarks(test)


def test_gold_of_one_label_and_a_single_row_are_said_before_saving(store: Store) -> None:
    rows = [f"What is {n}?,It is {n}.,1" for n in range(3)]
    test = uploaded(page("data"), "mine.csv", "\n".join(["question,claim,label", *rows]))
    assert "All gold in column 'label' is 'True'" in remarks(test)
    assert "one row" not in remarks(test)
    test = uploaded(page("data"), "mine.csv", "question,claim,label\nq,c,1")
    assert "The file has one row" in remarks(test)
    assert "[Choose another file](#file)" in shown_markup(test)
    assert not button(test, "save").disabled


def test_groups_without_a_rule_are_said_and_mended_before_saving(store: Store) -> None:
    rows = [f"What is {n // 2}?,It is {n}.,{n % 2}" for n in range(4)]
    test = uploaded(page("data"), "mine.csv", "\n".join(["question,claim,label", *rows]))
    assert "There are 4 examples in 2 groups, but no rule" in remarks(test)
    chosen(test, "selectbox", "Rule within groups").set_value("exclusive").run()
    assert not test.exception
    assert chosen(test, "selectbox", "Rule").value == "exclusive"
    assert metrics(test)["Constraints"] == "2"
    assert not remarks(test)
    button(test, "save").click().run()
    assert store.dataset_info("mine").task.rule == "exclusive"


def test_a_rule_without_pairs_is_said_and_mended_before_saving(store: Store) -> None:
    rows = [f"What is {n}?,It is {n}.,{n % 2},s{n // 2}" for n in range(4)]
    test = uploaded(page("data"), "mine.csv", "\n".join(["question,claim,label,series", *rows]))
    assert not remarks(test)  # no rule, and no group of several
    chosen(test, "selectbox", "Rule").set_value("exclusive").run()
    assert "The rule exclusive constrains no pair: each example is a group of its own" in remarks(test)
    chosen(test, "selectbox", "Column of groups").set_value("series").run()
    assert not test.exception
    assert (metrics(test)["Groups"], metrics(test)["Constraints"]) == ("2", "2")
    assert not remarks(test)
    chosen(test, "selectbox", "group").set_value("not used").run()
    chosen(test, "button", "Do without a rule").click().run()
    assert chosen(test, "selectbox", "Rule").value == "none"
    assert not remarks(test)


def test_the_name_outlives_a_form_that_is_not_ready(store: Store) -> None:
    test = uploaded(page("data"), "mine.csv", CLAIMS)
    chosen(test, "text_input", "Name of the data set").set_value("other").run()
    chosen(test, "selectbox", "claim").set_value("not used").run()
    assert steps(test) == ["1. File", "2. Columns"]
    chosen(test, "selectbox", "claim").set_value("claim").run()
    assert chosen(test, "text_input", "Name of the data set").value == "other"


def test_a_saved_data_set_is_linked_to_a_run_and_to_itself(store: Store) -> None:
    test = uploaded(page("data"), "mine.csv", CLAIMS)
    button(test, "save").click().run()
    assert {"Start a run on it", "See the data set"} <= set(links(test))
    (start,) = [link.proto for link in test.get("page_link") if link.proto.label == "Start a run on it"]
    assert (start.page, start.query_string) == ("search", "dataset=mine")
    assert "Start a run on it" not in links(test.run())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("two.csv", "text,label,gold\none,a,a\ntwo,b,b\n"),  # which is gold?
        ("none.csv", "frage,satz\nWer war es,sie war es\n"),
        ("pairs.csv", "prompt,response_a,response_b,label\nq,one,two,1\nr,three,four,tie\n"),
        ("base.csv", "prompt,response_a,response_b,winner\nq,one,two,1\nr,three,four,1\n"),
        ("marks.csv", 'question,claim\n"q1,c1\nq2,c2\nq3",c3\n'),
        ("split.json", json.dumps({"train": [{"text": "a"}], "test": [{"text": "b"}]})),
        ("answers.csv", "question,claim,answer,notes\nq,So A: 5,7,x\nq,So A: 6,7,y\n"),
        ("empty.csv", "text,topic\ncaf\xe9,a\n"),
    ],
)
def test_no_option_of_the_command_line_is_named(store: Store, name: str, content: str) -> None:
    test = page("data")
    test.file_uploader(key="upload").set_value((name, content.encode("latin-1"), "text/csv")).run()
    assert not test.exception
    shown = "\n".join([texts(test), *codes(test), shown_markup(test)])
    assert "--" not in shown
    assert steps(test)


# -- the data sets there are


def test_data_sets_are_listed_with_their_counts(store: Store) -> None:
    add_run(store, "paused")
    test = page("data")
    assert metrics(test) == {"Examples": "18", "Groups": "6", "Gold": "18", "Human": "0", "Runs": "1"}
    assert "maths-verification · rule same-answer · from sums" in texts(test)
    button(test, "load_sun").click().run()
    assert not test.exception
    assert test.query_params["dataset"] == "sun"
    assert metrics(test)["Examples"] == "264"


def test_a_spreadsheet_is_refused_with_what_to_do() -> None:
    test = uploaded(
        page("data"), "d.xlsx", "PK\x03\x04", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    )
    assert "save the sheet as CSV (UTF-8) in the spreadsheet, and import that" in codes(test)[0]
    assert "Encoding" not in {box.label for box in test.selectbox}


def test_names_of_data_sets_are_never_markup(store: Store) -> None:
    name = "**bold** $x$ <i>"
    small_dataset(store, name)
    assert name not in shown_markup(page("data"))
    test = page("data", dataset=name)
    assert name not in shown_markup(test)
    assert metrics(test)["Examples"] == "18"


def test_examples_are_shown_page_by_page_as_text(store: Store) -> None:
    small_dataset(store, groups=20)
    test = page("data", dataset="sums")
    frame = test.dataframe[0].value
    assert list(frame["place"]) == list(range(1, PAGE + 1))
    assert list(frame.columns) == ["place", "question", "claim", "answer", "gold", "group", "id"]
    assert frame["question"].str.contains(HOSTILE, regex=False).all()
    assert codes(test)[0].startswith("Question:·What·is·0·+·2?·<b")
    assert HOSTILE not in shown_markup(test)
    test = page("data", dataset="sums", page="6", example="sums-19-1")
    assert list(test.dataframe[0].value["place"]) == list(range(51, 61))
    assert codes(test)[0].startswith("Question:·What·is·19·+·2?")
    assert "example sums-19-1 · group g19 · answer 21" in texts(test)


def test_another_data_set_begins_at_its_first_page(store: Store) -> None:
    small_dataset(store, groups=20)
    small_dataset(store, "more", groups=20)
    test = page("data", dataset="sums", page="6")
    test.selectbox(key="open_sums").set_value("more").run()
    assert not test.exception
    assert test.query_params["dataset"] == "more"
    assert "page" not in test.query_params
    assert list(test.dataframe[0].value["place"]) == list(range(1, PAGE + 1))


@pytest.mark.parametrize("asked", ["0", "-3", "x", "999999999999"])
def test_a_page_that_does_not_exist_is_the_nearest(store: Store, asked: str) -> None:
    small_dataset(store, groups=20)
    places = list(page("data", dataset="sums", page=asked).dataframe[0].value["place"])
    assert places[0] == (51 if asked == "999999999999" else 1)


def test_only_the_shown_examples_are_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    small_dataset(store, groups=50)
    read: list[int] = []
    real = Store.examples_at
    monkeypatch.setattr(Store, "examples_at", lambda s, n, p: read.extend(p) or real(s, n, p))
    monkeypatch.setattr(Store, "dataset", lambda *_: pytest.fail("the whole data set was read"))
    monkeypatch.setattr(Store, "examples", lambda *_: pytest.fail("the whole data set was read"))
    page("data", dataset="sums", page="3")
    assert read == list(range(20, 30))


def test_the_rule_check(store: Store) -> None:
    small_dataset(store)
    test = page("data", dataset="sums", view="Rule check")
    shown = metrics(test)
    assert (shown["Groups with pairs"], shown["Constrained pairs"], shown["Gold violations"]) == ("6", "18", "0")
    assert "The rule same-answer ties 18 pairs together, in 6 groups." in texts(test)
    assert "Gold never violates the rule, in 18 pairs that have gold." in texts(test)


def test_human_labels_are_compared_with_each_other(store: Store) -> None:
    """Two sources of three labels each: they agree on the first two examples, and tie on the third."""
    small_dataset(store)
    for source, last in (("anna", "True"), ("ben", "False")):
        add_human(store, "sums", source, {"sums-0-0": "True", "sums-0-1": "False", "sums-0-2": last})
    shown = texts(page("data", dataset="sums", view="Rule check"))
    assert "3 by anna, 3 by ben. The majority is clear for 2 examples, and tied for 1 example." in shown
    assert "Two labels of one example agree in 67% of 3 pairs" in shown


def test_a_rule_file_is_not_run_by_the_page(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(
        "from icm_engine.core.consistency import Exclusive\n"
        "class Own(Exclusive):\n    name = 'own'\n"
        f"open({str(tmp_path / 'ran')!r}, 'a').write('x')\n"
    )
    rule = rule_reference(path)
    (tmp_path / "ran").unlink()
    import_file(store, "mine.csv", "truthfulness", "mine", rule=rule, content=CLAIMS.encode())
    custom_rules._rule_of.cache_clear()
    (tmp_path / "ran").unlink(missing_ok=True)
    assert "rule own.py" in texts(page("data"))
    for view in ("Examples", "Rule check", "Context check", "Template trial"):
        page("data", dataset="mine", view=view)
    assert "which pages do not run" in texts(page("data", dataset="mine", view="Rule check"))
    assert not (tmp_path / "ran").exists()


def test_the_rule_of_a_large_data_set_is_checked_by_a_job(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from pages.parts import datasets

    monkeypatch.setattr(datasets, "QUICK", 10)
    small_dataset(store)
    test = page("data", dataset="sums", view="Rule check")
    button(test, "rule").click().run()
    (job,) = jobs.names(store, "rule-check")
    do(store, job)
    test.run()
    assert metrics(test)["Constrained pairs"] == "18"


def test_a_data_set_that_no_run_uses_is_deleted_after_a_question(store: Store) -> None:
    small_dataset(store)
    test = page("data", dataset="sums")
    button(test, "delete").click().run()
    assert "18 examples, 18 gold and 0 human labels are deleted with it" in texts(test)
    assert store.has_dataset("sums")
    button(test, "delete_really").click().run()
    assert not test.exception
    assert not store.has_dataset("sums")
    assert "dataset" not in test.query_params


def test_a_data_set_that_runs_use_stays(store: Store) -> None:
    run = add_run(store, "paused")
    test = page("data", dataset="sums")
    button(test, "delete").click().run()
    assert "It cannot be deleted while runs use it" in test.warning[0].value
    assert run in texts(test)
    assert button(test, "delete_really").disabled


def test_a_data_set_that_does_not_exist_shows_the_list(store: Store) -> None:
    assert [header.value for header in page("data", dataset="nothing").header] == ["Add a data set", "Data sets"]


# -- the context check


def test_the_context_check_is_asked_for_and_shown(store: Store) -> None:
    small_dataset(store)
    test = page("data", dataset="sums", view="Context check")
    test.selectbox(key="context_model").set_value("fake").run()
    test.number_input(key="context_limit").set_value(12).run()
    button(test, "context_start").click().run()
    assert not test.exception
    (job,) = jobs.names(store, "context-check")
    assert jobs.spec(store, job) == JobSpec("context-check", {"dataset": "sums", "limit": 12}, ModelChoice("fake"))
    assert test.query_params["check"] == job
    assert [button.label for button in test.button if button.key == f"cancel_{job}"] == ["Cancel"]
    do(store, job)
    test.run()
    assert not test.exception
    shown = metrics(test)
    assert (shown["Batch"], shown["Fit the context"], shown["Demonstration"]) == ("12", "all", "22")
    assert "All 12 examples fit one prompt" in texts(test)
    test.toggle(key="histogram_as_table").set_value(True).run()
    assert list(test.dataframe[0].value["examples"]) == [12]
    assert "sums-0-0" in set(test.dataframe[1].value["example"])


def test_a_context_check_that_fails_says_why(store: Store) -> None:
    small_dataset(store)
    job = jobs.request(store, JobSpec("context-check", {"dataset": "sums", "limit": None}, ModelChoice("/no/model")))
    assert job_process.main(job_worker.perform, ["--db", str(store.path), job]) == 1
    test = page("data", dataset="sums", view="Context check")
    assert any("model directory '/no/model' does not exist" in code for code in test.code.values)
    button(test, f"again_{job}").click().run()
    assert jobs.status(store, job).phase == "starting"


def test_the_search_page_links_here_and_takes_a_data_set_from_the_address(store: Store) -> None:
    small_dataset(store)
    test = page("search", dataset="sums")
    assert test.selectbox(key="dataset").value == "sums"


def test_quotation_marks_are_read_as_text_where_a_person_says_so(store: Store) -> None:
    text = "question,claim,is_correct\n" + '"q1,c1,1\nq2,c2,0\nq3",c3,1\nq4,c4,0\n'
    test = uploaded(page("data"), "d.csv", text)
    assert any("opens in line 2 closes in line 4" in shown for shown in test.code.values)
    chosen(test, "selectbox", "Quotation marks").set_value("none").run()
    assert not test.exception
    assert metrics(test)["Examples"] == "4"
    button(test, "save").click().run()
    assert [example.fields["question"] for example in store.dataset("d").examples] == ['"q1', "q2", 'q3"', "q4"]


def test_one_of_several_lists_is_named_on_the_page(store: Store) -> None:
    content = json.dumps(
        {"train": [{"question": "Who?", "claim": "She."}], "test": [{"question": "Is it so?", "claim": "It is."}] * 2}
    )
    test = uploaded(page("data"), "d.json", content, "application/json")
    chosen(test, "text_input", "Split").set_value("test").run()
    assert not test.exception
    assert metrics(test)["Examples"] == "2"


def test_a_packed_file_has_its_own_name_on_the_page(store: Store) -> None:
    packed = gzip.compress(CLAIMS.encode())
    test = page("data")
    test.file_uploader(key="upload").set_value(("claims.csv.gz", packed, "application/gzip")).run()
    assert not test.exception
    assert chosen(test, "text_input", "Name of the data set").value == "claims"
