"""Make a database with the code of whichever version is in PYTHONPATH: `python make.py FILE`. See README.md."""

import sys
from pathlib import Path

from icm_engine.cli.main import main
from icm_engine.core.settings import SearchConfig
from icm_engine.runs import control, worker
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store

path = sys.argv[1]
rows = [f"claims {k // 3},It is {k % 3},{k // 3 % 3 == k % 3}" for k in range(18)]
table = Path(path).with_suffix(".csv")
table.write_text("\n".join(["question,claim,gold", *rows]) + "\n")
words = ["import", str(table), "--db", path, "--task", "truthfulness", "--name", "claims", "--rule", "exactly-one"]
assert main(words) == 0
worker.IDLE = 2.0
with Store(path) as store:
    for limit, steps in ((12, 0), (18, 8)):
        search = SearchConfig(seed=7, max_steps=20)
        run = control.create_run(store, RunSpec("claims", "fake", limit=limit, search=search))
        store.send(run, "step" if steps else "start", f"first of {run}", steps)
        assert worker.main(["--db", path, run]) == 0
        print(control.status(store, run))
    if hasattr(control, "submit_intervention"):
        pin = {"verb": "pin", "examples": [store.dataset("claims").examples[0].id], "labels": ["True"], "text": ""}
        store.send(run, "hand", "a pin", 0, pin)
        assert worker.main(["--db", path, run]) == 0
        assert not store.pending(run)
    for pragma in ("journal_mode = delete", "page_size = 1024"):
        store.db.execute(f"pragma {pragma}")
    store.db.execute("vacuum")
table.unlink()
