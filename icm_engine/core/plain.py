"""Text from outside where a terminal would obey it, or nobody would see it: such characters as their codes.

The codes are JSON's, so JSON stays JSON with the same meaning.
"""

import unicodedata

OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # controls, directions and what has no width, halves, separators


def plain(text: str) -> str:
    r"""Return the text with every character that is obeyed or unseen as its code; line ends and tabs stay.

    >>> plain("red: " + chr(27) + "[31m, back: " + chr(0x202E) + "abc")
    'red: \\u001b[31m, back: \\u202eabc'
    """
    if text.isprintable():
        return text
    return "".join(_code(sign) if _is_obeyed(sign) else sign for sign in text)


def one_line(text: str) -> str:
    r"""Return the same on one line.

    >>> one_line("two\nlines")
    'two\\nlines'
    """
    return plain(text.replace("\r", "\\r").replace("\n", "\\n"))


def _is_obeyed(sign: str) -> bool:
    return sign not in "\n\t" and unicodedata.category(sign) in OBEYED


def _code(sign: str) -> str:
    units = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[k]:02x}{units[k + 1]:02x}" for k in range(0, len(units), 2))
