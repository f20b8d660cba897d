"""Final answers: which mention counts, and when two answers are the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icm_engine.data.answers import extract_answer, normalize_answer


@pytest.mark.parametrize(
    ("claim", "answer"),
    [
        ("The answer is 42.", "42"),
        ("so she makes $26\nA: 26", "26"),
        ("#### 1,000", "1000"),
        ("hence \\boxed{42}", "42"),
        ("hence \\boxed{\\frac{1}{2}} metres", "\\frac{1}{2}"),
        ("The answer is $26.00", "26"),
        ("A: -28,800", "-28800"),
        ("A: −5", "-5"),
        ("A: 007", "7"),
        ("A: .50", "0.5"),
        ("A: 1/5", "0.2"),
        ("A: 1/3", "1/3"),
        ("A: 7/0", "7/0"),
        ("A: 42 apples", "42"),
        ("A: x = 42", "42"),
        ("The final answer is **42**.", "42"),
        ("The answer is 41. No: the answer is 42 because 6*7 = 42.", "42"),
        ("A: 12\nThe answer is 13.\n#### 14", "14"),
        ("#### 14\nA: 12", "12"),
        ("A: 41\nA:\n", "41"),
        ("A: 3 million", "3 million"),
        ("A: 10+John's age", "10+john's age"),
        ("A: \\sqrt{3}", "\\sqrt{3}"),
        ("The answer is St. Louis. Sure.", "st. louis"),
        ("The answer is Paris.", "paris"),
        ("25", None),
        ("333333", None),
        ("<<41.472+8.", None),
        ("Alabama: a state", None),
        ("\\boxed{42", None),
    ],
)
def test_final_answers(claim: str, answer: str | None) -> None:
    assert extract_answer(claim) == answer


def test_a_number_too_long_is_compared_as_text() -> None:
    assert normalize_answer("9" * 5000) == "9" * 5000


@given(st.text())
def test_any_text_has_an_answer_or_none_and_it_is_normal(text: str) -> None:
    answer = extract_answer(f"A: {text}")
    assert answer is None or answer == answer.strip() != ""


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9))
def test_one_number_one_answer(number: object) -> None:
    plain = normalize_answer(str(number))
    assert normalize_answer(f"{number:,}") == normalize_answer(f"{number}00") == plain
