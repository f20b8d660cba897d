"""Ray from the outside: the choice of a cluster, and jobs handed to it. The rest of the project imports only this."""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from icm_engine import jobs
from icm_engine.core.errors import SettingError
from icm_engine.core.resources import install_command
from icm_engine.store.store import Store

KIND = "ray"
LOCAL = "local"  # in place of an address: a cluster on this machine for the duration of the job


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """A Ray cluster (HOST:PORT, `auto` or `local`), and the resources that each run asks for.

    `gpus` None means one GPU if the cluster has any and the run may use it. `side_by_side` applies to `local` alone; a
    real cluster takes as many runs at once as its machines have room for.
    """

    address: str
    cpus: int | None = None
    gpus: float | None = None
    side_by_side: int = 2

    @property
    def cpus_each(self) -> int:
        """Processors, and threads, per run: on `local` a fair share, else 1 unless asked otherwise."""
        share = max(1, (os.cpu_count() or 1) // self.side_by_side) if self.address == LOCAL else 1
        return self.cpus or share


def require_ray(where: ClusterSpec) -> None:
    """Raise SettingError if Ray is not installed or the address is invalid."""
    if importlib.util.find_spec("ray") is None:
        raise SettingError(f"Ray is not installed: python -m {install_command('ray')}, or leave out --ray")
    if where.address.startswith("ray://"):
        raise SettingError(
            f"address {where.address!r} is a Ray client address: the database stays here, so this machine must be one "
            "of the cluster's (ray start --address=HOST:PORT --num-cpus=0); then use --ray HOST:PORT"
        )


def hand_over(store: Store, names: Sequence[str], where: ClusterSpec) -> str:
    """Start a job that does these runs and jobs on a cluster, and return its name. Raises SettingError without Ray."""
    require_ray(where)
    return jobs.request(store, jobs.JobSpec(KIND, {"names": list(names), "where": asdict(where)}))
