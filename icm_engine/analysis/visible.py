"""Text with its whitespace to be seen: what a model reads, and eyes do not."""

import unicodedata

SIGNS = {" ": "·", "\n": "↵\n", "\t": "→", "\r": "␍"}
_UNSEEN = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs", "Cs", "Co"})  # controls, directions, separators, odd spaces


def visible(text: str) -> str:
    r"""Return the text with spaces as ·, line ends as ↵ before a break, tabs as →, and all else unseen by its code.

    >>> visible("Is it?\n\tno " + chr(0x202E))
    'Is·it?↵\n→no·⟨U+202E⟩'
    """
    return "".join(SIGNS.get(sign) or (_code(sign) if _is_unseen(sign) else sign) for sign in text)


def _is_unseen(sign: str) -> bool:
    return unicodedata.category(sign) in _UNSEEN


def _code(sign: str) -> str:
    return f"⟨U+{ord(sign):04X}⟩"
