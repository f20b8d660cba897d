"""What a server says of its prefix cache: vLLM's /metrics, for benchmarks."""

import re
from typing import NamedTuple

from icm_engine.core.errors import ModelNotUsable
from icm_engine.models.server_client import ServerClient

_LINE = re.compile(r"^vllm:prefix_cache_(queries|hits)_total\{([^}]*)\} (\S+)$", re.MULTILINE)


class CacheFigures(NamedTuple):
    """Prompt tokens since the server began: looked for in the prefix cache, and found there."""

    asked: int
    cached: int

    @property
    def encoded(self) -> int:
        """Tokens that were not served from the cache."""
        return self.asked - self.cached


def cache_figures(client: ServerClient, model: str) -> CacheFigures:
    """Return what the server counted for one model, over all its engines. Raises ModelNotUsable."""
    text = client.get(f"{client.address.root}/metrics").text
    found = {"queries": 0.0, "hits": 0.0}
    rows = [match.groups() for match in _LINE.finditer(text) if f'model_name="{model}"' in match[2]]
    if not rows:
        raise ModelNotUsable(f"server {client.address.root}/metrics tells nothing of a prefix cache for {model!r}")
    for name, _, value in rows:
        found[name] += float(value)
    return CacheFigures(int(found["queries"]), int(found["hits"]))
