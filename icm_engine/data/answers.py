"""The final answer of a worked claim, read from its text: what the rule `same-answer` compares.

A task names one of `EXTRACTORS` or gives a pattern of its own.

>>> extract_answer("16 - 3 = 13, times 2 makes $26. The answer is $26.00.")
'26'
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from icm_engine.data.answer_values import LONGEST_MENTION, numbers_in
from icm_engine.data.answer_values import normalize_answer as normalize_answer

# each matches up to where the answer begins
_OPENINGS = (
    re.compile(r"(?i)\banswer\s(?:is|=)[ \t]*:?\s{0,4}(?=\S)"),
    re.compile(r"(?m)^[ \t*]*(?:A|(?:[Ff]inal )?[Aa]nswer|ANSWER)[ \t*]*:[ \t*]*(?=\S)"),
    re.compile(r"####[ \t]*(?=\S)"),
)
_BRACE = re.compile(r"[{}]")
_BOXED = re.compile(r"\\f?boxed ?\{")
# a sentence ends here, but not after an initial or "St."; or a reason begins
_END = re.compile(
    r"(?<!\b[A-Z])(?<!\bSt)(?<!\bDr)(?<!\bMr)(?<!\bMs)(?<!\bMrs)\.(?=\s|$)|(?<!\\);|,?\s(?:because|since|which)\s"
)


def extract_answer(claim: str) -> str | None:
    """Return the normalised final answer of the last mention in the claim; None if it has no mention.

    Mentions are "The answer is 42.", a line "A: 42" or "Answer: 42", "#### 42" and \\boxed{42}.
    """
    openings = [(match.end(), _rest_of_line) for pattern in _OPENINGS for match in pattern.finditer(claim)]
    boxes = [(match.end(), _braced) for match in _BOXED.finditer(claim)]
    mentions = sorted(openings + boxes, key=lambda mention: -mention[0])
    return next((answer for start, read in mentions if (answer := normalize_answer(read(claim, start)))), None)


def last_number(claim: str) -> str | None:
    """Return the last number that is in the claim, normalised; None if it has none."""
    numbers = numbers_in(claim)
    return normalize_answer(numbers[-1]) if numbers else None


def last_line(claim: str) -> str | None:
    """Return the last line of the claim that is not blank, normalised; None if it is longer than an answer."""
    line = claim.rstrip().rpartition("\n")[2]
    return normalize_answer(line) if len(line) <= LONGEST_MENTION else None


def pattern_reader(pattern: str) -> Callable[[str], str | None]:
    """Return a function that finds the pattern's one group in its last match. Raises re.error."""
    compiled = re.compile(pattern, re.MULTILINE)
    if compiled.groups != 1:
        raise re.error(f"it has {compiled.groups} groups")

    def read(claim: str) -> str | None:
        found = [match[1] for match in compiled.finditer(claim) if match[1]]
        return normalize_answer(found[-1]) if found else None

    return read


def _rest_of_line(text: str, start: int) -> str:
    """The text up to the end of the sentence or the line."""
    line = text[start : start + LONGEST_MENTION].split("\n", 1)[0]
    return _END.split(line)[0]


def _braced(text: str, start: int) -> str:
    """The text up to the brace that closes the one before `start`; nothing if it is not near."""
    depth = 1
    for match in _BRACE.finditer(text, start, start + LONGEST_MENTION):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return text[start : match.start()]
    return ""


EXTRACTORS: Mapping[str, Callable[[str], str | None]] = {
    "final-answer": extract_answer,
    "last-number": last_number,
    "last-line": last_line,
}


@dataclass(frozen=True, slots=True)
class AnswerReader:
    """From which field a final answer is read, and how."""

    field: str
    read: Callable[[str], str | None]
