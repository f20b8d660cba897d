"""Numbers, states and whitespace in readable form."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from icm_engine.runs.life_cycle import Phase

SIGNS = {" ": "·", "\n": "↵\n", "\t": "→", "\r": "␍"}
_UNSEEN = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs", "Cs", "Co"})  # controls, direction marks, separators, odd spaces


def show_whitespace(text: str) -> str:
    r"""Return the text with whitespace shown: space ·, tab →, line end ↵, other invisible characters as codes.

    >>> show_whitespace("Is it?\n\tno " + chr(0x202E))
    'Is·it?↵\n→no·⟨U+202E⟩'
    """
    return "".join(SIGNS.get(sign) or (_code(sign) if _is_unseen(sign) else sign) for sign in text)


def _is_unseen(sign: str) -> bool:
    return unicodedata.category(sign) in _UNSEEN


def _code(sign: str) -> str:
    return f"⟨U+{ord(sign):04X}⟩"


DASH = "–"


@dataclass(frozen=True, slots=True)
class PhaseStyle:
    """How one phase is shown: colour, shape, word, and a sentence."""

    colour: str
    icon: str
    word: str
    sentence: str


PHASE_STYLES: dict[Phase, PhaseStyle] = {
    "created": PhaseStyle("gray", "○", "not started", "Nothing has run yet. Press Start, or Step to take one step."),
    "starting": PhaseStyle(
        "violet", "◔", "starting", "The worker is loading the model. The first numbers follow shortly."
    ),
    "running": PhaseStyle("blue", "▶", "running", "The worker is searching. Closing this page does not stop it."),
    "paused": PhaseStyle("orange", "❚❚", "paused", "The worker is waiting. Resume continues, Step takes one step."),
    "interrupted": PhaseStyle(
        "orange", "⚠", "interrupted", "The worker is gone; its steps are safe. Resume continues from the last one."
    ),
    "failed": PhaseStyle("red", "✕", "failed", "The worker ended with an error. No step was lost; Resume tries again."),
    "stopped": PhaseStyle(
        "gray", "■", "stopped", "Stopped by a person. The labels so far are below; Resume continues from here."
    ),
    "finished": PhaseStyle("green", "✓", "finished", "The labels are below, ready to download."),
}

# The buttons that a phase offers; buttons without effect are left out
OFFERS: dict[Phase, frozenset[str]] = {
    "created": frozenset({"start", "step"}),
    "starting": frozenset({"pause", "stop"}),
    "running": frozenset({"pause", "stop"}),
    "paused": frozenset({"resume", "step", "stop"}),
    "interrupted": frozenset({"resume", "step", "stop"}),
    "failed": frozenset({"resume", "step"}),
    "stopped": frozenset({"resume", "step"}),
    "finished": frozenset(),
}


_ASIDE = re.compile(r"\s?\(([^()]*)\)")
_FLAG = re.compile(
    r"(?<![\w`'\"-])--(batch-size|limit|map|model|name|rule|seed|set|split|steps|update)\b(?: [A-Z]+\b)?"
)
_KEPT = re.compile(r"\(vLLM: [^()]*\)|`[^`]*`")  # options of other programs, and whole commands


def without_flags(text: str) -> str:
    """Return a message without our command-line options, for readers of a page.

    An option in brackets after the remedy is left out; one in the sentence becomes a word.

    >>> without_flags("use fewer examples (--limit, or --batch-size), or shorter demonstrations")
    'use fewer examples, or shorter demonstrations'
    >>> without_flags("keep such rows without gold (--ties keep; Ties on the page)")
    'keep such rows without gold (Ties on the page)'
    >>> without_flags("use a larger --limit")
    'use a larger limit'
    """
    parts, end = [], 0
    for kept in _KEPT.finditer(text):
        parts += [_without_flags(text[end : kept.start()]), kept.group()]
        end = kept.end()
    return "".join([*parts, _without_flags(text[end:])])


def _without_flags(text: str) -> str:
    return _FLAG.sub(lambda found: found[1].replace("-", " "), _ASIDE.sub(_aside, text))


def _aside(found: re.Match[str]) -> str:
    """The text in brackets: unchanged without an option; with one, only the part about the page, if any."""
    inside = found[1]
    if not re.search(r"(^|[ (])--[a-z]", inside):
        return found[0]
    about_pages = [part for part in re.split(r"[;,] (?:or )?", inside) if part.endswith("on the page")]
    return f" ({about_pages[0]})" if about_pages else ""


def duration(seconds: float) -> str:
    """Return a duration in at most two units.

    >>> duration(0.4), duration(42), duration(130), duration(7300)
    ('under 1 s', '42 s', '2 min 10 s', '2 h 1 min')
    """
    whole = int(seconds)
    if whole < 1:
        return "under 1 s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def count(number: int) -> str:
    """Return a whole number, shortened to fit a tile.

    >>> count(999), count(12345), count(2_500_000)
    ('999', '12.3 k', '2.5 M')
    """
    if number < 10_000:
        return f"{number:,}"
    return f"{number / 1000:.1f} k" if number < 1_000_000 else f"{number / 1_000_000:.1f} M"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "step"), counted(2000, "pair")
    ('1 step', '2,000 pairs')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def decimal(number: float | None, digits: int = 1) -> str:
    """Return a number with a true minus sign; a dash for None."""
    return DASH if number is None else f"{number:,.{digits}f}".replace("-", "−")


def percent(share: float | None) -> str:
    """Return a share as whole percent; a dash for None."""
    return DASH if share is None else f"{share:.0%}"


def figures(number: float | None) -> str:
    """Return a number with two decimals, or three significant figures if it is small.

    >>> figures(9.1), figures(0.0123), figures(0.0), figures(1.5e-7)
    ('9.10', '0.0123', '0.00', '1.5e−07')
    """
    if number is None:
        return DASH
    return decimal(number, 2) if abs(number) >= 0.1 or number == 0 else f"{number:.3g}".replace("-", "−")


def chance(share: float | None) -> str:
    r"""Return a probability in percent, with enough figures to tell it from 0.

    >>> [chance(share).replace("\xa0", " ") for share in (0.13, 0.0042, 1.0, 0.0, 1e-9)]
    ['13 %', '0.42 %', '100 %', '0 %', 'under 0.01 %']
    """
    if share is None:
        return DASH
    if 0 < share < 0.0001:
        return "under 0.01\u00a0%"
    return f"{100 * share:.3g}\u00a0%" if 0 < share < 0.1 else f"{share:.0%}".replace("%", "\u00a0%")


def moment(time: float) -> str:
    """Return a time as this machine's clock shows it.

    >>> len(moment(0.0))
    16
    """
    return f"{datetime.fromtimestamp(time):%Y-%m-%d %H:%M}"


WORD_JOINER = chr(0x2060)  # zero-width: otherwise Streamlit turns addresses into links despite escaping


def escaped(text: str) -> str:
    r"""Return untrusted text escaped for Markdown, for the few widgets that accept nothing else.

    >>> print(escaped("a_b *c* $d$"))
    a\_b \*c\* \$d\$
    """
    apart = re.sub(r"(?i)(https?(?=:)|www(?=\.)|(?<=\S)@(?=\S))", lambda found: found[0] + WORD_JOINER, text)
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", apart)


def middle_cut(text: str, width: int) -> str:
    """Return the text on one line, cut in its middle: labels that begin alike often end differently.

    >>> middle_cut("balance not updated after bank transfer", 18)
    'balance n…transfer'
    """
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width // 2]}…{line[-((width - 1) // 2) :]}"


MANY = 9  # more labels than this are neither listed nor given a button each
SAID = 5  # of many labels, the most frequent ones that a sentence names


def balance_words(counts: Mapping[str, int]) -> str:
    """Return how many examples have each label; of many labels, the most frequent ones alone.

    >>> balance_words({"True": 3, "False": 2})
    '3 True · 2 False'
    >>> balance_words({f"label {k}": k for k in range(12)})
    '11 label 11 · 10 label 10 · 9 label 9 · 8 label 8 · 7 label 7 · 21 with 7 other labels'
    """
    if len(counts) <= MANY:
        return " · ".join(f"{n:,} {label}" for label, n in counts.items())
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    said = [f"{n:,} {label}" for label, n in ranked[:SAID]]
    return " · ".join([*said, f"{sum(n for _, n in ranked[SAID:]):,} with {len(ranked) - SAID} other labels"])


def one_line(text: str, width: int = 200) -> str:
    """Return the text on one line, cut with an ellipsis: for table cells, whose full text is shown elsewhere."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
