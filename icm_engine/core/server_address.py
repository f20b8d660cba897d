"""The address of a model server, written in place of a model's name; it never contains a secret.

http://HOST:PORT/v1                        the server's only model
http://HOST:PORT/v1#NAME                   one of several
http://HOST:PORT/v1#model=NAME&tokenizer=DIR&context=4096&concurrency=16&timeout=300
"""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from icm_engine.core.errors import SettingError
from icm_engine.core.text import whole_number

KEY = "ICM_SERVER_KEY"  # the environment variable of the API key
OWN = "server"  # stands for quantization, dtype and device, which are the server's own
OPTIONS = ("model", "tokenizer", "context", "concurrency", "timeout")
CONCURRENCY = 16  # requests in flight
TIMEOUT = 300  # seconds for one answer, which may queue behind other requests


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A server's location and options; `context` in tokens, `timeout` in seconds, None: the server's own."""

    base: str
    model: str | None = None
    tokenizer: str | None = None
    context: int | None = None
    concurrency: int = CONCURRENCY
    timeout: int = TIMEOUT

    @property
    def root(self) -> str:
        """The address without the API's /v1, where vLLM serves its version, tokenizer and metrics."""
        return self.base.removesuffix("/v1")


def is_server(model: str) -> bool:
    """Say whether a model's name is a server address."""
    return re.match(r"\s*https?:", model, re.IGNORECASE) is not None


def server_address(model: str) -> ServerAddress:
    """Return the parts of an address. Raises SettingError without repeating what may be a secret."""
    try:
        url = urlsplit(model.strip())
        host, port = url.hostname, url.port
    except ValueError as error:
        raise SettingError(f"the server's address cannot be read ({error}): give http://HOST:PORT/v1") from None
    if url.username is not None or url.password is not None or "@" in url.netloc:
        raise SettingError(f"the server's address has a user or a password in it: put a key into {KEY} instead")
    if url.query:
        raise SettingError(f"the server's address has a query (?...): leave it out, and put a key into {KEY} instead")
    if not host:
        raise SettingError("the server's address names no host: give http://HOST:PORT/v1")
    path, place = url.path.rstrip("/"), f"[{host}]" if ":" in host else host
    base = f"{url.scheme.lower()}://{place}" + (f":{port}" if port else "")
    if not path:
        raise SettingError(
            f"server address {base!r} has no path: give {base}/v1, or what your server's API begins with"
        )
    return ServerAddress(base + path, **_options(url.fragment))


def _options(fragment: str) -> dict[str, Any]:
    if "=" not in fragment:
        return {"model": fragment} if fragment else {}
    options: dict[str, Any] = {}
    for name, value in parse_qsl(fragment, keep_blank_values=True):
        if name not in OPTIONS:
            raise SettingError(
                f"the server's address has an unknown part after #: use {', '.join(OPTIONS)}; put a key into {KEY}"
            )
        options[name] = value if name in ("model", "tokenizer") else _count(name, value)
    return options


def _count(name: str, value: str) -> int:
    if not (number := whole_number(value)):
        raise SettingError(f"{name} in the server's address is {value[:40]!r}: use a whole number of 1 or more")
    return number


def settle_server(choice: object, model: str) -> None:
    """Check the address in a frozen model choice, and record there that the server decides weights and device.

    Makes the choice safe to store, in a run's spec or a job's. Raises SettingError.
    """
    if is_server(model):
        server_address(model)
        for name in ("quantization", "dtype", "device"):
            object.__setattr__(choice, name, OWN)
