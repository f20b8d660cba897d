"""Which examples of which data set a job works on: from a place on, or those that a run does not take."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from icm_engine.core.versions import Cut
from icm_engine.runs.events import Json, RunSpec
from icm_engine.runs.store import Store


@dataclass(frozen=True, slots=True)
class Part:
    """Examples of a data set from a place on; with `beyond`, those of them that this cut does not take."""

    dataset: str
    start: int = 0
    beyond: Cut | None = None

    def to_json(self) -> Json:
        """Return the part as a job's body has it."""
        found = asdict(self)
        return found if self.beyond else {"dataset": self.dataset, "start": self.start}

    @staticmethod
    def from_json(value: Json) -> "Part":
        beyond = value.get("beyond")
        return Part(value["dataset"], value["start"], Cut(**beyond) if beyond else None)

    def places(self, store: Store) -> Sequence[int]:
        """Return the positions of its examples, ascending."""
        places = range(self.start, store.dataset_size(self.dataset))
        if self.beyond is None:
            return places
        taken = set(store.places(self.dataset, self.beyond))
        return [place for place in places if place not in taken]


def rest_of(store: Store, spec: RunSpec) -> list[Part]:
    """Return what a run's limit leaves of its data set, as a part or none."""
    places = store.places(spec.dataset, spec.cut)
    if len(places) == store.dataset_size(spec.dataset):
        return []
    if isinstance(places, range):
        return [Part(spec.dataset, len(places))]
    return [Part(spec.dataset, 0, spec.cut)]
