"""Every style of judge on the fake generator, with the verdicts that its answers come to by hand."""

from collections.abc import Callable, Sequence

import pytest

from icm_engine.baselines.generation import Generated, GenerationRequest, TableGenerator, stand_in_reply
from icm_engine.baselines.llm_judge import (
    STYLES,
    Answer,
    Judge,
    Verdict,
    Working,
    judge,
    read_criteria,
    read_verdict,
    vote,
)
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Task

TASK = Task("sums", "Question: {q}\nClaim: {c}\nI think this claim is")
EXAMPLES = [Example(str(k), {"q": f"What is {k} + 1?", "c": f"It is {k + 2}."}, str(k)) for k in range(4)]
LABELS = ("True", "False")


def said(*answers: str) -> Callable[[GenerationRequest, int | None], str]:
    """Answer the example whose number stands in the question, whatever else is asked of it."""

    def reply(request: GenerationRequest, seed: int | None) -> str:
        return next(answer for k, answer in enumerate(answers) if f"What is {k} + 1?" in request.text)

    return reply


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Verdict: True", "True"),
        ("One and one are two.\n\nVerdict: False\n", "False"),
        ("**Verdict:** `true`.", "True"),
        ("False", "False"),
        (" True.", "True"),
        ("Verdict: False\nNo, wait.\nVerdict: True", "True"),
        ("", None),
        ("Verdict:", None),
        ("Verdict: Maybe", None),
        ("Verdict: True or Verdict: False", None),
        ("The claim is True", None),
        ("Verdict: True\nbecause one and one are two", None),
        ("Verdict: Untrue", None),
    ],
)
def test_a_verdict_is_read_from_the_last_line_or_not_at_all(text: str, label: str | None) -> None:
    assert read_verdict(text, LABELS) == label


def test_labels_of_several_words_are_told_apart() -> None:
    labels = ("very good", "good", "U.S.", "C++")
    assert [read_verdict(f"Verdict: {label}", labels) for label in labels] == list(labels)


def test_labels_that_differ_in_capitals_alone_cannot_be_read() -> None:
    assert read_verdict("Verdict: a", ("A", "a")) is None


def test_a_direct_judge_takes_the_label_and_says_why_it_has_none() -> None:
    long = "well " * STYLES["direct"].max_tokens + "\nVerdict: True"
    generator = TableGenerator(said("Verdict: True", "False", "I cannot say.", long))
    found = judge(TASK, EXAMPLES, generator, "direct")
    assert [verdict.example for verdict in found] == ["0", "1", "2", "3"]
    assert [verdict.label for verdict in found] == ["True", "False", None, None]
    assert [verdict.why for verdict in found] == [
        "",
        "",
        "no verdict",
        "no verdict, 1 cut off at the limit of tokens",
    ]
    assert [verdict.tokens for verdict in found] == [2, 1, 3, 32]
    assert generator.usage.tokens_generated == 38
    assert generator.usage.requests == 4


def test_what_was_asked_and_answered_is_kept() -> None:
    (found,) = judge(TASK, EXAMPLES[:1], TableGenerator(said("1 + 0 is 1.\nVerdict: False")), "steps")
    ((answer,),) = found.samples
    assert answer == Answer(answer.asked, "1 + 0 is 1.\nVerdict: False", "False", 7, True)
    assert "Question: What is 0 + 1?\nClaim: It is 2.\nI think this claim is" in answer.asked
    assert "step by step" in answer.asked
    assert answer.asked.endswith("Verdict: True\nVerdict: False")


def test_styles_ask_differently_and_direct_does_not_ask_for_reasons() -> None:
    asked = {}
    for style in STYLES:
        generator = TableGenerator(stand_in_reply)
        asked[style] = judge(TASK, EXAMPLES[:1], generator, style)[0].samples[0][0].asked
    assert len(set(asked.values())) == len(STYLES)
    assert "step by step" not in asked["direct"]


def test_branch_solve_merge_asks_for_criteria_once_and_takes_the_majority() -> None:
    """By criterion, 0: True, True, False. 1: True, nothing, False, a tie. 2: nothing. 3: nothing, nothing, False."""
    verdicts = {"exact": "TTnn", "short": "Tnnn", "polite": "FFnF"}
    words = {"T": "Verdict: True", "F": "Verdict: False", "n": "Who knows."}
    seen: list[str] = []

    def reply(request: GenerationRequest, seed: int | None) -> str:
        seen.append(request.text)
        if "[q]" in request.text:
            return "Here they are:\n- exact\n2) short\n* polite\n- a fourth one"
        k = next(k for k in range(4) if f"What is {k} + 1?" in request.text)
        (criterion,) = [name for name in verdicts if f"and no other: {name}\n" in request.text]
        return words[verdicts[criterion][k]]

    found = judge(TASK, EXAMPLES, TableGenerator(reply), "criteria")
    assert [verdict.label for verdict in found] == ["True", None, None, "False"]
    assert [verdict.why for verdict in found] == [
        "",
        "a tie: 1 True, 1 False, 1 without a verdict",
        "none of 3 has a verdict",
        "",
    ]
    assert [verdict.abstentions for verdict in found] == [0, 1, 3, 2]
    assert [verdict.tokens for verdict in found] == [6, 6, 6, 6]
    assert len(seen) == 1 + 4 * 3
    assert sum("[q]" in text for text in seen) == 1


def test_a_judge_without_criteria_abstains_and_says_what_was_written_instead() -> None:
    generator = TableGenerator(lambda request, seed: "I would rather not.")
    found = judge(TASK, EXAMPLES, generator, "criteria")
    assert {verdict.label for verdict in found} == {None}
    assert found[0].why == "the model named no criteria when asked for them, but wrote 'I would rather not.'"
    assert generator.usage.requests == 1


def test_criteria_are_items_of_a_list_each_once_and_whole() -> None:
    listed = "- a\n- b\n- a\n-c\n\n3. d\n- e"
    assert read_criteria(Generated(listed, 9, True)) == ("a", "b", "d")
    assert read_criteria(Generated("- a\n- b that is cut o", 9, False)) == ("a",)
    assert read_criteria(Generated("", 0, False)) == ()


def test_the_majority_of_samples_counts_and_samples_are_drawn_with_seeds_of_their_own() -> None:
    seeds: list[int | None] = []
    order = iter("TFT nTn TFn nnn".replace(" ", ""))  # three samples of example 0, then of 1, 2 and 3
    answers = {(k, n): next(order) for k in range(4) for n in range(3)}
    words = {"T": "Verdict: True", "F": "Verdict: False", "n": "?"}

    def reply(request: GenerationRequest, seed: int | None) -> str:
        if seed not in seeds:
            seeds.append(seed)
        k = next(k for k in range(4) if f"What is {k} + 1?" in request.text)
        return words[answers[k, seeds.index(seed)]]

    found = judge(TASK, EXAMPLES, TableGenerator(reply), "direct", samples=3, seed=7)
    assert [verdict.label for verdict in found] == ["True", "True", None, None]
    assert [verdict.why for verdict in found] == [
        "",
        "",
        "a tie: 1 True, 1 False, 1 without a verdict",
        "none of 3 has a verdict",
    ]
    assert found[0].votes == ("True", "False", "True")
    assert len(seeds) == 3
    assert None not in seeds


def test_one_sample_is_greedy() -> None:
    seeds: list[int | None] = []
    judge(TASK, EXAMPLES, TableGenerator(lambda _, seed: seeds.append(seed) or "True"), "direct", samples=1, seed=3)
    assert seeds == [None] * 4


def test_samples_of_criteria_are_merged_first_and_counted_then() -> None:
    """Sample 1: True, True, False, hence True. Samples 2 and 3: nothing, True, False, a tie each. True wins."""
    order = iter(["True", "True", "False", "?", "True", "False", "?", "True", "False"])
    listed = "- a\n- b\n- c"
    (found,) = judge(
        TASK,
        EXAMPLES[:1],
        TableGenerator(lambda request, _: listed if "[q]" in request.text else next(order)),
        "criteria",
        samples=3,
    )
    assert found.votes == ("True", None, None)
    assert found.label == "True"
    assert found.abstentions == 2


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("samples", [1, 3])
def test_verdicts_are_the_same_a_few_at_a_time(style: str, samples: int) -> None:
    together = judge(TASK, EXAMPLES, TableGenerator(stand_in_reply), style, samples, seed=5)
    apart = Judge(TASK, TableGenerator(stand_in_reply), style, samples, seed=5)
    assert [verdict for example in EXAMPLES for verdict in apart.verdicts([example])] == together


def test_other_seeds_give_other_samples() -> None:
    votes = {
        tuple(v.votes for v in judge(TASK, EXAMPLES, TableGenerator(stand_in_reply), "steps", 5, seed))
        for seed in range(4)
    }
    assert len(votes) == 4


def test_a_vote_needs_one_label_ahead_of_all_others() -> None:
    assert vote(["a", "b", "c", "b"]) == ("b", "")
    assert vote(["a", "b", "c"]) == (None, "a tie: 1 a, 1 b, 1 c")
    assert vote([None, None]) == (None, "none of 2 has a verdict")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"style": "oracle"}, "judge style is 'oracle': use one of direct, steps, criteria, verified, rewritten"),
        ({"samples": 0}, "samples is 0"),
        ({"max_tokens": 0}, "max_tokens is 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Judge(TASK, TableGenerator(stand_in_reply), **settings)  # type: ignore[arg-type]


def test_answers_may_be_longer_than_the_style_says() -> None:
    long = "well " * 40 + "\nVerdict: True"
    (found,) = Judge(TASK, TableGenerator(said(long)), "direct", max_tokens=100).verdicts(EXAMPLES[:1])
    assert found.label == "True"


def test_no_question_shows_another_example() -> None:
    found = judge(TASK, EXAMPLES, TableGenerator(stand_in_reply), "criteria")
    for k, verdict in enumerate(found):
        for answer in verdict.samples[0]:
            assert [j for j in range(4) if f"What is {j} + 1?" in answer.asked] == [k]


# -- styles of several rounds: whole conversations

SHOWN = """This text breaks off where a label belongs:

{text} ...

The label is one of: True, False."""
CHOICE = "which is one of these:\nVerdict: True\nVerdict: False"
TEXT = "Question: What is 0 + 1?\nClaim: It is 2."


def conversation(*pairs: tuple[str, str]) -> Callable[[GenerationRequest, int | None], str]:
    """Answer each of these texts, and no other."""
    return lambda request, seed: dict(pairs)[request.text]


def spoken(verdict: Verdict) -> list[tuple[str, str, str]]:
    """What was asked and answered, and which step each answer was; the verdict that counts is none."""
    (sample,) = verdict.samples
    return [(a.step if isinstance(a, Working) else "", a.asked, a.answered) for a in sample]


def test_a_verified_verdict_takes_a_draft_questions_answers_without_it_and_a_verdict() -> None:
    shown = SHOWN.format(text=f"{TEXT}\nI think this claim is")
    draft = "It looks right.\nVerdict: True"
    drafted = f"{shown}\n\nThis is a first verdict on it, which may be wrong:\n\n{draft}"
    told = [
        (
            "draft",
            f"{shown}\n\nWhich one is right? Give your reason in one or two sentences. Then finish with one line, "
            f"{CHOICE}",
            draft,
        ),
        (
            "questions",
            f"{drafted}\n\nName 3 short questions whose answers would show whether this verdict is right. They will be "
            "answered by somebody who sees the text, and not the verdict. Write each of them on a line of its own that "
            'begins with "- ", and write nothing else.',
            "1. What is one more than 0?\n2. Which number is claimed?\n2. Which number is claimed?",
        ),
        (
            "answer",
            f'{TEXT}\n\nWhat is one more than 0?\n\nAnswer this question with one line, which begins with "Answer:".',
            "Let me see.\nAnswer: 1",
        ),
        (
            "answer",
            f'{TEXT}\n\nWhich number is claimed?\n\nAnswer this question with one line, which begins with "Answer:".',
            "The number 2.",
        ),
        (
            "",
            f"{drafted}\n\nQuestions that check it were answered without sight of it:\n\n"
            "Question: What is one more than 0?\nAnswer: 1\n\nQuestion: Which number is claimed?\nAnswer: The number 2."
            f"\n\nIn the light of these answers, which one is right? Answer with one line, {CHOICE}",
            "Verdict: False",
        ),
    ]
    generator = TableGenerator(conversation(*((asked, answered) for _, asked, answered in told)))
    (found,) = judge(TASK, EXAMPLES[:1], generator, "verified")
    assert spoken(found) == told
    assert (found.label, found.why, found.votes) == ("False", "", ("False",))
    assert [answer.label for answer in found.samples[0]] == ["True", None, None, None, "False"]
    assert found.abstentions == 0  # only the last answer was due a verdict
    assert found.tokens == sum(len(answered.split()) for _, _, answered in told) == generator.usage.tokens_generated
    assert generator.usage.requests == 5


def test_a_rewritten_verdict_sees_the_rewriting_alone() -> None:
    rewritten = "Question: 0 + 1?\nClaim: 2."
    told = [
        (
            "rewriting",
            f"Somebody will label this text with one of: True, False.\n\n{TEXT}\n\nRewrite the text for them. Leave "
            "out whatever is irrelevant, misleading, or an opinion about which label is right. Keep everything that is "
            "needed to find the right label. Write the rewritten text and nothing else.",
            f"\n{rewritten}\n",
        ),
        (
            "",
            f"{SHOWN.format(text=rewritten + chr(10) + 'I think this claim is')}\n\nWhich one is right? Answer with "
            f"one line, {CHOICE}",
            "Verdict: False",
        ),
    ]
    generator = TableGenerator(conversation(*((asked, answered) for _, asked, answered in told)))
    (found,) = judge(TASK, EXAMPLES[:1], generator, "rewritten")
    assert spoken(found) == told
    assert (found.label, found.why, found.tokens) == ("False", "", 8)


def breaking(words: str, answer: str) -> Callable[[GenerationRequest, int | None], str]:
    """Answer as the stand-in does, but the first request with these words otherwise."""
    return lambda request, seed: answer if words in request.text else stand_in_reply(request, seed)


@pytest.mark.parametrize(
    ("style", "words", "answer", "requests", "why"),
    [
        ("verified", "your reason", "Who knows.", 1, "no verdict in the draft"),
        ("verified", "your reason", "well " * 300, 1, "the draft was cut off at the limit of tokens"),
        ("verified", "Name 3 short", "None.", 2,
         "the model listed no questions to verify its draft with, but wrote 'None.'"),
        ("verified", "Answer this", "well " * 300, 4,
         "of 2 answers to questions about the draft, 2 cut off at the limit of tokens"),
        ("verified", "Answer this", "Answer:", 4, "of 2 answers to questions about the draft, 2 without a word"),
        ("verified", "In the light", "Both.", 5, "no verdict"),
        ("rewritten", "Rewrite", " ", 1, "the rewriting is empty"),
        ("rewritten", "Rewrite", "well " * 300, 1, "the rewriting was cut off at the limit of tokens"),
        ("rewritten", "Which one", "Verdict: Both", 2, "no verdict"),
    ],
)  # fmt: skip
def test_a_plan_that_breaks_off_is_an_abstention_and_asks_no_further(
    style: str, words: str, answer: str, requests: int, why: str
) -> None:
    generator = TableGenerator(breaking(words, answer))
    (found,) = judge(TASK, EXAMPLES[:1], generator, style)
    assert (found.label, found.why, found.abstentions) == (None, why, 1)
    assert (len(found.samples[0]), generator.usage.requests) == (requests, requests)
    (thrice,) = judge(TASK, EXAMPLES[:1], TableGenerator(breaking(words, answer)), style, samples=3)
    assert (thrice.label, thrice.why, thrice.abstentions) == (None, "none of 3 has a verdict", 3)


def test_each_round_of_a_plan_is_one_call_for_all_examples_still_under_way() -> None:
    calls = list[int]()

    class Counting(TableGenerator):
        def generate(
            self, requests: Sequence[GenerationRequest], max_tokens: int, temperature: float = 0.0, seed: int = 0
        ) -> list[Generated]:
            calls.append(len(requests))
            return super().generate(requests, max_tokens, temperature, seed)

    def reply(request: GenerationRequest, seed: int | None) -> str:
        silent = "your reason" in request.text and "What is 3 + 1?" in request.text
        return "Who knows." if silent else stand_in_reply(request, seed)

    found = judge(TASK, EXAMPLES, Counting(reply), "verified")
    assert calls == [4, 3, 6, 3]  # drafts, lists of two questions, their answers, verdicts
    assert [verdict.label is None for verdict in found] == [False, False, False, True]


def test_a_template_without_words_before_the_label_is_rewritten_whole() -> None:
    task = Task("bare", "{q}", labels=("True", "False"))
    generator = TableGenerator(lambda request, seed: "0 + 1?" if "Rewrite" in request.text else "Verdict: True")
    (found,) = judge(task, EXAMPLES[:1], generator, "rewritten")
    assert SHOWN.format(text="0 + 1?") in found.samples[0][1].asked
