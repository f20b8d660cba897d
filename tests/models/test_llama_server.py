"""The server scorer on a real llama-server: the same contract, and the numbers of the model loaded here.

ICM_LLAMA_SERVER=/path/to/llama-server ICM_LLAMA_CPP_PYTHON=/path/to/python \
    .venv/bin/python -m pytest tests/models/test_llama_server.py
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from icm_engine.core.errors import ModelNotUsable, PromptTooLong
from icm_engine.core.scoring import Scorer
from icm_engine.core.settings import ModelChoice
from icm_engine.models.loading import load
from icm_engine.models.server_scorer import ServerScorer
from icm_engine.models.transformers_scorer import TransformersScorer
from tests.support.gguf_files import gemma3, llama, write
from tests.support.llama_server import NEEDS_LLAMA_CPP_PYTHON, NEEDS_LLAMA_SERVER, llama_cpp_python, llama_server
from tests.support.scorer_contract import PROMPTS, Contract

# Both sides in float32, with kernels and tables that round differently, which random weights enlarge; log-probabilities
# here are -1 to -80.
ROUNDING, RELATIVE = 1e-3, 1e-3


@dataclass
class Real:
    """A real server, its address, and the same file loaded here."""

    address: str
    local: TransformersScorer


@pytest.fixture(scope="module", params=[llama, gemma3], ids=["bytes", "pieces"])
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    # llama.cpp scales Gemma's attention by the width of a head, which is 256 in all small ones
    model = llama() if request.param is llama else gemma3(head_dim=256)
    file = write(tmp_path_factory.mktemp("gguf") / "tiny.gguf", model)
    with llama_server(file) as address:
        yield Real(address, TransformersScorer(load(ModelChoice(str(file), "none", "float32"))))


@pytest.mark.usefixtures("real")
class TestContract(Contract):
    """What every scorer promises, up to the rounding of a server whose cache holds what was asked before."""

    pytestmark = NEEDS_LLAMA_SERVER
    rounding = ROUNDING

    @pytest.fixture
    def scorer(self, real: Real) -> Scorer:
        return ServerScorer(real.address)


@pytest.mark.usefixtures("real")
class TestNumbers:
    """The log-probabilities are those of the same file here."""

    pytestmark = NEEDS_LLAMA_SERVER

    def test_every_log_prob_is_the_local_one(self, real: Real) -> None:
        scorer = ServerScorer(real.address)
        assert scorer.describe()["labels"] == "among as many likeliest tokens as needed (n_probs)"
        assert scorer.context == 2048
        prompts = [*PROMPTS, *(replace(prompt, labels=("green apple", "perhaps", "42 of 43")) for prompt in PROMPTS)]
        for prompt in prompts[:2]:
            assert scorer.tokenize(prompt.text) == real.local.tokenize(prompt.text)
        # a beginning that the file does not ask for is put before prompts here alone
        scorer.beginning = real.local.beginning
        for one, other in zip(scorer.score(prompts), real.local.score(prompts), strict=True):
            assert one.raw == pytest.approx(other.raw, abs=ROUNDING, rel=RELATIVE)

    def test_what_does_not_fit_is_not_sent(self, real: Real) -> None:
        with pytest.raises(PromptTooLong, match="the model takes 100"):
            ServerScorer(f"{real.address}#context=100").score(PROMPTS)
        with pytest.raises(ModelNotUsable, match="takes 2,048 tokens, and the address says 3,000"):
            ServerScorer(f"{real.address}#context=3000")


@NEEDS_LLAMA_CPP_PYTHON
def test_llama_cpp_pythons_server_takes_text_alone_and_is_refused(tmp_path: Path) -> None:
    refused = pytest.raises(ModelNotUsable, match=r"llama-cpp-python\) takes no token ids as a prompt.*llama-server")
    with llama_cpp_python(write(tmp_path / "tiny.gguf", llama())) as address, refused:
        ServerScorer(address)
