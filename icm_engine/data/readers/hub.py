"""A data set of the Hugging Face hub, through the optional `datasets` library; its code is never run."""

from collections.abc import Iterator
from typing import Any

from icm_engine.core.errors import HubError, ImportRefused
from icm_engine.core.resources import install_command
from icm_engine.data.readers.arrow_files import chosen_split
from icm_engine.data.readers.arrow_rows import BATCH, ArrowSource

PREFIX = "hub:"


class HubSource(ArrowSource):
    """One split of a data set of the hub, downloaded once into the library's own cache."""

    kind = "hub"

    def __init__(self, name: str, split: str | None) -> None:
        owner, _, subset = _parts(name)
        loaded = _load(name, f"{owner}/{_parts(name)[1]}", subset, split)
        if split is None:
            loaded = loaded[chosen_split(list(loaded), None, name)]
        self.table = loaded.with_format("arrow")
        super().__init__(name, loaded.features.arrow_schema, loaded.num_rows)

    def batches(self) -> Iterator[Any]:
        for table in self.table.iter(BATCH):
            yield from table.combine_chunks().to_batches()


def _parts(name: str) -> tuple[str, str, str | None]:
    """Owner, name and subset of "hub:owner/name/subset". Raises ImportRefused."""
    parts = name.removeprefix(PREFIX).split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise ImportRefused(f"{name}: a data set of the hub is named hub:owner/name or hub:owner/name/subset")
    return parts[0], parts[1], parts[2] if len(parts) == 3 else None


def _load(name: str, identity: str, subset: str | None, split: str | None) -> Any:
    """What the library loads. Raises HubError where it is missing, or for whatever it or the network says."""
    try:
        import datasets
    except ImportError:
        raise HubError(
            f"{name}: reading the hub needs the datasets library, which is not installed: "
            f"install it (python -m {install_command('hub')}), or download the files"
        ) from None
    try:
        return datasets.load_dataset(identity, subset, split=split)
    except Exception as error:  # the library's, the hub client's and the network's have no common class
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise HubError(f"{name}: the hub did not give it ({said}): check the name, the split and the network") from None
