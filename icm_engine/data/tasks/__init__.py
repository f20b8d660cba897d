"""The tasks for imports: the shipped TOML files in this folder, and custom ones."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from icm_engine.core.errors import SettingError
from icm_engine.data.tasks.spec import TaskSpec, read_task

SHIPPED = (
    "truthfulness", "maths-verification", "preference", "author", "classification", "poem",
    "truthfulness-neutral", "preference-neutral",
    "arithmetic", "facts", "comparisons", "sun",
    "reviews", "reviews-imbalanced", "topics", "requests", "animals", "helpdesk",
)  # fmt: skip
SAMPLE_DATASETS: dict[str, str] = {
    "arithmetic": "Worked answers to small sums, two to four a question, to be told right from wrong.",
    "facts": "Claims about capitals, categories and opposites, exactly one of them true for each question.",
    "comparisons": "Pairs of numbers in both orders: which one is larger?",
    "sun": "Pairs of two-line verses, one of which mentions the sun: a preference that no reader would guess.",
    "reviews": "Short reviews, positive or negative. For real base models.",
    "reviews-imbalanced": "As reviews, with four positive ones to each negative one. For real base models.",
    "topics": "Headlines of four topics: sports, business, science, politics. For real base models.",
    "requests": "Requests, polite or rude. For real base models.",
    "animals": "Pairs of sentences, exactly one of which mentions an animal. For real base models.",
    "helpdesk": "Pairs of messages to and from a help desk: a problem and its answer. For real base models.",
}


@cache
def _shipped(name: str) -> TaskSpec:
    return read_task(Path(__file__).parent / f"{name}.toml")


class _Shipped(Mapping[str, TaskSpec]):
    """The shipped tasks by name, each read on first use."""

    def __getitem__(self, name: str) -> TaskSpec:
        if name not in SHIPPED:
            raise KeyError(name)
        return _shipped(name)

    def __iter__(self) -> Iterator[str]:
        return iter(SHIPPED)

    def __len__(self) -> int:
        return len(SHIPPED)


TASKS: Mapping[str, TaskSpec] = _Shipped()


def task_spec(name: str) -> TaskSpec:
    """Return the shipped task of this name, or the one in a TOML file. Raises SettingError."""
    if name in TASKS:
        return TASKS[name]
    if Path(name).suffix.lower() == ".toml":
        return read_task(name)
    raise SettingError(f"task {name!r} does not exist: use one of {', '.join(TASKS)}, or a file (my_task.toml)")
