"""Event logs are what they were: every event and every body of 18 kinds of run, byte for byte.

A difference means that the same run would now go another way, or be stored in another form. Where that is meant, write
the files anew (`python -m tests.golden --write events`) and say why in the commit. `golden/event_logs.py` says how the
runs are made, what is left out, and why.
"""

import json

import pytest

from tests.golden import event_logs

KINDS = {"audit", "control", "model", "initial", "step", "hand", "retuned", "forked", "finished", "labelled", "start",
         "fold", "round", "ready", "result"}  # fmt: skip


@pytest.mark.parametrize("name", event_logs.LOGS)
def test_a_log_is_what_it_was(name: str) -> None:
    golden = (event_logs.FOLDER / f"{name}.jsonl").read_text(encoding="utf-8")
    assert event_logs.difference(golden, event_logs.log(name)) is None


def test_every_log_is_compared() -> None:
    assert {path.stem for path in event_logs.FOLDER.iterdir()} == set(event_logs.LOGS)


def test_the_logs_together_have_every_kind_of_event_verdict_and_cause() -> None:
    """So that they hold still what they are for."""
    records = [json.loads(line) for path in event_logs.FOLDER.iterdir() for line in path.read_text().splitlines()]
    events = [record for record in records if "kind" in record]
    bodies = [event["body"] for event in events]
    assert {event["kind"] for event in events} == KINDS
    assert {body["verdict"] for body in bodies if "verdict" in body} == {"accepted", "rejected", "unchanged"}
    assert {flip["cause"] for body in bodies for flip in body.get("flips", ())} >= {"initial", "proposal", "repair"}
    rules = {record["spec"].get("rule") for record in records if "spec" in record}
    assert {"exclusive", "exactly-one"} < rules
    assert {record["spec"]["version"] for record in records if "version" in record.get("spec", {})} == {1, 2}


CHANGES = {
    "a number": ('"delta":', '"delta":1'),
    "a name": ('"verdict":"unchanged"', '"verdict":"the same"'),
    "the order of the keys": ('{"number":3,"kind":"initial",', '{"kind":"initial","number":3,'),
    "a record that is missing": ("\n", ""),
    "a last record that is missing": ('{"number":20,"kind":"finished","body":{"steps":16}}\n', ""),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_comparison_sees_a_change(change: str) -> None:
    golden = (event_logs.FOLDER / "rule-exactly-one.jsonl").read_text(encoding="utf-8")
    old, new = CHANGES[change]
    assert old in golden
    found = event_logs.difference(golden, golden.replace(old, new, 1))
    assert found is not None
    assert event_logs.difference(golden, golden) is None
