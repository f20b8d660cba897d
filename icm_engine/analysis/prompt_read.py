"""The exact prompt that the model read about the drawn example, built again and held against the hash in the log."""

import hashlib
from dataclasses import dataclass

from icm_engine.analysis.reading import Reading
from icm_engine.analysis.travel import Moment
from icm_engine.core.labeling import Labeling
from icm_engine.core.scoring import no_scorer


@dataclass(frozen=True, slots=True)
class PromptRead:
    """A prompt with its demonstrations; `matches` says whether its hash is the recorded one, None if none was."""

    text: str
    demonstrations: int
    sha256: str
    matches: bool | None

    @property
    def sentence(self) -> str:
        """What is known of it, in words."""
        shown = f"{self.demonstrations:,} demonstrations, then the drawn example; {len(self.text):,} characters."
        if self.matches is None:
            return f"{shown} The log has no hash to hold it against."
        if self.matches:
            return f"{shown} Its hash is the one in the log: this is what the model read."
        return f"{shown} Its hash is not the one in the log: this is not what the model read."


def prompt_read(reading: Reading, moment: Moment) -> PromptRead:
    """Return the prompt of a `step` event; where scores were reused, the one they were first asked for with."""
    body, labeling = moment.body, moment.before.labeling if moment.before else Labeling()
    objective = reading.run.objective(moment.config, no_scorer())
    prompt = objective.asked(labeling, reading.run.codec.index(body["example"]), body.get("reused", False))
    found = hashlib.sha256(prompt.text.encode()).hexdigest()
    recorded = body["prompt_sha256"]
    return PromptRead(prompt.text, len(prompt.segments) - 1, found, found == recorded if recorded else None)
