"""Lists, objects and conversations in a cell: as JSON, as Python writes them, or as transcripts."""

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LONGEST = 1_000_000  # characters of a cell that Python's own way of writing is tried on
_STRING = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant|System): ?")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `role` is user, assistant, human, or another of the file's."""

    role: str
    text: str


def nested(cell: str) -> Any:
    """Return the list or object that a cell holds, None if it holds neither."""
    text = cell.strip()
    if text[:1] not in ("[", "{") or text[-1:] not in ("]", "}"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _as_python_writes(text) if len(text) <= LONGEST else None


def _as_python_writes(text: str) -> Any:
    """A list or an object as `print` writes it; numpy leaves out the commas between texts."""
    inner = text[1:-1]
    if text[0] == "[" and (found := _STRING.findall(inner)) and not re.sub(r"[\s,]", "", _STRING.sub("", inner)):
        text = f"[{', '.join(found)}]"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None


def texts_in(cell: str) -> list[str] | None:
    """Return the texts of a list in a cell, None if it holds no list of texts, numbers, or truth values."""
    found = nested(cell)
    if not isinstance(found, list) or any(isinstance(item, list | dict) for item in found):
        return None
    return ["" if item is None else str(item) for item in found]


def messages_in(cell: str) -> list[Message] | None:
    """Return the conversation in a cell, None if it holds none."""
    found = nested(cell)
    if isinstance(found, dict):
        found = [found]
    if isinstance(found, list) and found:
        made = [_message(item) for item in found]
        return None if None in made else [message for message in made if message is not None]
    return _transcript(cell)


def _message(item: Any) -> Message | None:
    """One object with a role and a text, by either of the usual names."""
    if not isinstance(item, dict):
        return None
    role, text = item.get("role", item.get("from")), item.get("content", item.get("value"))
    if isinstance(text, list):  # the parts of a message that may have pictures
        parts = [part.get("text") for part in text if isinstance(part, dict)]
        text = "".join(map(str, parts)) if len(parts) == len(text) and None not in parts else None
    if not isinstance(role, str) or not isinstance(text, str):
        return None
    return Message(role.casefold(), text)


def _transcript(cell: str) -> list[Message] | None:
    """The turns of a text like "Human: ...", blank line, "Assistant: ..."; the text before the first is none."""
    if not re.match(r"\s*(?:Human|System): ?", cell) or "\n\nAssistant:" not in cell:
        return None
    pieces = _TURN.split(cell)[1:]
    turns = zip(pieces[0::2], pieces[1::2], strict=True)
    return [Message(role.casefold(), text.strip()) for role, text in turns]


def shown(messages: Sequence[Message]) -> str:
    """Return a conversation as one text: a single message as it is, several with their roles."""
    if len(messages) == 1:
        return messages[0].text
    return "\n\n".join(f"{message.role.capitalize()}: {message.text}" for message in messages)


def reply(messages: Sequence[Message]) -> str:
    """Return a conversation that goes on after a query as one text: its first turn without the role."""
    rest = "".join(f"\n\n{message.role.capitalize()}: {message.text}" for message in messages[1:])
    return messages[0].text + rest if messages[0].role == "assistant" or not rest else shown(messages)
