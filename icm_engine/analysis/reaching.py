"""Whether a server is there, before a page asks a worker to use it: a look at its port, in a moment."""

import socket
from urllib.parse import urlsplit
from urllib.request import getproxies

from icm_engine.core.errors import ServerUnavailable
from icm_engine.core.server_address import is_server, server_address

SECONDS = 3.0


def require_server(model: str) -> None:
    """Raise ServerUnavailable if a model is behind a server that nobody answers for, SettingError for a bad address.

    Where connections go through a proxy nothing can be said beforehand; the worker will.
    """
    if not is_server(model):
        return
    base = server_address(model).base
    url = urlsplit(base)
    port = url.port or (443 if url.scheme == "https" else 80)
    if url.scheme in getproxies():
        return
    try:
        socket.create_connection((url.hostname or "", port), SECONDS).close()
    except OSError as error:
        raise ServerUnavailable(
            f"server {base} does not answer ({error.strerror or error}): start it, or correct its address"
        ) from None
