"""Runs on a Ray cluster of two machines, each a raylet with workers of its own on this one; and one of them killed."""

import json
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from icm_engine import cluster as ray_cluster
from icm_engine import jobs
from icm_engine.cluster import ClusterSpec
from icm_engine.cluster import driver as cluster_driver
from icm_engine.core.custom_rules import rule_reference
from icm_engine.core.settings import SearchConfig
from icm_engine.runs import control, worker
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store
from tests.support.command_line import icm
from tests.support.remote_work import SPEC, local, log, use_job
from tests.support.stores import small_dataset

pytestmark = pytest.mark.cluster
RULE = """
from icm_engine.core.consistency import Rule

class SameGroup(Rule):
    def key(self, example):
        return example.group

    def consistent(self, i, j, labeling):
        return labeling[i] == labeling[j]
"""
STEPS = 120
OBJECTS = 80 * 2**20  # bytes: the least that Ray takes for its shared memory


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head without processors, where the job's own process belongs, and two machines with one each."""
    token = tmp_path_factory.mktemp("ray") / "token"
    token.write_text(uuid.uuid4().hex)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            **cluster_driver.QUIET, **cluster_driver.LOOPBACK,
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token),
        }.items():  # fmt: skip
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": OBJECTS}
        made = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            made.add_node(num_cpus=1, object_store_memory=OBJECTS)
        yield made
        made.shutdown()


def long_run(store: Store, seed: int, steps: int = STEPS) -> str:
    return control.create_run(store, RunSpec("pairs", "fake", search=SearchConfig(seed=seed, max_steps=steps)))


def wait_for(found: Callable[[], Any]) -> Any:
    """Wait until `found()` is something; the tests' own limit is what ends it."""
    while not (value := found()):
        time.sleep(0.05)
    return value


def at_work(store: Store, run: str) -> psutil.Process:
    """The process on the cluster that has a run."""
    lease = store.lease_row(run)
    assert lease is not None
    return psutil.Process(int(lease["log"].split()[1]))


def test_a_lost_machine_costs_the_step_in_progress(store: Store, pairs: Dataset, cluster: Any) -> None:
    """Three runs, two machines, one of them killed in the middle of a run: all finish, with the logs of local runs, and
    the copy that it had of the examples is taken away by who works there next.

    A fourth run cannot work anywhere (its rule file is gone): it fails with its reason, and the others do not.
    """
    store.add_dataset(pairs)
    rule = store.path.with_name("rule.py")
    rule.write_text(RULE)
    runs = [long_run(store, seed) for seed in range(3)]
    spec = replace(store.spec(runs[0]), rule=rule_reference(rule))
    broken = control.create_run(store, spec)
    rule.unlink()
    job = ray_cluster.hand_over(store, [broken, *runs], ClusterSpec(cluster.address))

    most = list[int]()

    def held() -> list[str]:
        """The runs that have a worker; the one of a lost machine counts until another takes its place."""
        found = [run for run in (broken, *runs) if store.lease_row(run) is not None]
        most[:] = [max([len(found), *most])]
        return found

    victim = wait_for(lambda: next((run for run in held() if 10 <= control.status(store, run).steps < STEPS / 2), None))
    lease = store.lease_row(victim)
    assert lease is not None
    working = at_work(store, victim)
    working.suspend()  # so that it is in the middle of the run that its machine goes
    copied = f".icm-copy.{working.pid}_*"
    assert list(Path(tempfile.gettempdir()).glob(copied))
    kill_machine(cluster, working.ppid())
    working.kill()
    assert 10 < store.last_number(victim) < STEPS
    wait_for(lambda: victim in held() and store.lease_token(victim) != lease["token"])  # it goes on elsewhere
    wait_for(lambda: held() is not None and jobs.status(store, job).settled)
    assert most == [2]  # as many at once as there were processors
    found = jobs.result(store, job)
    assert found is not None
    assert list(found["failed"]) == [broken]
    assert "rule.py cannot be read" in found["failed"][broken]
    assert control.status(store, broken).phase == "failed"
    for run in runs:
        assert control.status(store, run).phase == "finished"
        assert store.lease_row(run) is None
        assert log(store, run) == local(store, store.spec(run))
    assert not list(Path(tempfile.gettempdir()).glob(copied))
    cluster.add_node(num_cpus=1, object_store_memory=OBJECTS)


def kill_machine(cluster: Any, raylet: int) -> None:
    """Kill every process of the machine that has this raylet, at once."""
    (node,) = [one for one in cluster.worker_nodes if one.all_processes["raylet"][0].process.pid == raylet]
    cluster.remove_node(node, allow_graceful=False)
    assert not psutil.pid_exists(raylet)


def test_restarts_and_commands_on_the_cluster(
    store: Store, pairs: Dataset, cluster: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two chains from the command line, one of them paused and pinned on its way and resumed by the same command."""
    store.add_dataset(pairs)
    asked = ("run", "--dataset", "pairs", "--model", "fake", "--seed", 7, "--steps", 100, "--restarts", 2,
             "--ray", cluster.address, "--json")  # fmt: skip
    code, out, err = icm(capsys, *asked, "--detach")
    assert code == 0, err
    first, second = json.loads(out)["runs"]
    wait_for(lambda: control.status(store, first).steps > 5)
    control.submit_intervention(store, first, "pin", ["e3"], ["False"])
    control.pause(store, first)
    wait_for(lambda: control.status(store, first).phase == "paused")
    assert [event.body["acts"][0]["verb"] for event in store.read_after(first, kinds=("hand",))] == ["pin"]
    assert not store.pending(first)
    control.resume(store, first)  # its place was given back: it goes on here
    code, out, err = icm(capsys, *asked)
    assert code == 0, err
    shown = json.loads(out)
    assert [row["status"] for row in shown["restarts"]] == ["finished"] * 2
    assert shown["run"] == second  # a chain that a person changed is not proposed
    chain = store.spec(second)
    assert log(store, second) == local(store, chain)


@pytest.mark.smoke
def test_the_use_of_labels_and_one_run_on_the_cluster(
    store: Store, cluster: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    small_dataset(store)
    small_dataset(store, "more", groups=3)
    code, out, err = icm(capsys, "run", "--dataset", "sums", "--model", "fake", "--limit", 9, "--seed", 3, "--steps",
                         60, "--preset", "mean-log-odds", "--ray", cluster.address, "--json")  # fmt: skip
    assert code == 0, err
    run = json.loads(out)["run"]
    assert log(store, run) == local(store, replace(SPEC, limit=9))
    job = use_job(store, run)
    driver = ray_cluster.hand_over(
        store, [job, run], ClusterSpec(cluster.address)
    )  # the run is done, and is left alone
    assert jobs.wait_until_settled(store, driver).phase == "done"
    assert jobs.result(store, driver) == {"names": [job, run], "failed": {}}
    found = jobs.result(store, job)
    assert found is not None
    assert len(found["examples"]) == 8


def test_what_no_machine_has_is_refused(store: Store, pairs: Dataset, cluster: Any) -> None:
    store.add_dataset(pairs)
    run = long_run(store, 0)
    job = ray_cluster.hand_over(store, [run], ClusterSpec(cluster.address, gpus=1))
    now = jobs.wait_until_settled(store, job)
    assert now.phase == "failed"
    assert "asks for 1 CPUs and 1 GPUs, which none of the 3 machines" in now.message
    assert (control.status(store, run).phase, store.pending(run)) == ("created", [])


def test_a_driver_that_ends_leaves_runs_at_their_last_step(store: Store, pairs: Dataset, cluster: Any) -> None:
    """Killed, then started again, then cancelled; the run goes on there, then here, and its log shows none of it."""
    store.add_dataset(pairs)
    run = long_run(store, 5, steps=600)
    job = ray_cluster.hand_over(store, [run], ClusterSpec(cluster.address))
    wait_for(lambda: control.status(store, run).steps > 5)
    driver = jobs.status(store, job).pid
    assert driver is not None
    psutil.Process(driver).kill()
    wait_for(lambda: control.status(store, run).phase == "interrupted")
    assert jobs.status(store, job).phase == "interrupted"
    known = store.last_number(run)
    jobs.start(store, job)
    wait_for(lambda: store.last_number(run) > known + 5)
    working = at_work(store, run)
    working.suspend()  # a fast machine would finish the run before the job looks whether it is cancelled
    jobs.cancel(store, job)
    assert jobs.wait_until_settled(store, job).phase == "cancelled"
    with suppress(psutil.NoSuchProcess):  # Ray may have ended it already
        working.kill()
    assert control.status(store, run).phase == "interrupted"
    assert worker.run_in_process(store, run, idle=0.0) == 0
    assert log(store, run) == local(store, store.spec(run))
