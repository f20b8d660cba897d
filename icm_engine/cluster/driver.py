"""The job that runs other runs and jobs on a Ray cluster.

This process has no model and no gold. Each run or job is a Ray task with a model of its own; an actor beside this
process is the only writer of the database. Ray decides where a task runs, how many run at once, and restarts a task
whose machine is lost; the log makes it continue from its last step.
"""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from icm_engine import jobs
from icm_engine.cluster import LOCAL, ClusterSpec, require_ray
from icm_engine.core.errors import RunBusy, RunError, SettingError
from icm_engine.jobs import scheduler
from icm_engine.jobs.job_process import Job
from icm_engine.runs.lease import claim, holds, this_process
from icm_engine.store.events import Json
from icm_engine.store.store import Store

AUTO = "auto"  # the cluster that this machine belongs to
ANSWER = 10.0  # seconds to wait for the head of a cluster
LOST = 10  # times a run may lose its machine and continue elsewhere before it counts as failed
LOOK = 1.0  # seconds between two looks at commands
LOCAL_OBJECTS = 100 * 2**20  # bytes of Ray's shared memory, which only bundles pass through
# read by Ray on import: no telemetry; no restarts of workers that run out of memory,
# which would never end; a local cluster stays on the loopback address
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_task_oom_retries": str(LOST)}
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


# -- the job's process


def on_ray(job: Job) -> Json:
    """Take each named run and job as far as it goes on the cluster; return what failed, and why."""
    where, names = ClusterSpec(**job.spec.body["where"]), job.spec.body["names"]
    try:
        with _connected(where) as ray:
            waiting = [name for name in dict.fromkeys(names) if not scheduler.is_done(job.store, name)]
            tasks = _submit(ray, job, where, waiting)
            job.ready({"ray": ray.__version__, "machines": len(_machines(ray))})
            failed = _collect(ray, job, tasks)
    finally:
        _let_go(job.store, names)
    return {"names": names, "failed": failed}


def _let_go(store: Store, names: Sequence[str]) -> None:
    """Release leases still in this process's name; their workers are gone and cannot append."""
    here = this_process()
    for name in names:
        if (row := store.lease_row(name)) is not None and holds(here, row):
            store.drop_lease(name, row["token"])


def _submit(ray: Any, job: Job, where: ClusterSpec, names: Sequence[str]) -> dict[Any, str]:
    """Submit every name as a task; Ray starts them as there is room."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from icm_engine.cluster.remote_worker import RemoteStoreClient, work
    from icm_engine.cluster.store_server import StoreServer

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    keeper = (
        ray.remote(StoreServer)
        .options(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)
        .remote(job.store.path.resolve(), this_process())
    )
    home, gpus = RemoteStoreClient(keeper), {name: _gpus(ray, job.store, name, where) for name in names}
    _require_room(ray, where.cpus_each, gpus)
    kinds = {
        # a process with a GPU ends with its task, or its model would still be loaded for the next one
        share: ray.remote(
            num_cpus=where.cpus_each,
            num_gpus=share,
            max_calls=1 if share else 0,
            max_retries=LOST,
            scheduling_strategy="SPREAD",
        )(work)
        for share in set(gpus.values())
    }
    for name in names:
        scheduler.resume_or_start(job.store, name)
    return {kinds[gpus[name]].options(name=name).remote(home, name): name for name in names}


def _gpus(ray: Any, store: Store, name: str, where: ClusterSpec) -> float:
    """The number of GPUs that a run or job asks for."""
    if where.gpus is not None:
        return where.gpus
    spec = store.spec(name) if store.has_run(name) else jobs.spec(store, name).model
    may = spec is not None and spec.model != "fake" and spec.device != "cpu"
    return float(may and ray.cluster_resources().get("GPU", 0) > 0)


def _require_room(ray: Any, cpus: int, asked: dict[str, float]) -> None:
    """Raise SettingError for resources that no machine of the cluster has; Ray would wait for them forever."""
    machines = [machine["Resources"] for machine in _machines(ray)]
    for name, gpus in asked.items():
        if not any(has.get("CPU", 0) >= cpus and has.get("GPU", 0) >= gpus for has in machines):
            raise SettingError(
                f"{name!r} asks for {cpus} CPUs and {gpus:g} GPUs, which none of the {len(machines)} machines of the "
                "cluster has: ask for less (--ray-cpus, --ray-gpus), or add a machine (ray start --address=...)"
            )


def _machines(ray: Any) -> list[Json]:
    return [machine for machine in ray.nodes() if machine["Alive"]]


def _collect(ray: Any, job: Job, tasks: dict[Any, str]) -> dict[str, str]:
    """Wait for all tasks; return failures with reasons. Ray handles lost machines."""
    failed, waiting, told = dict[str, str](), list(tasks), ""
    while waiting:
        job.stop_if_cancelled()  # Ray ends the tasks with this process; every run is at its last step
        finished, waiting = ray.wait(waiting, timeout=LOOK)
        for task in finished:
            if message := _outcome(ray, job.store, task, tasks[task]):
                failed[tasks[task]] = message
        words = _words(job.store, [tasks[task] for task in waiting])
        if finished or words != told:
            told = words
            job.append("progress", {"done": len(tasks) - len(waiting), "total": len(tasks), "words": words})
    return failed


def _words(store: Store, names: Sequence[str]) -> str:
    held = sum(store.lease_row(name) is not None for name in names)
    return f"{held} at work on the cluster, {len(names) - held} waiting for room"


def _outcome(ray: Any, store: Store, task: Any, name: str) -> str:
    """Why a run or job did not finish, empty if it did; logs the failure if its worker could not."""
    from ray.exceptions import RayError, RayTaskError

    try:
        ray.get(task)
    except RayTaskError as error:
        if isinstance(error.cause, RunBusy):  # held by a local worker, or one of another job
            return scheduler.missing(store, name) and str(error.cause)
        _write_down(store, name, error.cause)
    except RayError as error:
        lost = f"its worker was lost, and {LOST} more in its place ({type(error).__name__}): see the job's log"
        _write_down(store, name, RunError(lost))
    return scheduler.missing(store, name)


def _write_down(store: Store, name: str, error: Exception) -> None:
    """Append `failed` to a run or job whose remote worker could not, unless another process holds it."""
    body = {"error": type(error).__name__, "message": str(error) or type(error).__name__}
    try:
        token = claim(store, name, proxy=this_process())
    except RunBusy:
        return
    if not scheduler.is_done(store, name):
        store.answer(name, store.pending(name), "failed", body, token)
    store.drop_lease(name, token)


# -- the cluster


@contextmanager
def _connected(where: ClusterSpec) -> Iterator[Any]:
    """A connection to Ray; at its end all tasks of this process are cancelled and a local cluster is shut down."""
    require_ray(where)
    for name, value in {**QUIET, **(LOOPBACK if where.address == LOCAL else {})}.items():
        os.environ.setdefault(name, value)
    if where.address not in (LOCAL, AUTO):
        _require_answer(where.address)
    import ray

    own: Json = {
        "num_cpus": where.cpus_each * where.side_by_side,
        "include_dashboard": False,
        "object_store_memory": LOCAL_OBJECTS,
    }
    try:
        ray.init(where.address, logging_level="warning", **(own if where.address == LOCAL else {}))
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise _no_cluster(where.address, error) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Check that somebody listens at HOST:PORT; Ray itself would try for minutes. Raises SettingError."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER).close()
    except (OSError, ValueError) as error:
        raise _no_cluster(address, error) from None


def _no_cluster(address: str, error: Exception) -> SettingError:
    return SettingError(
        f"no Ray cluster at {address!r} that this machine belongs to ({error}): "
        "`ray start --address=HOST:PORT` makes it one of a cluster's, --ray local needs none"
    )
