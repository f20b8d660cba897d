"""Send a run's labels to the hub: by an explicit command alone, into a private repository unless asked otherwise."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from icm_engine.core.errors import HubError
from icm_engine.data.export import export_folder
from icm_engine.data.labelled import read_labels
from icm_engine.runs.store import Store

Upload = Callable[[Path, str, bool, bool], str]


def upload_folder(folder: Path, repo: str, public: bool, update: bool) -> str:
    """Upload a folder as a data set repository and return its address: the one place that talks to the hub.

    Raises HubError without a token, for a name that cannot be, a repository that exists (unless `update`), or where
    the hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.errors import HTTPError as NetworkError  # type: ignore[attr-defined]  # its client's own

    if get_token() is None:
        raise HubError("there is no token of the hub: log in with `hf auth login`, or set HF_TOKEN")
    try:
        made = HfApi().create_repo(repo, repo_type="dataset", private=not public, exist_ok=update)
        HfApi().upload_folder(repo_id=made.repo_id, folder_path=folder, repo_type="dataset")
    except HFValidationError:
        raise HubError(f"repository {repo!r} is no name the hub takes: use OWNER/NAME") from None
    except HfHubHTTPError as error:
        raise HubError(_refused(repo, error.response.status_code, str(error))) from None
    except (NetworkError, OSError) as error:
        raise HubError(f"the hub cannot be reached ({error}): check the network, then push again") from None
    return str(made)


def push_run(
    store: Store,
    run: str,
    repo: str,
    public: bool = False,
    update: bool = False,
    gold: bool = False,
    human: bool = False,
    upload: Upload = upload_folder,
) -> tuple[str, int]:
    """Upload the folder that `export --format datasets` writes; return the repository's address and the rows.

    Raises NotFound, HubError.
    """
    labels = read_labels(store, run)
    with TemporaryDirectory(prefix="icm-push-") as place:
        folder = Path(place) / "folder"
        exported = export_folder(store, labels, folder, gold, human)
        return upload(folder, repo, public, update), exported.rows


def _refused(repo: str, status: int, message: str) -> str:
    if status == 409:
        return f"repository {repo!r} exists already: name another, or add to it with --update"
    if status in (401, 403):
        return (
            f"the hub does not let this token write to {repo!r} ({status}): log in with one that may (`hf auth login`)"
        )
    return f"the hub refused repository {repo!r} ({status}: {message}): nothing else was tried"
