"""Servers other than vLLM, each in its own dialect: the same contract, the local model's numbers, one refusal."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from icm_engine.core.errors import ModelNotUsable, PromptTooLong, ScoreNotFinite, ServerUnavailable
from icm_engine.core.prompting import Prompt
from icm_engine.core.scoring import Scorer
from icm_engine.models.server_scorer import ServerScorer
from icm_engine.models.transformers_scorer import TransformersScorer
from tests.support.engine_servers import LLAMA_CPP_PYTHON, LM_STUDIO, OLLAMA, LlamaServer, Sglang, TextOnly
from tests.support.fake_server import Completions, serving
from tests.support.scorer_contract import PROMPTS, Contract
from tests.support.small_models import byte_tokenizer, save_model, served, small_model, transformers_scorer

ASK = Prompt((("The sky is",),), ("True", "False"))
ENGINES = (Sglang, LlamaServer)
WORDS = {
    Sglang: "by token id (token_ids_logprob)",
    LlamaServer: "among as many likeliest tokens as needed (n_probs)",
}
ABILITY = {
    Sglang: "SGLang 0.5.4 gives log-probabilities of given token ids (token_ids_logprob), so labels are exact at any "
    "rank.",
    LlamaServer: "llama.cpp b11549-test gives log-probabilities of as many of its likeliest tokens as needed "
    "(n_probs), so labels are exact at any rank.",
}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> TransformersScorer:
    """A randomly initialised Llama whose labels are several tokens, each far from the likeliest ones."""
    return transformers_scorer(save_model(tmp_path_factory.mktemp("llama")), "full-prompts")


@cache  # many tests ask for the same prompts
def behind(local: TransformersScorer) -> Completions:
    return served(local.loaded)


def of(engine: type[Completions], local: TransformersScorer, **settings: Any) -> Any:
    """A server of this kind with the model of a scorer here."""
    plain = behind(local)
    return engine(plain.log_probs, plain.tokenize, plain.decode, detokenize=plain.detokenize, before=plain.before,
                  **settings)  # fmt: skip


@pytest.fixture(params=ENGINES, ids=lambda engine: engine.__name__)
def said(request: pytest.FixtureRequest, local: TransformersScorer) -> Any:
    return of(request.param, local)


@pytest.mark.parametrize("engine", ENGINES)
class TestContract(Contract):
    """What every scorer promises."""

    @pytest.fixture
    def scorer(self, engine: type[Completions], local: TransformersScorer) -> Iterator[Scorer]:
        with serving(of(engine, local)) as address:
            yield ServerScorer(address)


def test_the_numbers_are_those_of_the_model_here(said: Any, address: str, local: TransformersScorer) -> None:
    scorer = ServerScorer(address)
    for one, other in zip(scorer.score(PROMPTS), local.score(PROMPTS), strict=True):
        assert one.raw == pytest.approx(other.raw, abs=1e-4)
    assert scorer.tokens.beginning == local.beginning


def test_what_the_server_can_do_is_recorded_in_one_sentence(said: Any, address: str) -> None:
    facts = ServerScorer(address).describe()
    assert (facts["labels"], facts["ability"]) == (WORDS[type(said)], ABILITY[type(said)])
    assert facts["context"] == 4096


def test_a_tokenizer_on_this_machine_is_compared_with_the_servers(
    said: Any, address: str, local: TransformersScorer
) -> None:
    scorer = ServerScorer(f"{address}#tokenizer={local.loaded.name}")
    assert scorer.tokens.words == local.loaded.name
    assert scorer.score([ASK])[0].raw == pytest.approx(local.score([ASK])[0].raw, abs=1e-4)
    said.tokenize = lambda text: [1 + ord(letter) % 250 for letter in text]
    with pytest.raises(ModelNotUsable, match="another model's; name the one of the model that is served"):
        ServerScorer(f"{address}#tokenizer={local.loaded.name}")


def test_only_one_token_is_generated_and_no_prompt_is_scored(said: Any, address: str) -> None:
    scorer = ServerScorer(address)
    said.asked.clear()
    scorer.score([ASK])
    for body in said.asked:
        assert body.get("n_predict", 1) == 1
        assert not body.keys() & {"logprob_start_len", "echo"}
        assert isinstance(body["input_ids"] if isinstance(said, Sglang) else body["prompt"], list)


def test_an_answer_without_the_numbers_is_no_score(said: Any, address: str) -> None:
    scorer = ServerScorer(address)
    said.spoil = lambda answer: {}
    with pytest.raises(ModelNotUsable, match=r"gives no log-probabilities of the next token.*serve the model with"):
        scorer.score([ASK])


@pytest.mark.parametrize("value", [None, "-1", float("nan"), -3.4028234663852886e38])
def test_what_is_no_number_is_no_score(said: Any, address: str, value: object) -> None:
    """llama.cpp writes the lowest float32 where a probability is 0 in its arithmetic."""
    scorer = ServerScorer(address)

    def spoil(answer: dict[str, Any]) -> dict[str, Any]:
        if isinstance(said, Sglang):
            for row in answer["meta_info"].get("output_token_ids_logprobs", [[]])[0]:
                row[0] = value
        else:
            for row in answer["completion_probabilities"][0]["top_logprobs"]:
                row["logprob"] = value
        return answer

    said.spoil = spoil
    with pytest.raises(ScoreNotFinite, match="as the log-probability of 'token_id:"):
        scorer.score([ASK])


def test_a_context_that_is_too_short_is_known_before_anything_is_sent(said: Any, address: str) -> None:
    said.context = 64
    scorer = ServerScorer(address)
    said.asked.clear()
    with pytest.raises(PromptTooLong, match="the model takes 64"):
        scorer.score(PROMPTS)
    assert said.asked == []


# -- SGLang


def test_an_older_sglang_that_knows_no_token_ids_gives_its_likeliest(local: TransformersScorer) -> None:
    with serving(of(Sglang, local, old=True)) as address:
        scorer = ServerScorer(address)
        assert scorer.describe()["labels"] == "among the 20 likeliest tokens"
        assert "a label that is not among them stops the run" in str(scorer.describe()["ability"])
        with pytest.raises(ModelNotUsable, match=r"SGLang 0.5.4\).*none is made up"):
            scorer.score([ASK])


# -- llama.cpp


def test_as_many_likeliest_tokens_are_asked_for_as_it_takes(local: TransformersScorer) -> None:
    """The vocabulary has 320 tokens: 64 at first, 512 where a label is not among them."""
    said = of(LlamaServer, local)
    with serving(said) as address:
        scorer = ServerScorer(f"{address}#concurrency=1")
        said.asked.clear()
        scorer.score([ASK])
        assert {body["n_probs"] for body in said.asked} <= {64, 512}
        assert any(body["n_probs"] == 512 for body in said.asked)
        for one, other in zip(said.asked, said.asked[1:], strict=False):
            if one["n_probs"] == 64 and other["n_probs"] == 512:
                assert one["prompt"] == other["prompt"]


def test_a_generated_token_that_is_a_part_of_a_character_costs_no_numbers(local: TransformersScorer) -> None:
    """A build of llama.cpp told none there; the random model likes such tokens best after most prompts."""
    said = of(LlamaServer, local)
    with serving(said) as address:
        scorer = ServerScorer(address)
        prompts = [Prompt(((f"{word} is",),), ("True", "False")) for word in ("The sky", "A cat", "Two", "No one")]
        likeliest = [
            max(enumerate(said.log_probs(tuple(scorer.tokenize(p.text)))), key=lambda r: r[1]) for p in prompts
        ]
        assert any("\ufffd" in said.decode(token) for token, _ in likeliest)
        for one, other in zip(scorer.score(prompts), local.score(prompts), strict=True):
            assert one.raw == pytest.approx(other.raw, abs=1e-4)


def test_a_llama_cpp_whose_numbers_depend_on_the_forced_token_is_refused(local: TransformersScorer) -> None:
    said = of(LlamaServer, local)
    plain, log_probs = said.completion, said.log_probs

    def biased(body: dict[str, Any]) -> Any:
        forced = body["logit_bias"][0][0]
        said.log_probs = lambda tokens: [
            0.0 if token == forced else value - 1000 for token, value in enumerate(log_probs(tokens))
        ]
        return plain(body)

    said.completion = biased
    refused = pytest.raises(ModelNotUsable, match="gives no log-probabilities of the next token")
    with serving(said) as address, refused:
        ServerScorer(address)


def test_each_slot_of_llama_cpp_has_its_own_context(local: TransformersScorer) -> None:
    with serving(of(LlamaServer, local, slots=4)) as address:
        assert ServerScorer(address).context == 1024


def test_another_model_in_llama_cpps_place_is_not_taken_for_it(local: TransformersScorer) -> None:
    said = of(LlamaServer, local)
    with serving(said) as address:
        scorer = ServerScorer(address)
        said.names = ["another.gguf"]
        with pytest.raises(ServerUnavailable, match=r"no longer the one that the run used \(small\), but another"):
            scorer.score([ASK])


def test_a_llama_cpp_that_has_cut_a_prompt_short_is_an_error(local: TransformersScorer) -> None:
    said = of(LlamaServer, local)
    with serving(said) as address:
        scorer = ServerScorer(address)
        said.spoil = lambda answer: {**answer, "truncated": True}
        with pytest.raises(ModelNotUsable, match="cut a prompt short"):
            scorer.score([ASK])


def test_a_llama_cpp_without_its_own_endpoint_is_refused(local: TransformersScorer) -> None:
    refused = pytest.raises(ModelNotUsable, match=r"llama.cpp b11549-test\) gives no log-probabilities")
    with serving(of(LlamaServer, local, tells=False)) as address, refused:
        ServerScorer(address)


# -- servers that take text


@pytest.mark.parametrize(
    ("settings", "title"),
    [(OLLAMA, "Ollama 0.13.5"), (LM_STUDIO, "LM Studio"), (LLAMA_CPP_PYTHON, "llama-cpp-python")],
    ids=["Ollama", "LM Studio", "llama-cpp-python"],
)
def test_a_server_that_takes_text_alone_is_refused_in_one_sentence(
    local: TransformersScorer, settings: dict[str, Any], title: str
) -> None:
    """Before it is asked for its context or its tokens, which it does not tell either."""
    with serving(of(TextOnly, local, **settings)) as address, pytest.raises(ModelNotUsable) as refused:
        ServerScorer(address)
    status, words = settings.get("status", 400), settings.get("refusal", TextOnly.refusal)
    assert str(refused.value) == (
        f"server {address} ({title}) takes no token ids as a prompt ({status}: {words}), and of a text it is not known "
        "which tokens the model reads: serve the model with vLLM, SGLang or llama.cpp's llama-server, or load it here "
        "(--model DIRECTORY or FILE.gguf)"
    )


def test_a_server_that_begins_to_take_token_ids_is_not_refused_by_its_name() -> None:
    """Whether a server can serve is found by asking, not by what it calls itself."""
    said = of(Completions, transformers_scorer_of_bytes(), vllm=False, fingerprint=None)
    models = said.models
    said.models = lambda: {"data": [{**card, "owned_by": "library"} for card in models()["data"]]}
    with serving(said) as address:
        assert ServerScorer(address).describe()["labels"] == "among the 20 likeliest tokens"


def transformers_scorer_of_bytes() -> TransformersScorer:
    return TransformersScorer(small_model(byte_tokenizer()), "full-prompts")
