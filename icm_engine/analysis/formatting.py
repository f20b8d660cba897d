"""Numbers, states and whitespace in a form that people can read."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime

from icm_engine.runs.life_cycle import Phase

SIGNS = {" ": "·", "\n": "↵\n", "\t": "→", "\r": "␍"}
_UNSEEN = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs", "Cs", "Co"})  # controls, directions, separators, odd spaces


def show_whitespace(text: str) -> str:
    r"""Return the text with spaces as ·, line ends as ↵ before a break, tabs as →, and all else unseen by its code.

    >>> visible("Is it?\n\tno " + chr(0x202E))
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
    """How one phase of a run looks: a colour, a shape beside it, a word, and one honest sentence."""

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
    "paused": PhaseStyle("orange", "❚❚", "paused", "The worker waits. Resume goes on, Step takes one step."),
    "interrupted": PhaseStyle(
        "orange", "⚠", "interrupted", "The worker is gone, its steps are safe. Resume goes on where it stopped."
    ),
    "failed": PhaseStyle("red", "✕", "failed", "The worker ended with an error. No step was lost; Resume tries again."),
    "stopped": PhaseStyle(
        "gray", "■", "stopped", "Stopped by hand. The labels so far are below; Resume goes on from here."
    ),
    "finished": PhaseStyle("green", "✓", "finished", "The labels are below, ready to download."),
}

# Which buttons a phase offers. A verb that would do nothing is not offered.
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


def duration(seconds: float) -> str:
    """Return a time in two units at most.

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
    """Return a whole number short enough for a tile.

    >>> count(999), count(12345), count(2_500_000)
    ('999', '12.3 k', '2.5 M')
    """
    if number < 10_000:
        return f"{number:,}"
    return f"{number / 1000:.1f} k" if number < 1_000_000 else f"{number / 1_000_000:.1f} M"


def decimal(number: float | None, digits: int = 1) -> str:
    """Return a number with a true minus sign, a dash for None."""
    return DASH if number is None else f"{number:,.{digits}f}".replace("-", "−")


def percent(share: float | None) -> str:
    """Return a share of 1 in whole percent, a dash for None."""
    return DASH if share is None else f"{share:.0%}"


def figures(number: float | None) -> str:
    """Return a number with two decimals, or with three figures where it is small.

    >>> figures(9.1), figures(0.0123), figures(0.0), figures(1.5e-7)
    ('9.10', '0.0123', '0.00', '1.5e−07')
    """
    if number is None:
        return DASH
    return decimal(number, 2) if abs(number) >= 0.1 or number == 0 else f"{number:.3g}".replace("-", "−")


def chance(share: float | None) -> str:
    r"""Return a chance in percent, with the figures that tell it from 0.

    >>> [chance(share).replace("\xa0", " ") for share in (0.13, 0.0042, 1.0, 0.0, 1e-9)]
    ['13 %', '0.42 %', '100 %', '0 %', 'under 0.01 %']
    """
    if share is None:
        return DASH
    if 0 < share < 0.0001:
        return "under 0.01\u00a0%"
    return f"{100 * share:.3g}\u00a0%" if 0 < share < 0.1 else f"{share:.0%}".replace("%", "\u00a0%")


def moment(time: float) -> str:
    """Return a point in time as the clock of this machine shows it.

    >>> len(moment(0.0))
    16
    """
    return f"{datetime.fromtimestamp(time):%Y-%m-%d %H:%M}"


WORD_JOINER = chr(0x2060)  # unseen: addresses become links whatever is escaped in them


def escaped(text: str) -> str:
    r"""Return text from outside so that Markdown shows it as it is, for the few places that know nothing else.

    >>> print(escaped("a_b *c* $d$"))
    a\_b \*c\* \$d\$
    """
    apart = re.sub(r"(?i)(https?(?=:)|www(?=\.)|(?<=\S)@(?=\S))", lambda found: found[0] + WORD_JOINER, text)
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", apart)


def one_line(text: str, width: int = 200) -> str:
    """Return the text on one line, cut with an ellipsis: for table cells, whose whole text is elsewhere."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
