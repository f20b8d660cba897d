"""Final answers: which mention counts, and when two answers are the same."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icm_engine.core.labeling import Example
from icm_engine.data.answers import extract_answer, last_line, last_number, normalize_answer, reader_for


@pytest.mark.parametrize(
    ("claim", "answer"),
    [
        ("The answer is 42.", "42"),
        ("so she makes $26\nA: 26", "26"),
        ("#### 1,000", "1000"),
        ("hence \\boxed{42}", "42"),
        ("hence \\boxed{\\frac{1}{2}} metres", "0.5"),
        ("hence \\boxed{90^\\circ}.", "90"),
        ("The answer is $5\\;\\text{cm}$.", "5"),
        ("The answer is 12-7=5.", "5"),
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


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\frac{1}{2} \dfrac{1}{2} \tfrac{1}{2} \frac12 \dfrac12 \frac1{2} 1/2 .5 0.50 $\frac{1}{2}$ ½", "0.5"),
        (r"-\frac{3}{4} \frac{-3}{4} \frac{3}{-4} -3/4 −0.75 −¾", "-0.75"),
        (r"2\frac{1}{2} 2\dfrac12 2½ 2.5 $2.50", "2.5"),
        (
            r"5\text{cm} 5\,\text{cm} 5\mathrm{~cm} 5cm 5\;m/s^2 5cm² \left(5\right) \boxed{5} {5} (5) 5.",
            "5",
        ),
        (r"US$5 $5 \$5 5€ £5 +5 x=5 x_1=5 12-7=5 \(5\) \[5\] **5**", "5"),
        (r"-5 -$5 $-5 −5 –5 x=-5 (-5) -5°C", "-5"),
        (r"1{,}000 1,000 1\,000 1,\!000 10^3 10^{3} 10³ 1e3 1E+3 1.0e3 1×10^3 1\times10^{3} १०००", "1000"),
        (r"90^\circ 90^{\circ} 90° 90\degree 90^\circ\text{C} 90\% 90%", "90"),
        (r"1,234,567.89 1{,}234{,}567.89 12,34,567.89 $1,234,567.890", "1234567.89"),
        (r"2\cdot10^{-3} 2×10⁻³ 2e-3 0.002 1/500 \frac{1}{500}", "0.002"),
        (r"1/3 \frac13 \frac{2}{6} 2/6 ⅓", "1/3"),
        (r"\sqrt{3} \sqrt3 $\sqrt{3}$ \left(\sqrt{3}\right)", r"\sqrt{3}"),
        (r"(3,\frac{\pi}{2}) \left(3,\dfrac{π}{2}\right)", r"(3,\frac{\pi}{2})"),
        (r"\text{Paris} Paris paris. \textbf{Paris}", "paris"),
        ("(A) A \\text{(A)} \\mathrm{A}", "a"),
        ("2019-2020", "2019-2020"),
        ("x=3,y=5", "x=3,y=5"),
        ("5x", "5x"),
        ("3:30", "3:30"),
        ("7/0", "7/0"),
        ("0^0", "0^0"),
    ],
)
def test_one_value_has_one_spelling(text: str, answer: str) -> None:
    spellings = text.split(" ")
    assert {spelled: normalize_answer(spelled) for spelled in spellings} == dict.fromkeys(spellings, answer)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"5\text{ cm}", "5"),
        (r"5 \text{ square metres}", "5"),
        ("x = - 3", "-3"),
        ("2 1/2", "2.5"),
        ("1 000 000", "1000000"),
        ("about $5", "5"),
        ("USD 5", "5"),
        ("5 \\%", "5"),
        ("x + 1", "x+1"),
        ("$5 million", "5 million"),
        ("5.0 million dollars", "5 million"),
        ("3 am", "3 am"),
        ("5 n", "5 n"),
        ("5 k", "5 k"),
        ("3 quarters", "3 quarters"),
        ("4 or 5", "4 or 5"),
        (r"\text{ }", None),
        ("$ .", None),
    ],
)
def test_units_and_words_beside_a_number(text: str, answer: str | None) -> None:
    assert normalize_answer(text) == answer


@pytest.mark.parametrize(
    ("claim", "answer"),
    [
        ("Two pens are 2 * $.25 = $.50", "0.5"),
        ("It costs 1.5e3", "1500"),
        ("It costs 2 × 10^3", "2000"),
        ("It ran 2019-2020", "2020"),
        ("It ran 2019–2020", "2020"),
        ("It ran 2019--2020", "2020"),
        ("The number left is 12-7", "7"),
        ("The number left is 12−7=5", "5"),
        ("so x=-3", "-3"),
        ("so x = - 3", "-3"),
        ("it is −5", "-5"),
        ("a loss of -$5", "-5"),
        ("a loss of $-5.00", "-5"),
        ("COVID-19", "19"),
        ("(3)-(2)", "2"),
        ("so 3/4", "0.75"),
        ("on 9/11/2001", "2001"),
        ("in 2 1/2 hours", "2.5"),
        (r"hence \frac{1}{2} of it", "0.5"),
        (r"hence $1{,}000$ people", "1000"),
        (r"hence 90^\circ", "90"),
        ("an area of 5 cm^2", "5"),
        ("an area of 5 cm²", "5"),
        (r"an area of 5\text{ cm}^{2}", "5"),
        ("$5 million", "5 million"),
        ("1,234,567.89 in all.", "1234567.89"),
        ("the 3rd", "3"),
        ("none", None),
    ],
)
def test_the_last_number(claim: str, answer: str | None) -> None:
    assert last_number(claim) == answer


HOSTILE = (
    "{" * 100_000 + "1" + "}" * 100_000, r"\frac{" * 20_000, r"\text{" * 20_000 + "1", r"\frac" + " " * 100_000,
    r"\boxed{" * 2_000, "9^{" * 30_000, "1,11," * 20_000, "1,111" * 20_000, "1/" * 50_000, "1 1/" * 30_000,
    "1e" * 50_000, "-" * 100_000 + "1", "$" * 100_000, "½" * 50_000, "²" * 50_000, "=-" * 50_000 + "1", "10^" * 30_000,
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:8])
def test_hostile_texts_take_no_time(text: str) -> None:
    began = time.process_time()
    for read in (last_number, extract_answer, last_line, normalize_answer):
        read(text)
        read(text[:1000])
        read(f"The answer is {text[:90]}")
    assert time.process_time() - began < 2


@pytest.mark.parametrize("text", ["1e999999999", "10^999999", "9^9^9", "9^{9^{9}}", "2^{-99999}", "1e-999", "99^99"])
def test_a_number_out_of_bounds_is_compared_as_text(text: str) -> None:
    plain = text.replace("{", "").replace("}", "")
    assert normalize_answer(text) == last_number(f"it is {text}") == plain


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


def test_answers_are_read_as_those_that_are_there_were() -> None:
    def example(claim: str, answer: str | None) -> Example:
        return Example("a", {"question": "Q", "claim": claim}, "a", answer)

    worked = [example("13 + 18 = 31", "31"), example("5 apples, hence 7", "7"), example("none", None)]
    assert reader_for(worked)("2 + 3 = 5") == "5"
    assert reader_for([*worked, example("The answer is 7.", "7")]) is last_number
    assert reader_for([example("1 + 1 = 2. The answer is 2.", "2")]) is extract_answer  # both read it: the first
    assert reader_for([example("Think.\nParis", "paris")]) is last_line
    for nothing_to_go_by in ([], [example("x", None)], [Example("a", {"response_a": "x"}, "a", "1")]):
        assert reader_for(nothing_to_go_by) is extract_answer
