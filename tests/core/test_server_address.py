"""The address of a server: its parts, and that no secret can be part of it."""

import json

import pytest

from icm_engine.core.errors import SettingError
from icm_engine.core.server_address import ServerAddress, is_server, server_address
from icm_engine.core.settings import ModelChoice
from icm_engine.runs import control
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://localhost:8000/v1", ServerAddress("http://localhost:8000/v1")),
        (" HTTPS://Host.example/v1/ ", ServerAddress("https://host.example/v1")),
        ("http://[::1]:8000/v1", ServerAddress("http://[::1]:8000/v1")),
        ("http://h:1/api/v1#meta/llama-8b", ServerAddress("http://h:1/api/v1", "meta/llama-8b")),
        (
            "http://h:1/v1#model=a&tokenizer=./dir&context=4096&concurrency=4&timeout=9",
            ServerAddress("http://h:1/v1", "a", "./dir", 4096, 4, 9),
        ),
    ],
)
def test_parts(text: str, address: ServerAddress) -> None:
    assert is_server(text)
    assert server_address(text) == address
    assert address.root == address.base.removesuffix("/v1")


@pytest.mark.parametrize(
    "name", ["sample", "fake", "./httpd", "owner/http", "C:/models", "ftp://h/x", "localhost:80/v1"]
)
def test_other_models_are_no_servers(name: str) -> None:
    assert not is_server(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://me:s3cret@h:1/v1", "a user or a password in it: put a key into ICM_SERVER_KEY"),
        ("http://s3cret@h:1/v1", "a user or a password"),
        ("http://h:1/v1?key=s3cret", "has a query"),
        (
            "http://h:1/v1#key=s3cret",
            "unknown part after #: use model, tokenizer, .* put a key into ICM_SERVER_KEY",
        ),
        ("http://h:1", r"no path: give http://h:1/v1"),
        ("http:///v1", "names no host"),
        ("http://h:port/v1", "cannot be read"),
        ("http://h:1/v1#context=many", "context in the server's address is 'many': use a whole number"),
        ("http://h:1/v1#concurrency=0", "concurrency in the server's address is '0'"),
    ],
)
def test_what_cannot_be_an_address_is_refused_and_no_secret_repeated(text: str, message: str) -> None:
    for refusing in (server_address, lambda model: RunSpec("d", model), ModelChoice):
        with pytest.raises(SettingError, match=message) as caught:
            refusing(text)
        assert "s3cret" not in str(caught.value)


def test_what_belongs_to_the_server_says_so(store: Store, pairs: Dataset) -> None:
    """So that two runs whose quantization was chosen differently are equal, and no record pretends."""
    spec = RunSpec("pairs", "http://h:1/v1", quantization="nf4", dtype="bfloat16", device="cpu")
    assert spec == RunSpec("pairs", "http://h:1/v1", quantization="none", dtype="float32")
    assert (spec.quantization, spec.dtype, spec.device) == ("server",) * 3
    store.add_dataset(pairs)
    run = control.create_run(store, spec)
    assert store.spec(run).quantization == "server"
    assert json.loads(json.dumps(store.spec(run).to_json()))["model"] == "http://h:1/v1"
    assert ModelChoice("sample").quantization == "nf4"
