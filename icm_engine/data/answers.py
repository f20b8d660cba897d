r"""The final answer of a worked claim, extracted and normalised: what `same-answer` compares.

No library fits. math-verify 0.9 (over latex2sympy2_extended and an ANTLR parser) limits its time by SIGALRM, which
works in the main thread alone, and uses all five seconds on a thousand nested braces; it reads `1.5e3` as 1.5 and
`2019-2020` as a difference; and it compares two answers, where a rule needs a key for each of a million. Here a fixed
list of patterns, each linear, rewrites the text, and only one fraction and one power of bounded size are evaluated.
Whatever is not a number after that, or is longer than an answer, is compared as text.

>>> [normalize_answer(text) for text in (r"$\dfrac12$", r"5\text{ cm}", "1.5e3", "Paris.")]
['0.5', '5', '1500', 'paris']

>>> extract_answer("16 - 3 = 13, times 2 makes $26. The answer is $26.00.")
'26'
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice

from icm_engine.core.labeling import Example

ENOUGH = 1000  # examples that show how a data set's answers were read
LONGEST_NUMBER = 100  # characters, and digits of a power; anything longer is compared as text
LONGEST_MENTION = 1000  # characters of an answer; anything longer is compared as text, LaTeX unchanged

# -- LaTeX and Unicode to plain text

_CHARACTERS = {
    "−": "-", "×": "×", "⋅": "×", "·": "×", "⁄": "/", "∕": "/", "π": r"\pi", "≈": r"\approx ", "º": "°", "˚": "°",
    "\N{NO-BREAK SPACE}": r"\,", "\N{THIN SPACE}": r"\,", "\N{NARROW NO-BREAK SPACE}": r"\,",
}  # fmt: skip
_SUPERSCRIPT = re.compile(r"[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+")
_PLAIN_SUPERSCRIPT = str.maketrans("⁻⁺⁰¹²³⁴⁵⁶⁷⁸⁹", "-+0123456789")
_FRACTION = re.compile(r"\\frac\s*(?:\{([^{}]*)\}|([0-9a-zA-Z]))\s*(?:\{([^{}]*)\}|([0-9a-zA-Z])(?![0-9]))")
_WORD_END = "(?![a-zA-Z])"
_WRAPPERS = "text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf|tt|bb)|operatorname|[mhf]box|boxed|emph"
_REWRITES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        (r"(?<=[0-9])(?:\{,\}|\\,|,\\!)(?=[0-9]{3}(?![0-9]))", ","),
        (r"\{,\}", ","),
        (r"\\!", ""),
        (rf"\\(?:[,;: ]|(?:thinspace|enspace|quad|qquad){_WORD_END})|~", " "),
        (rf"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle){_WORD_END}", ""),
        (rf"\\[dtc]frac{_WORD_END}", r"\\frac"),
        (r"\^ ?\{? ?\\circ ?\}?|\\degree", "°"),
        (r"\\(?:textdollar|pounds|euro)" + _WORD_END, "$"),
        (r"\\([%$#&])", r"\1"),
        (rf" ?\\(?:cdot|times){_WORD_END} ?", "×"),
        (r"\\sqrt ?([0-9a-zA-Z])", r"\\sqrt{\1}"),
        (r"\\[()\[\]]", " "),
    )
)
_INNERMOST: tuple[tuple[re.Pattern[str], str], ...] = (  # again for the enclosing command
    (re.compile(rf"\\(?:{_WRAPPERS}) ?\{{([^{{}}]*)\}}"), r" \1 "),
    (re.compile(r" ?\^ ?\{ ?([-+]?\w+(?:\^[-+]?\w+)*) ?\}"), r"^\1"),
)
_DEPTH = 3  # rewritten levels of nested commands


def plain_text(text: str) -> str:
    """Return a text with LaTeX and Unicode numerals replaced by plain characters where possible."""
    if not text.isascii():
        text = _SUPERSCRIPT.sub(lambda match: "^" + match[0].translate(_PLAIN_SUPERSCRIPT), text)
        text = "".join(map(_plain_character, text))
    if not any(mark in text for mark in "\\{~"):
        return text
    for pattern, by in _REWRITES:
        text = pattern.sub(by, text)
    for _ in range(_DEPTH):
        before = text
        for pattern, by in _INNERMOST:
            text = pattern.sub(by, text)
        text = _FRACTION.sub(_plain_fraction, text)
        if text == before:
            break
    return text.replace(" ^", "^")


def _plain_character(character: str) -> str:
    """One character in ASCII: digits of any script, ½ as a fraction."""
    if character.isascii():
        return character
    if (digit := unicodedata.decimal(character, None)) is not None:
        return str(digit)
    if unicodedata.decomposition(character).startswith("<fraction>"):
        return " " + unicodedata.normalize("NFKC", character).replace("⁄", "/")
    return _CHARACTERS.get(character, character)


def _plain_fraction(match: re.Match[str]) -> str:
    r"""1/2 for two whole numbers, with a space after a digit as in 2 1/2; else \frac{a}{b} unchanged."""
    above, below = (match[1] or match[2] or "").strip(), (match[3] or match[4] or "").strip()
    if re.fullmatch(r"-?[0-9]+", above) and re.fullmatch(r"-?[0-9]+", below):
        return f"{' ' if match.string[: match.start()][-1:].isalnum() else ''}{above}/{below}"
    return f"\\frac{{{above}}}{{{below}}}"


# -- a number

_CURRENCY = "$€£¥₹"
_MONEY = re.compile(rf"(?<!\w)(?:(?:US|CA|AU|NZ|HK|[ACS])(?=\$)|(?:USD|EUR|GBP|INR|Rs\.?) ?(?=[0-9.]))|[{_CURRENCY}]")
_MAGNITUDES = "hundred|thousand|million|billion|trillion|dozen"
_GROUPED = r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]{1,2}(?:,[0-9]{2}){1,40},[0-9]{3}(?![0-9])"
_POWER = (
    r"(?:[eE](?P<e>[-+]?[0-9]+)(?!\w)| ?[×x*] ?10 ?\^ ?\(?(?P<ten>[-+]?[0-9]+)\)?|\^ ?\(?(?P<power>[-+]?[0-9]+)\)?)"
)
# within a text: a hyphen after a digit, word or bracket is no sign, and 2 in x^2 is no number
_SCANNED = re.compile(
    rf"(?:(?<![\w)\]}}%°^–-])[-–](?=[{_CURRENCY}]?\.?[0-9])"
    rf"|(?:(?<=[=(\[])|(?<=[=(\[] ))[-–] (?=[{_CURRENCY}]?\.?[0-9]))?"
    rf"[{_CURRENCY}]?(?:(?<=[{_CURRENCY}])[-–])?(?<![\^_0-9])(?<!\^[-+])"
    rf"(?:[0-9]+ [0-9]+/[0-9]+(?![0-9/])|(?<!/)[0-9]+/-?[0-9]+(?![0-9/])|(?<![\w.])\.[0-9]+"
    rf"|(?:{_GROUPED}|[0-9]{{1,3}}(?:\ 000)+(?![0-9])|[0-9]+)(?:\.[0-9]+)?)"
    rf"{re.sub('[?]P<[a-z]+>', '?:', _POWER)}?(?:\^\(?[-+]?[0-9]+\)?)*(?!\^)(?:\ (?:{_MAGNITUDES})s?\b)?"
)
_NUMBER = re.compile(
    rf"(?:(?:about|exactly|approximately|around|roughly|approx\.?|\\approx|=) ?)?"
    r"(?P<sign>[-–+]?) ?"
    rf"(?:(?P<whole>[0-9]+) (?P<above>[0-9]+)/(?P<below>[0-9]+)"
    rf"|(?P<value>(?:{_GROUPED}|[0-9]{{1,3}}(?: [0-9]{{3}})+(?![0-9])|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)"
    rf"{_POWER}?(?: ?/ ?(?P<divisor>-?[0-9]+))?)(?P<rest>.*)"
)
_UNIT = re.compile(r"[%°]? ?(?:[^\W\d_]+\.?(?:\^-?[0-9])?(?:[ /×-]+[^\W\d_]+\.?(?:\^-?[0-9])?)*)?")
# units directly after a number; a single letter may be an unknown, as in 5x
_ATTACHED = set(
    "mm cm dm km ml cl mg kg lb lbs oz ft in yd mi sq hr hrs min mins sec secs ms mph kph kmh kb mb gb tb hz khz mhz "
    "ghz kwh kw st nd rd th".split()
)
# words that change the value of the number before them: "3 million" is not 3, and 3 am is not 3 pm
_CHANGES_VALUE = {
    *(word + plural for word in _MAGNITUDES.split("|") for plural in ("", "s")), "lakh", "crore", "pi", "half",
    "halves", "third", "thirds", "quarter", "quarters", "times", "or", "and", "plus", "minus", "squared", "cubed",
    "factorial", "am", "pm", "bc", "bce",
}  # fmt: skip
_UNKNOWNS = set("abcdeijknopqrtuvxyz")  # "5 m" is a length, "5 n" is not the number 5
_EQUATION_OF_MORE = re.compile(r"[,;]|\b(?:and|or)\b|[<>!≤≥≠]\s*$")


def numbers_in(text: str) -> list[str]:
    """Return the numbers in a text as written, with sign, currency, power and words such as "million"."""
    return [match[0] for match in _SCANNED.finditer(plain_text(text))]


def normalize_answer(text: str) -> str | None:
    r"""Return an answer normalised so that equal answers are equal strings; None for blank text.

    Numbers lose thousands separators, currency, per cent, degrees, trailing zeros and units; 3/4, \frac{3}{4} and ¾
    are 0.75; 2 1/2 is 2.5; 1.5e3 and 1.5\times10^3 are 1500; x = 3 is 3. Anything else is compared as lower-case text
    without LaTeX's spacing.
    """
    if len(text) > LONGEST_MENTION:
        return _trimmed(text).casefold() or None
    plain = _unwrapped(_trimmed(plain_text(text)))
    if plain.isascii() and plain.isdecimal() and len(plain) <= LONGEST_NUMBER:
        return str(int(plain))
    number = _number(_MONEY.sub("", _right_side(plain))) if len(plain) <= LONGEST_NUMBER else None
    return number or _as_text(plain).casefold() or None


def _trimmed(text: str) -> str:
    """The text without surrounding marks, with single spaces."""
    plain = " ".join(text.split()).strip("*`\"' ")
    return " ".join(plain.rstrip("$. ").lstrip("$ ").split()) if plain.strip("$. ") else ""


def _unwrapped(plain: str) -> str:
    """The text without one pair of brackets around the whole: (5), {5}, (A)."""
    inner = re.fullmatch(r"\(([^(),]*)\)|\{([^{}]*)\}", plain)
    return (_trimmed(inner[1] or inner[2] or "") or plain) if inner else plain


def _right_side(plain: str) -> str:
    """The part after the last = of one equation, as in 12 - 7 = 5; the whole text if there are several."""
    left, equals, right = plain.rpartition("=")
    return right.strip() if equals and not _EQUATION_OF_MORE.search(left) else plain


def _as_text(plain: str) -> str:
    """The text without spaces if it is a formula, which has no words."""
    formula = re.search(r"(?<!\\)(?<![a-zA-Z\\])[^\W\d_]{2,}", plain) is None
    return re.sub(r"(?<=\W) | (?=\W)", "", plain).strip() if formula else plain.strip()


def _number(plain: str) -> str | None:
    """The number that a text is, with its unit; None for any other text."""
    match = _NUMBER.fullmatch(_unwrapped(plain))
    if match is None:
        return None
    magnitude = re.match(rf" ?({_MAGNITUDES})s?\b", match["rest"], re.IGNORECASE)
    if not _is_unit(match["rest"][magnitude.end() if magnitude else 0 :]):
        return None
    value = _value(match)
    if value is None:
        return None
    return _canonical(value) + (f" {magnitude[1].casefold()}" if magnitude else "")


def _is_unit(rest: str) -> bool:
    """Whether the text after a number leaves its value unchanged."""
    unit = rest.strip()
    if not unit:
        return True
    words = re.findall(r"[^\W\d_]+", unit)
    apart = rest[0] in " %°"
    known = apart or (words and words[0].casefold() in _ATTACHED)
    unknown = len(words) == 1 and words[0] in _UNKNOWNS and not unit.startswith("°")
    changed = _CHANGES_VALUE & {word.casefold() for word in words}
    return bool(known and _UNIT.fullmatch(unit)) and not unknown and not changed


def _value(match: re.Match[str]) -> Fraction | None:
    """The value of a number; None for a division by zero or a power longer than any answer."""
    if match["whole"] is not None:
        parts = [int(match[part]) for part in ("whole", "above", "below")]
        value = parts[0] + Fraction(parts[1], parts[2]) if parts[2] else None
    else:
        value = Fraction(match["value"].replace(",", "").replace(" ", "").rstrip("."))
        value = _raised(value, match["e"] or match["ten"], match["power"])
        divisor = int(match["divisor"] or 1)
        value = value / divisor if divisor and value is not None else None
    if value is None:
        return None
    return -value if match["sign"] in ("-", "–") else value


def _raised(value: Fraction, tens: str | None, power: str | None) -> Fraction | None:
    """The value times a power of ten, or raised to a power; None if out of bounds."""
    if len(tens or power or "") > len(str(-LONGEST_NUMBER)) or abs(int(tens or power or 0)) > LONGEST_NUMBER:
        return None
    if tens:
        return value * Fraction(10) ** int(tens)
    if not power:
        return value
    digits = max(len(str(value.numerator)), len(str(value.denominator)))
    if digits * abs(int(power)) > LONGEST_NUMBER or (not value and int(power) <= 0):
        return None
    return value ** int(power)


def _canonical(value: Fraction) -> str:
    """The number as a decimal if that terminates, else as a reduced fraction."""
    rest, places = value.denominator, 0
    while rest % 10 == 0 or rest % 5 == 0 or rest % 2 == 0:
        rest, places = rest // (10 if rest % 10 == 0 else 5 if rest % 5 == 0 else 2), places + 1
    if rest != 1:
        return str(value)
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    whole, part = digits[: len(digits) - places], digits[len(digits) - places :].rstrip("0")
    return ("-" if value < 0 else "") + whole + ("." + part if part else "")


# each matches up to where the answer begins
_OPENINGS = (
    re.compile(r"(?i)\banswer\s(?:is|=)[ \t]*:?\s{0,4}(?=\S)"),
    re.compile(r"(?m)^[ \t*]*(?:A|(?:[Ff]inal )?[Aa]nswer|ANSWER)[ \t*]*:[ \t*]*(?=\S)"),
    re.compile(r"####[ \t]*(?=\S)"),
)
_BRACE = re.compile(r"[{}]")
_BOXED = re.compile(r"\\f?boxed ?\{")
# ends a sentence, except after an initial or "St."; or begins a reason
_END = re.compile(
    r"(?<!\b[A-Z])(?<!\bSt)(?<!\bDr)(?<!\bMr)(?<!\bMs)(?<!\bMrs)\.(?=\s|$)|(?<!\\);|,?\s(?:because|since|which)\s"
)


def extract_answer(claim: str) -> str | None:
    """Return the normalised final answer that the claim mentions last; None if it mentions none.

    Mentions are "The answer is 42.", a line "A: 42" or "Answer: 42", "#### 42" and \\boxed{42}.
    """
    openings = [(match.end(), _rest_of_line) for pattern in _OPENINGS for match in pattern.finditer(claim)]
    boxes = [(match.end(), _braced) for match in _BOXED.finditer(claim)]
    mentions = sorted(openings + boxes, key=lambda mention: -mention[0])
    return next((answer for start, read in mentions if (answer := normalize_answer(read(claim, start)))), None)


def last_number(claim: str) -> str | None:
    """Return the last number in the claim, normalised; None if there is none."""
    numbers = numbers_in(claim)
    return normalize_answer(numbers[-1]) if numbers else None


def last_line(claim: str) -> str | None:
    """Return the last non-blank line of the claim, normalised; None if it is longer than an answer."""
    line = claim.rstrip().rpartition("\n")[2]
    return normalize_answer(line) if len(line) <= LONGEST_MENTION else None


def pattern_reader(pattern: str) -> Callable[[str], str | None]:
    """Return a function that returns the group of the pattern's last match. Raises re.error."""
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
    """The text up to the brace that closes the one before `start`; empty if that is not near."""
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


def reader_for(examples: Iterable[Example]) -> Callable[[str], str | None]:
    """Return the extractor that reads most of the answers of these examples from their claims, as their import did.

    `final-answer` where others read no more. A data set does not say how its answers were read, and those that a task's
    own pattern read may be read by none.
    """
    known = ((e.fields["claim"], e.answer) for e in examples if e.answer is not None and "claim" in e.fields)
    some = list(islice(known, ENOUGH))
    return max(EXTRACTORS.values(), key=lambda read: sum(read(claim) == answer for claim, answer in some))


@dataclass(frozen=True, slots=True)
class AnswerReader:
    """Which field a final answer is read from, and how."""

    field: str
    read: Callable[[str], str | None]
