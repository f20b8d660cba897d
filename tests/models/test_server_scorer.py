"""The scorer behind a server, on a small server of the test's own: what it asks, in which order, what it refuses."""

import json
import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import pytest
import torch

from icm_engine.core.errors import (
    IcmError,
    ModelNotUsable,
    PromptTooLong,
    ScoreNotFinite,
    ServerUnavailable,
    SettingError,  # fmt: skip
)
from icm_engine.core.labeling import Example, Labeling, Task
from icm_engine.core.prompting import Prompt, leave_one_out_prompts
from icm_engine.core.scoring import Scorer
from icm_engine.core.server_address import KEY
from icm_engine.models.server_scorer import ServerScorer
from icm_engine.models.transformers_scorer import TransformersScorer
from tests.support.fake_server import VOCABULARY, Completions, serving, small_server, table, words
from tests.support.scorer_contract import PROMPTS, Contract
from tests.support.small_models import byte_tokenizer, save_model, transformers_scorer

ASK = Prompt((("The sky is",),), ("True", "False"))
WAYS = ("tokenizer on this machine", "the server's tokenizer", "full prompts")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> TransformersScorer:
    """A randomly initialised Llama whose labels are several tokens, scoring full prompts."""
    return transformers_scorer(save_model(tmp_path_factory.mktemp("llama")), "full-prompts")


def behind_a_server(local: TransformersScorer, root: str = "/elsewhere") -> Completions:
    """A server that has this model, in this process."""
    tokenizer = byte_tokenizer()
    return Completions(
        partial(next_token, local), lambda text: list(tokenizer(text, add_special_tokens=False)["input_ids"]),
        lambda token: str(tokenizer.decode([token])), root,
    )  # fmt: skip


@cache  # many tests ask for the same prompts
@torch.inference_mode()
def next_token(local: TransformersScorer, tokens: tuple[int, ...]) -> list[float]:
    logits = local.loaded.model(torch.tensor([tokens])).logits[0, -1].float()
    return list(torch.log_softmax(logits, dim=-1).tolist())


@pytest.fixture
def said() -> Completions:
    return small_server()


@pytest.mark.parametrize("way", WAYS)
class TestContract(Contract):
    """What every scorer promises, behind a server with the same random Llama as the other scorers."""

    @pytest.fixture
    def scorer(self, way: str, llama: TransformersScorer) -> Iterator[Scorer]:
        root = llama.loaded.name if way == WAYS[0] else "/elsewhere"
        with serving(behind_a_server(llama, root)) as address:
            yield ServerScorer(address, "full-prompts" if way == WAYS[2] else "prefix-tree")


def test_a_server_gives_what_the_model_gives_here(llama: TransformersScorer) -> None:
    """Labels of five bytes and more, each a token: none is among the likeliest, all are exact."""
    with serving(behind_a_server(llama, llama.loaded.name)) as address:
        scorer = ServerScorer(address)
        for one, other in zip(scorer.score(PROMPTS), llama.score(PROMPTS), strict=True):
            assert one.raw == pytest.approx(other.raw, abs=1e-4)
    assert scorer.usage.tokens_full == llama.usage.tokens_full
    assert scorer.describe()["labels"] == "by token id (logprob_token_ids)"


def test_label_log_probs_are_those_of_the_table(said: Completions, address: str) -> None:
    """log p(" red wine") = log p(" red") + log p(" wine" after " red"): one request each."""
    scorer = ServerScorer(f"{address}#concurrency=1")
    said.asked.clear()
    prompt = Prompt((("The sky is",),), ("blue", "red wine"))
    (score,) = scorer.score([prompt])
    sky, (blue,), (red, wine) = tuple(words("The sky is")), words(" blue"), words(" red wine")
    assert score.raw[0] == pytest.approx(table(sky)[blue], abs=1e-9)
    assert score.raw[1] == pytest.approx(table(sky)[red] + table((*sky, red))[wine], abs=1e-9)
    assert [(tuple(body["prompt"]), body["logprob_token_ids"]) for body in said.asked] == [
        (sky, sorted([blue, red])), ((*sky, red), [wine]),
    ]  # fmt: skip


def test_a_prefix_cache_would_find_all_that_is_shared(said: Completions, address: str) -> None:
    """One request at a time, each encoding what the one before did not have: 16 prompts of 16 examples cost 80 of them.

    16 * log2(16) demonstrations and 16 queries, of four tokens and one more for a demonstration's label and blank line
    each: 64 * 6 + 16 * 4 = 448. No two examples begin with the same word, so nothing else is shared.
    """
    examples = tuple(Example(str(i), {"c": f"claim{i} says it is"}, str(i)) for i in range(16))
    labeling = Labeling({i: "True" for i in range(16)})
    prompts = list(leave_one_out_prompts(Task("t", "{c}"), examples, [labeling])[0].values())
    scorer = ServerScorer(f"{address}#concurrency=1")
    for encoding in ("prefix-tree", "full-prompts"):
        scorer.encoding = encoding
        said.asked.clear()
        cost, before = scorer.cost(prompts), scorer.usage
        scorer.score(prompts)
        assert scorer.usage - before == cost
        asked = [tuple(body["prompt"]) for body in said.asked]
        assert (len(asked), sum(map(len, asked))) == (16, cost.tokens_full)
        assert cost.tokens_encoded == (448 if encoding == "prefix-tree" else 16 * (15 * 6 + 4))
        if encoding == "prefix-tree":
            assert newly_encoded(asked) == 448


def newly_encoded(prompts: list[tuple[int, ...]]) -> int:
    """Tokens that the request before has not left in the cache; a depth-first order needs no more memory."""
    return sum(len(now) - shared(before, now) for before, now in zip([(), *prompts], prompts, strict=False))


def shared(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return next((k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def test_prompts_are_asked_for_one_token_and_never_for_their_own_log_probs(said: Completions, address: str) -> None:
    ServerScorer(address).score(PROMPTS)
    for body in said.asked:
        assert body["max_tokens"] == 1
        assert not body.keys() & {"prompt_logprobs", "echo", "best_of"}
        assert body["temperature"] == 0
        assert body["top_p"] == body["repetition_penalty"] == 1  # no default of the model's


def test_so_many_requests_are_in_flight_and_no_more(said: Completions, address: str) -> None:
    scorer = ServerScorer(f"{address}#concurrency=3")
    said.slow = 0.05
    scorer.score(PROMPTS)
    assert said.most_at_once == 3


def test_texts_are_tokenized_once(said: Completions, address: str) -> None:
    scorer = ServerScorer(address)
    scorer.score(PROMPTS)
    said.headers.clear()
    scorer.count_tokens(PROMPTS)
    scorer.check_fits(PROMPTS)
    assert said.headers == []


# -- what can be asked again, and what cannot


def test_what_can_be_retried_is_and_counted(said: Completions, address: str) -> None:
    scorer = ServerScorer(f"{address}#concurrency=1")
    wanted, used = scorer.score([ASK]), scorer.usage
    said.faults += [(429, {"Retry-After": "0"}, "slow down"), (503, {}, '{"error": {"message": "loading"}}')]
    assert scorer.score([ASK]) == wanted
    assert (scorer.retries.count, scorer.retries.why) == (2, "503: loading")
    assert (scorer.usage - used).prompts == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_retries_come_to_an_end(said: Completions, address: str, status: int) -> None:
    scorer = ServerScorer(f"{address}#concurrency=1", tries=3)
    said.asked.clear()
    said.faults += [(status, {}, "no")] * 9
    used = scorer.usage
    with pytest.raises(ServerUnavailable, match=rf"does not answer \({status}: no\): start it.*resume"):
        scorer.score([ASK])
    assert (len(said.asked), scorer.retries.count, scorer.usage) == (3, 2, used)


def test_a_fault_of_the_server_is_not_retried(said: Completions, address: str) -> None:
    scorer = ServerScorer(address)
    said.asked.clear()
    said.faults.append((500, {}, '{"error": {"message": "EngineDeadError"}}'))
    with pytest.raises(ServerUnavailable, match="500: EngineDeadError"):
        scorer.score([ASK])
    assert len(said.asked) == 1


def test_a_server_that_says_nothing_is_not_waited_for_for_ever(said: Completions, address: str) -> None:
    scorer = ServerScorer(f"{address}#timeout=1", tries=1)
    said.faults.append(3.0)
    with pytest.raises(ServerUnavailable, match="no answer within 1 s"):
        scorer.score([ASK])


def test_a_server_that_is_not_there_is_named(address: str, said: Completions) -> None:
    with serving(said) as gone:
        pass
    with pytest.raises(ServerUnavailable, match=rf"server {gone} does not answer \(.*refused"):
        ServerScorer(gone)


def test_another_server_in_its_place_is_not_taken_for_it(said: Completions, address: str) -> None:
    scorer = ServerScorer(address)
    said.fingerprint = "vllm-0-another"
    with pytest.raises(ServerUnavailable, match=r"no longer the one .*vllm-0-test.*vllm-0-another"):
        scorer.score([ASK])


# -- what is no score


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "-1.0", True, -9999.0])
def test_what_is_no_number_is_no_score(said: Completions, address: str, value: Any) -> None:
    scorer = ServerScorer(address)

    def spoil(answer: dict[str, Any]) -> dict[str, Any]:
        top = answer["choices"][0]["logprobs"]["top_logprobs"][0]
        top[next(iter(top))] = value
        return answer

    said.spoil = spoil
    used = scorer.usage
    with pytest.raises(ScoreNotFinite, match="as the log-probability of 'token_id:"):
        scorer.score([ASK])
    assert scorer.usage == used


def test_what_a_server_fills_its_table_up_with_is_not_looked_at(said: Completions, address: str) -> None:
    """vLLM, where another request in the same batch asks for more tokens."""
    wanted = ServerScorer(address).score([ASK])

    def fill_up(answer: dict[str, Any]) -> dict[str, Any]:
        answer["choices"][0]["logprobs"]["top_logprobs"][0]["token_id:0"] = -9999.0
        return answer

    said.spoil = fill_up
    assert ServerScorer(address).score([ASK]) == wanted


@pytest.mark.parametrize(
    "answer",
    [{}, {"choices": []}, {"choices": [{"logprobs": {"top_logprobs": [{}]}}]}, {"choices": [{"logprobs": None}]}],
)
def test_an_answer_without_log_probs_is_no_score(said: Completions, address: str, answer: dict[str, Any]) -> None:
    scorer = ServerScorer(address)
    said.spoil = lambda _: answer
    with pytest.raises(ModelNotUsable, match="no log-probabilities"):
        scorer.score([ASK])


def test_garbage_is_no_score(said: Completions, address: str) -> None:
    scorer = ServerScorer(address)
    said.faults.append((200, {}, "<html>Welcome</html>"))
    with pytest.raises(ModelNotUsable, match=r"not JSON \('<html>Welcome</html>'\)"):
        scorer.score([ASK])


# -- what is refused at the start


def without(**settings: Any) -> Callable[[Completions], None]:
    def change(said: Completions) -> None:
        for name, value in settings.items():
            setattr(said, name, value)

    return change


def logits(said: Completions) -> None:
    said.log_probs = lambda tokens: [value + 20 for value in table(tokens)]


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (without(tells=False), "", "gives no log-probabilities"),
        (without(), "#large", r"has no model 'large': it has small"),
        (without(names=["a", "b"]), "", r"several models: name one, as http://127.0.0.1:\d+/v1#a \(of a, b\)"),
        (without(names=[]), "", "lists no models"),
        (without(context=None), "", r"does not say how many tokens it takes: add .*#context=N"),
        (without(), "#context=5000", r"takes 4,096 tokens, and the address says 5,000.*--max-model-len"),
        (without(tokenizes=False), "", r"does not tokenize.*#tokenizer=DIRECTORY"),
        (without(key="right"), "", r"refuses access \(401\): put its API key into .*ICM_SERVER_KEY"),
        (logits, "", "not log-probabilities .*raw_logprobs"),
        (without(most=3), "", "refuses a request.*logprobs is greater than 3"),
    ],
)
def test_what_cannot_serve_is_refused_with_the_remedy(
    said: Completions, address: str, change: Callable[[Completions], None], more: str, message: str
) -> None:
    change(said)
    with pytest.raises(ModelNotUsable, match=message):
        ServerScorer(address + more)


def test_an_address_that_is_no_api_is_refused(address: str) -> None:
    with pytest.raises(ModelNotUsable, match=r"404: no such thing.*completions API"):
        ServerScorer(address.removesuffix("/v1") + "/v2")


@pytest.mark.parametrize("tokenizes", [True, False])
def test_another_tokenizer_is_refused(
    said: Completions, address: str, llama: TransformersScorer, tokenizes: bool
) -> None:
    """By comparing tokens where the server tells them, else by asking once with a text and once with its tokens."""
    said.tokenizes = tokenizes
    with pytest.raises(ModelNotUsable, match="another model's; name the one of the model that is served"):
        ServerScorer(f"{address}#tokenizer={llama.loaded.name}")


def test_a_tokenizer_can_be_named(llama: TransformersScorer) -> None:
    said = behind_a_server(llama)
    said.tokenizes = False
    with serving(said) as address:
        scorer = ServerScorer(f"{address}#tokenizer={llama.loaded.name}")
        assert scorer.describe()["tokenizer"] == llama.loaded.name
        assert scorer.score(PROMPTS[:1])[0].raw == pytest.approx(llama.score(PROMPTS[:1])[0].raw, abs=1e-4)
        with pytest.raises(ModelNotUsable, match="tokenizer '/no/such' cannot be loaded"):
            ServerScorer(f"{address}#tokenizer=/no/such")


def test_a_prompt_that_does_not_fit_is_not_sent(said: Completions, address: str) -> None:
    said.context = 40
    scorer = ServerScorer(address)
    said.asked.clear()
    with pytest.raises(PromptTooLong, match=r"\(11 demonstrations\), the model takes 40: .*--max-model-len"):
        scorer.score(PROMPTS)
    assert said.asked == []
    assert ServerScorer(f"{address}#context=30").context == 30


def test_a_server_that_begins_to_tell_logits_is_not_believed(said: Completions, address: str) -> None:
    scorer = ServerScorer(address)
    logits(said)
    with pytest.raises(ModelNotUsable, match="not log-probabilities"):
        scorer.score([ASK])


def test_an_unknown_encoding_is_refused(address: str) -> None:
    with pytest.raises(SettingError, match="encoding"):
        ServerScorer(address, "sideways")


# -- servers that are not vLLM


def likely(first: str, second: str) -> Callable[[tuple[int, ...]], list[float]]:
    """A table in which two words are the likeliest by far."""

    def log_probs(tokens: tuple[int, ...]) -> list[float]:
        low = math.log(0.1 / (VOCABULARY - 2))
        values = [low] * VOCABULARY
        values[words(first)[0]], values[words(second)[0]] = math.log(0.6), math.log(0.3)
        return values

    return log_probs


@pytest.mark.parametrize("most", [20, 5])
def test_a_server_that_tells_the_likeliest_tokens_alone_will_do_while_labels_are_among_them(most: int) -> None:
    said = small_server(vllm=False, most=most, fingerprint=None)
    decode, (garbled,) = said.decode, words(" maybe")
    said.decode = lambda token: f"<{token}>" if token == garbled else decode(token)
    said.log_probs = likely(" True", " False")
    with serving(said) as address:
        scorer = ServerScorer(address)
        assert scorer.describe()["labels"] == f"among the {most} likeliest tokens"
        assert scorer.score([ASK])[0].raw == pytest.approx((math.log(0.6), math.log(0.3)))
        with pytest.raises(ModelNotUsable, match=rf"of the {most} likeliest tokens.*none is made up.*vLLM"):
            scorer.score([Prompt((("The sky is",),), ("True", "perhaps"))])
        with pytest.raises(ModelNotUsable, match=r"names tokens by their text, and '<.*' is not the text of token"):
            scorer.score([Prompt((("The sky is",),), ("True", "maybe"))])


def test_an_older_vllm_that_takes_no_token_ids_is_asked_for_the_likeliest(said: Completions, address: str) -> None:
    completions = said.completions
    said.completions = lambda body: completions(  # type: ignore[method-assign]
        {k: v for k, v in body.items() if k != "logprob_token_ids"}
    )
    scorer = ServerScorer(address)
    assert scorer.describe()["labels"] == "among the 20 likeliest tokens"
    with pytest.raises(ModelNotUsable, match="none is made up"):
        scorer.score([ASK])


# -- the key


def test_the_key_comes_from_the_environment_and_shows_nowhere(
    said: Completions, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "s3cret")
    said.key = "s3cret"
    scorer = ServerScorer(address)
    scorer.score([ASK])
    assert {headers["Authorization"] for headers in said.headers} == {"Bearer s3cret"}
    assert "s3cret" not in json.dumps(dict(scorer.describe()))
    for status in (400, 500):
        said.faults.append((status, {}, "Incorrect API key provided: s3cret"))
        with pytest.raises(IcmError, match=r"key provided: \*\*\*") as caught:
            scorer.score([ASK])
        assert "s3cret" not in str(caught.value)
    said.key = "another"
    with pytest.raises(ModelNotUsable, match="the key in it") as refused:
        ServerScorer(address)
    assert "s3cret" not in str(refused.value)
