"""What is evident to a reader of a file where no name says it: the one column that is text, the one that has labels."""

from collections.abc import Sequence

from icm_engine.data.column_names import ANSWER_NAMES, looks_like_labels, plain
from icm_engine.data.label_columns import Look
from icm_engine.data.labels import folded, is_truth_word
from icm_engine.data.readers.source import NoText
from icm_engine.data.tasks.spec import TaskSpec

# words in the names of texts that stand beside another one
BESIDE = frozenset(
    ("title", "headline", "subject", "summary", "author", "name", "user", "username", "source", "url", "link", "date",
     "time", "timestamp", "created", "topic", "category", "categories", "type", "tag", "tags", "genre", "domain",
     "comments", "notes", "explanation", "rationale", "reason", "annotator")
)  # fmt: skip
# words in the names of texts, where all of them are single words
TEXTS = frozenset(
    ("text", "sentence", "content", "review", "comment", "message", "tweet", "body", "post", "document", "utterance",
     "passage", "statement", "headline", "title", "word", "phrase", "input")
)  # fmt: skip
NOT_GOLD = frozenset(
    ("model", "output", "baseline", "guess", "pred", "preds", "prediction", "predictions", "predicted")
)
LONG = 8  # letters of a text in a script that writes no blanks


def sole_text(spec: TaskSpec) -> str | None:
    """Return the field that a task cannot do without, None where there are several."""
    required = [field for field in spec.fields if field not in spec.optional]
    return required[0] if len(required) == 1 else None


def evident_text(columns: Sequence[str], look: Look) -> str | None:
    """Return the one of these columns that is text by its cells; None for none or several.

    A title, a name or a note is the text only where no other column is.
    """
    free = [c for c in columns if plain(c) in ANSWER_NAMES or not looks_like_labels(c)]
    texts = [c for c in free if _is_text(look.cells(c))]
    main = [c for c in texts if not _words(c) & BESIDE] or texts
    if not texts:
        main = [c for c in free if _words(c) & TEXTS and all(map(_has_letter, look.cells(c) or [""]))]
    return main[0] if len(main) == 1 else None


def evident_labels(columns: Sequence[str], look: Look) -> list[str]:
    """Return those of these columns that have nothing but the task's labels, and no name of a guess.

    Where nobody named them, words for true and false are no evidence: many columns that are not gold have them.
    """
    names = {folded(label) for label in look.labels}
    if not names or (look.spec.labels and all(map(is_truth_word, names))):
        return []
    return [c for c in columns if not _words(c) & NOT_GOLD and {*map(folded, look.cells(c))} <= names and look.cells(c)]


def _is_text(cells: Sequence[str]) -> bool:
    """Whether most cells have several words, and most are not repeated, as those of categories are."""
    texts = [cell for cell in cells if not isinstance(cell, NoText) and _has_words(cell)]
    return bool(cells) and 2 * len(texts) >= len(cells) and 2 * len(set(cells)) > len(cells)


def _has_words(cell: str) -> bool:
    foreign = sum(letter.isalpha() and not letter.isascii() for letter in cell)
    return _has_letter(cell) and (len(cell.split()) > 1 or foreign >= LONG)


def _has_letter(cell: str) -> bool:
    return any(map(str.isalpha, cell))


def _words(column: str) -> set[str]:
    return set(plain(column).replace(",", "_").split("_"))
