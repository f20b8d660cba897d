"""Which chain is proposed and how far the others agree, by hand; and the words for it."""

from dataclasses import replace
from typing import Any

import pytest

from icm_engine.analysis.restarts import ChainOutcome, Proposal, outcomes_frame, warnings, why
from icm_engine.core.objective import PREDICTABILITY
from icm_engine.jobs.restarts import Chain, Support, is_mirror, propose, same_share, supports, wide, worth

LABELS = ("True", "False")


def chain(run: str, utility: float | None, labelled: int, **other: Any) -> Chain:
    labels = {f"e{i}": "True" for i in range(labelled)}
    given = {"phase": "finished", "message": "all steps are done", "steered": False, **other}
    return Chain(run=run, seed=int(run[1:]), utility=utility, labels=labels, **given)


def chosen(chains: list[Chain], per_example: bool = False) -> str | None:
    best = propose(chains, per_example)
    return best.run if best else None


def test_only_one_form_of_p_is_a_sum() -> None:
    assert [name for name, form in PREDICTABILITY.items() if form.per_example] == ["sum_log_prob"]


def test_the_highest_utility_is_proposed_and_of_equals_the_first() -> None:
    assert chosen([chain("c0", 39.0, 64), chain("c1", 190.0, 64), chain("c2", 189.0, 64)]) == "c1"
    assert chosen([chain("c0", -3.0, 64), chain("c1", -3.0, 64)]) == "c0"


def test_where_p_is_a_sum_utility_per_example_is_compared() -> None:
    """-62 is more than -64, but -62 / 60 is less than -64 / 64."""
    chains = [chain("c0", -62.0, 60), chain("c1", -64.0, 64)]
    assert chosen(chains, per_example=False) == "c0"
    assert chosen(chains, per_example=True) == "c1"
    assert worth(chains[1], per_example=True) == -1.0


@pytest.mark.parametrize("per_example", [False, True])
def test_the_smallest_and_most_constant_labeling_is_not_the_best(per_example: bool) -> None:
    """Its U is the highest in both ways of counting; three quarters of 64 are 48."""
    chains = [chain("c0", -64.0, 64), chain("c1", -0.1, 47), chain("c2", -63.9, 48)]
    assert [one.run for one in wide(chains)] == ["c0", "c2"]
    assert chosen(chains, per_example) == ("c0" if per_example else "c2")


def test_chains_that_did_not_finish_or_were_steered_do_not_count() -> None:
    chains = [
        chain("c0", 10.0, 30),
        chain("c1", 99.0, 64, phase="failed"),
        chain("c2", 99.0, 64, phase="stopped"),
        chain("c3", 99.0, 64, steered=True),
        chain("c4", None, 0),
    ]
    assert chosen(chains) == "c0"  # nor do the others make it look narrow
    assert chosen(chains[1:]) is None
    assert chosen([]) is None


def test_agreement_by_hand() -> None:
    """A chain with a third of the labels wrong, a mirror, and one that failed and is not looked at."""
    truth = {"a": "True", "b": "False", "c": "True"}
    best = replace(chain("c0", 9.0, 0), labels=truth)
    near = replace(chain("c1", 8.0, 0), labels={"a": "True", "b": "True", "c": "True", "d": "True"})
    mirror = replace(chain("c2", 7.0, 0), labels={"a": "False", "b": "True"})
    failed = replace(chain("c3", 99.0, 0, phase="failed"), labels={"a": "False", "b": "True", "c": "False"})
    assert same_share(near.labels, truth) == pytest.approx(2 / 3)
    assert same_share({}, truth) is None
    assert [is_mirror(one.labels, truth, LABELS) for one in (best, near, mirror)] == [False, False, True]
    assert not is_mirror(mirror.labels, truth, (*LABELS, "Other"))  # of three labels there is no mirror
    found = supports([best, near, mirror, failed], best, LABELS)
    assert found == (
        Support("a", "True", chains=3, same=2, turned=3),
        Support("b", "False", chains=3, same=1, turned=2),
        Support("c", "True", chains=2, same=2, turned=2),
    )
    assert found[1].share == pytest.approx(1 / 3)
    assert found[1].turned_share == pytest.approx(2 / 3)


def outcome(run: str, compared: float | None, **other: Any) -> ChainOutcome:
    given = {"phase": "finished", "message": "done", "utility": compared, "labelled": 64, "counts": True, "same": 1.0}
    return ChainOutcome(run=run, seed=int(run[1:]), compared=compared, **{**given, **other})


def test_why_in_one_sentence_with_numbers() -> None:
    best, other = outcome("c3", 190.25, proposed=True), outcome("c4", 39.0)
    failed = outcome("c5", None, counts=False, phase="failed")
    assert why(Proposal("c3", False, (best, other, failed), {})) == (
        "c3 (seed 3) is proposed: its U is 190.25, the highest of 2 chains; c4 is next, 39.00."
    )
    assert "c4 has the same, and the first is taken" in why(
        Proposal("c3", True, (best, replace(other, compared=190.25)), {})
    )
    assert why(Proposal("c3", False, (best, failed), {})) == (
        "c3 (seed 3) is proposed: no other chain can be compared with it."
    )


def test_what_must_be_known_is_said() -> None:
    best = outcome("c0", 9.0, proposed=True)
    assert warnings(Proposal("c0", False, (best, outcome("c1", 8.0)), {})) == ()
    told = warnings(
        Proposal(
            "c0",
            True,
            (
                best,
                outcome("c1", 8.0, labelled=60, same=0.05, mirror=True),
                outcome("c2", None, counts=False, phase="failed", message="no memory"),
                outcome("c3", None, counts=False, steered=True),
                outcome("c4", None, labelled=20),
            ),
            {},
        )
    )
    assert len(told) == 5
    assert told[0] == "c2 (seed 2) is not counted: failed, no memory."
    assert told[1] == "c3 (seed 3) is not counted: a person changed it on the way."
    assert told[2].startswith("c4 labelled 20 examples, less than 75% of the 64 of another chain")
    assert told[3].startswith("The chains compared labelled 60 to 64 examples. P is a sum here")
    assert told[4].startswith("c1 agrees with the mirror of the proposal (5% equal labels)")


@pytest.mark.parametrize(("false", "said"), [(0, True), (2, True), (3, False), (20, False)])
def test_a_proposal_of_one_label_is_said_first(false: int, said: bool) -> None:
    """Of 40 labels, 38 are 95 %."""
    found = [Support(f"e{k}", "False" if k < false else "True", 2, 2, 2) for k in range(40)]
    proposed = Proposal("c0", False, (outcome("c0", 9.0, proposed=True),), {one.example: one for one in found})
    assert [told.startswith(f"Of the proposal, {40 - false} of 40 labels are True") for told in warnings(proposed)] == (
        [True] if said else []
    )


def test_a_lead_that_the_order_of_demonstrations_would_explain_is_said() -> None:
    """A tenth of 100 is 10."""
    best = outcome("c0", 100.0, proposed=True)
    near, far, equal = (outcome("c1", 90.5, same=0.9), outcome("c1", 89.5, same=0.9), outcome("c1", 90.5, same=1.0))
    (told,) = warnings(Proposal("c0", False, (best, near), {}))
    assert told.startswith("The lead over c1 is 9.50, and it gives other labels to some examples.")
    assert warnings(Proposal("c0", False, (best, far), {})) == ()
    assert warnings(Proposal("c0", False, (best, equal), {})) == ()  # whichever: the labels are the same


def test_every_chain_has_a_role() -> None:
    outcomes = [
        outcome("c0", 9.0, proposed=True), outcome("c1", 8.0), outcome("c2", 7.0, mirror=True), outcome("c3", None),
        outcome("c4", None, counts=False, phase="stopped"), outcome("c5", None, counts=False, steered=True),
    ]  # fmt: skip
    shown = outcomes_frame(Proposal("c0", False, tuple(outcomes), {}))
    assert "U per example" not in shown  # it was U itself
    assert list(outcomes_frame(Proposal("c0", True, tuple(outcomes), {}))["U per example"][:3]) == [9.0, 8.0, 7.0]
    assert list(shown["in the choice"]) == [
        "proposed", "compared", "the proposal's mirror", "not compared: labelled too few", "not counted: stopped",
        "not counted: changed by a person",
    ]  # fmt: skip
