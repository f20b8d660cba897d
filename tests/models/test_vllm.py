"""The server scorer on a real vLLM server with the sample model: the same contract, the same numbers, a real kill."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from icm_engine.core.errors import ModelNotUsable, PromptTooLong
from icm_engine.core.labeling import Labeling
from icm_engine.core.prompting import Prompt, leave_one_out_prompts, query_prompt
from icm_engine.core.scoring import Scorer
from icm_engine.core.settings import PRESETS, ModelChoice
from icm_engine.data.importing import ensure_sample_dataset
from icm_engine.models.loading import load
from icm_engine.models.server_client import AskedTokens, cache_figures
from icm_engine.models.server_dialects import ByTokenId, Likeliest
from icm_engine.models.server_scorer import ServerScorer
from icm_engine.models.transformers_scorer import TransformersScorer
from icm_engine.runs import control
from icm_engine.runs.verify import verify
from icm_engine.store.events import RunSpec
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store
from tests.support.scorer_contract import PROMPTS, Contract
from tests.support.vllm_server import DTYPE, NEEDS_SERVER, RealServer, real_server

pytestmark = NEEDS_SERVER
# Of a log-probability, both sides in float32: what batches, blocks of the cache and kernels round differently. The
# labels' log-probabilities here are -0.01 to -30, of which float32 keeps seven digits a layer.
ROUNDING = 1e-3


@pytest.fixture(scope="module")
def vllm() -> Iterator[RealServer]:
    with real_server() as server:
        yield server


@pytest.fixture(scope="module")
def local() -> TransformersScorer:
    return TransformersScorer(load(ModelChoice("sample", "none", DTYPE)))


class TestContract(Contract):
    """What every scorer promises, up to the rounding of a server that puts requests together as they come."""

    rounding = ROUNDING

    @pytest.fixture
    def scorer(self, vllm: RealServer) -> Scorer:
        return ServerScorer(vllm.address)


def test_every_log_prob_is_the_local_one(vllm: RealServer, local: TransformersScorer) -> None:
    """Labels of one token and of several, likely and outside of the twenty likeliest."""
    scorer = ServerScorer(vllm.address)
    assert scorer.describe()["labels"] == "by token id (logprob_token_ids)"
    assert scorer.describe()["context"] == local.context
    prompts = [*PROMPTS, *(replace(prompt, labels=("green apple", "perhaps", "42 of 43")) for prompt in PROMPTS)]
    for one, other in zip(scorer.score(prompts), local.score(prompts), strict=True):
        assert one.raw == pytest.approx(other.raw, abs=ROUNDING)
    assert scorer.usage == replace(local.usage, prompts=len(prompts)) == scorer.cost(prompts)


def test_its_own_tokenizer_reads_as_the_one_here(vllm: RealServer, local: TransformersScorer) -> None:
    """Without the model's directory, texts are tokenized there."""
    scorer = ServerScorer(vllm.address)
    asked = AskedTokens(scorer.client, scorer.served.name)
    texts = [piece for prompt in PROMPTS[:3] for segment in prompt.segments for piece in segment]
    asked.learn(texts)
    assert [asked.tokenize(text) for text in texts] == [local.tokenize(text) for text in texts]
    assert asked.beginning == ()  # this one puts nothing before a text; a tokenizer of one's own would put <s>
    assert [asked.text_of(token) for token in asked.tokenize(" True")] == [" True"]


def test_labels_outside_the_likeliest_are_an_error_for_a_server_that_tells_those_alone(vllm: RealServer) -> None:
    scorer = ServerScorer(vllm.address)
    prompt, odd = Prompt((("The capital of France is",),), ("True", "False")), "42 of 43"
    exact = scorer.score([prompt])
    scorer.asking = replace(scorer.asking, dialect=Likeliest(20))
    with pytest.raises(ModelNotUsable, match="none is made up"):
        scorer.score([replace(prompt, labels=(odd, "perhaps"))])
    shown = [PROMPTS[0]]  # where True and False are expected
    by_top = scorer.score(shown)
    scorer.asking = replace(scorer.asking, dialect=ByTokenId())
    assert by_top[0].raw == pytest.approx(scorer.score(shown)[0].raw, abs=ROUNDING)
    assert scorer.score([prompt])[0].raw == pytest.approx(exact[0].raw, abs=ROUNDING)


def test_the_trees_order_is_what_its_prefix_cache_wants(vllm: RealServer, store: Store) -> None:
    """By the server's own count: fewer tokens than half of what the authors' order takes, at 64 examples."""
    ensure_sample_dataset(store, "arithmetic")
    dataset = store.dataset("arithmetic", 64)
    task, examples = dataset.task, dataset.examples
    labeling = Labeling({i: task.labels[i % 2] for i in range(len(examples))})
    ours = list(leave_one_out_prompts(task, examples, [labeling])[0].values())
    fixed = [query_prompt(task, examples, labeling, i) for i in labeling]
    tree, given = ServerScorer(vllm.address), ServerScorer(vllm.address, "full-prompts")
    encoded = {}
    for scorer, prompts in ((given, fixed), (tree, ours)):
        before = cache_figures(scorer.client, scorer.served.name)
        scorer.score(prompts)
        after = cache_figures(scorer.client, scorer.served.name)
        assert after.asked - before.asked == scorer.usage.tokens_full
        encoded[scorer.encoding] = after.encoded - before.encoded
    assert encoded["prefix-tree"] < encoded["full-prompts"] / 2


def test_what_does_not_fit_is_not_sent(vllm: RealServer) -> None:
    scorer = ServerScorer(f"{vllm.address}#context=100")
    with pytest.raises(PromptTooLong, match=r"the model takes 100: .*--max-model-len"):
        scorer.score(PROMPTS)
    with pytest.raises(ModelNotUsable, match=r"takes 16,384 tokens, and the address says 20,000"):
        ServerScorer(f"{vllm.address}#context=20000")


def test_the_server_is_killed_in_the_middle_of_a_run(vllm: RealServer, store: Store) -> None:
    """The last test of this file, since its server is another one afterwards."""
    ensure_sample_dataset(store, "facts")
    search = replace(PRESETS["default"], max_steps=24, seed=0)
    run = control.create_run(store, RunSpec("facts", vllm.address, limit=16, search=search))
    control.start(store, run)
    while control.status(store, run).steps < 3:
        assert control.status(store, run).phase != "failed", control.status(store, run).message
    vllm.kill()
    now = control.wait_until_settled(store, run)
    assert now.phase == "paused"
    assert now.message.startswith(f"server {vllm.address} does not answer (")
    assert 3 <= now.steps < 24
    vllm.start()
    if control.status(store, run).pid is None:  # it took longer than a worker waits
        control.resume(store, run)
    while control.status(store, run).phase != "finished":
        assert control.status(store, run).phase != "failed", control.status(store, run).message
        control.wait()
    assert verify(store, open_run(store, run)) == (24, [])
    verbs = [event.body["verb"] for event in store.read_after(run, kinds=("control",))]
    assert verbs == ["start", "pause", "resume"]
