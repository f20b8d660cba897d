"""Pushing to the hub, up to the network and not beyond: what is sent, and what is refused."""

from pathlib import Path
from typing import Any, cast

import pytest

from icm_engine.cli.main import main
from icm_engine.core.errors import HubError, NotFound
from icm_engine.data import export
from icm_engine.data.export import push_run, upload_folder
from icm_engine.store.store import Store
from tests.support.stores import add_run


class FakeHub:
    """Keeps what would have been uploaded."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bool, bool]] = []
        self.files: dict[str, bytes] = {}

    def __call__(self, folder: Path, repo: str, public: bool, update: bool) -> str:
        self.calls.append((repo, public, update))
        self.files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        return f"https://hub/{repo}"


def test_what_is_pushed_is_the_folder_that_export_writes(store: Store) -> None:
    run, hub = add_run(store, "finished", 40), FakeHub()
    assert push_run(store, run, "me/labels", upload=hub) == ("https://hub/me/labels", 18)
    assert hub.calls == [("me/labels", False, False)]  # private, and nothing there is touched
    assert set(hub.files) == {
        "README.md", "run.json", "labels/train.parquet", "sft/train.parquet", "preference/train.parquet",
    }  # fmt: skip
    assert b"icm_gold" not in b"".join(hub.files.values())
    push_run(store, run, "me/labels", gold=True, upload=hub)
    assert b"icm_gold" in hub.files["labels/train.parquet"]


def test_a_run_that_does_not_exist_is_not_pushed(store: Store) -> None:
    hub = FakeHub()
    with pytest.raises(NotFound):
        push_run(store, "moon-1", "me/labels", upload=hub)
    assert hub.calls == []


def test_without_a_token_nothing_is_sent(store: Store, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.setattr("huggingface_hub.HfApi", None)  # not even made
    run = add_run(store, "finished", 10)
    assert main(["push", run, "--repo", "me/labels", "--db", str(store.path)]) == 1
    assert "icm: there is no token for the hub: log in with `hf auth login`, or set HF_TOKEN" in capsys.readouterr().err


class _Answer:
    def __init__(self, status: int) -> None:
        self.status_code = status


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (409, "exists already: name another, or add to it with --update"),
        (401, "does not let this token write to 'me/labels' .401."),
        (403, "does not let this token write to 'me/labels' .403."),
        (500, "refused repository 'me/labels' .500: "),
        (OSError("no route to host"), "cannot be reached .no route to host.: check the network"),
    ],
)
def test_refusals_of_the_hub_are_said_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: int | OSError, words: str
) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    def refuse(*_: object, **__: object) -> None:
        if isinstance(raised, OSError):
            raise raised
        error = HfHubHTTPError.__new__(HfHubHTTPError)  # without a request there is no response to make one from
        error.args, error.response = ("server error",), cast("Any", _Answer(raised))
        raise error

    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_test")
    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", refuse)
    with pytest.raises(HubError, match=words):
        upload_folder(tmp_path, "me/labels", public=False, update=False)


def test_a_name_that_cannot_be_is_refused_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_test")
    with pytest.raises(HubError, match="'a/b/c' is not a name"):
        upload_folder(tmp_path, "a/b/c", public=False, update=False)


def test_the_command_line_pushes(store: Store, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    hub, run = FakeHub(), add_run(store, "finished", 10)
    monkeypatch.setattr(export.push_run, "__defaults__", (False, False, False, False, hub))
    command = ["push", run, "--repo", "me/labels", "--public", "--update", "--db", str(store.path), "--json"]
    assert main(command) == 0
    assert '"url": "https://hub/me/labels"' in capsys.readouterr().out
    assert hub.calls == [("me/labels", True, True)]
