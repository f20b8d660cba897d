"""One contract for every generator; the transformers generator against a loop that takes the likeliest token."""

from collections.abc import Callable

import pytest
import torch

from icm_engine.baselines.generation import (
    GenerationRequest,
    GenerationUsage,
    Generator,
    TableGenerator,
    stand_in_reply,
)
from icm_engine.baselines.llm_judge import Judge
from icm_engine.core.errors import NotApplicable, PromptTooLong, ScoreNotFinite, SettingError
from icm_engine.core.labeling import Example, Labeling, Task
from icm_engine.core.prompting import leave_one_out_prompts
from icm_engine.core.settings import ModelChoice
from icm_engine.models import attention
from icm_engine.models.generator import TransformersGenerator, _Draw, _row_seed, up_to_line
from icm_engine.models.loading import LoadedModel, load
from icm_engine.models.transformers_scorer import TransformersScorer
from tests.support.chat_models import LINES, save_chat_model

REQUESTS = [
    GenerationRequest("Is 4 larger than 2?\nVerdict: True\nVerdict: False", "Verdict:"),
    GenerationRequest(
        "Question: What is the capital of France?\nClaim: It is Paris.\nVerdict: True\nVerdict: False", "Verdict:"
    ),
    GenerationRequest("Yes?\nVerdict: True\nVerdict: False", "Verdict:"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_chat_model(tmp_path_factory.mktemp("generating"), LINES)


@pytest.fixture
def loaded(folder: str) -> LoadedModel:
    return load(ModelChoice(folder, "none", "float32"))


MAKERS: dict[str, Callable[[LoadedModel], Generator]] = {
    "fake": lambda _: TableGenerator(stand_in_reply),
    "chat": lambda loaded: TransformersGenerator(loaded),
    "plain": lambda loaded: TransformersGenerator(loaded, "plain"),
    "two at a time": lambda loaded: TransformersGenerator(loaded, batch=2),
}


@pytest.mark.parametrize("name", MAKERS)
class TestContract:
    """What every generator promises."""

    @pytest.fixture
    def generator(self, name: str, loaded: LoadedModel) -> Generator:
        return MAKERS[name](loaded)

    @pytest.mark.parametrize("temperature", [0.0, 0.7])
    def test_one_answer_a_request_in_order_whatever_stands_beside_it(
        self, generator: Generator, temperature: float
    ) -> None:
        together = generator.generate(REQUESTS, 12, temperature, 3)
        assert together == [generator.generate([request], 12, temperature, 3)[0] for request in REQUESTS]
        assert together[::-1] == generator.generate(REQUESTS[::-1], 12, temperature, 3)

    def test_a_sample_is_a_function_of_the_seed(self, generator: Generator) -> None:
        texts = [tuple(a.text for a in generator.generate(REQUESTS, 12, 1.0, seed)) for seed in (1, 2, 3, 4, 1)]
        assert texts[0] == texts[4]
        assert len(set(texts)) > 1

    def test_greedy_answers_do_not_depend_on_the_seed(self, generator: Generator) -> None:
        assert generator.generate(REQUESTS, 12, 0.0, 1) == generator.generate(REQUESTS, 12, 0.0, 2)

    def test_what_is_cut_off_says_so(self, generator: Generator) -> None:
        for answer in generator.generate(REQUESTS, 2):
            assert (answer.tokens, answer.ended) == (2, False)

    def test_usage_counts_requests_and_tokens(self, generator: Generator) -> None:
        answers = generator.generate(REQUESTS, 5)
        generator.generate(REQUESTS[:1], 5)
        assert generator.usage.requests == 4
        assert generator.usage.tokens_generated == sum(a.tokens for a in answers) + answers[0].tokens
        assert generator.usage.tokens_read > 3 * 5

    def test_nothing_asked_is_nothing_answered(self, generator: Generator) -> None:
        assert generator.generate([], 5) == []
        assert generator.usage == GenerationUsage()

    def test_it_describes_itself(self, generator: Generator) -> None:
        assert {"model", "form"} <= set(generator.describe())


def likeliest(loaded: LoadedModel, tokens: list[int], count: int) -> list[int]:
    """The loop that greedy generation is: encode everything, take the likeliest token, again."""
    made: list[int] = []
    with torch.inference_mode():
        for _ in range(count):
            made.append(int(loaded.model(torch.tensor([tokens + made])).logits[0, -1].argmax()))
    return made


@pytest.mark.parametrize("form", ["chat", "plain"])
def test_greedy_generation_takes_the_likeliest_token_each_time(loaded: LoadedModel, form: str) -> None:
    generator = TransformersGenerator(loaded, form)
    for request, answer in zip(REQUESTS, generator.generate(REQUESTS, 24), strict=True):
        wanted = likeliest(loaded, generator.tokens(request), 24)
        assert 1 not in wanted  # else it would have ended earlier
        assert answer.text == loaded.tokenizer.decode(wanted)


def test_penalties_of_the_models_own_generation_settings_have_no_say(loaded: LoadedModel) -> None:
    wanted = TransformersGenerator(loaded).generate(REQUESTS, 24)
    own = loaded.model.generation_config
    own.repetition_penalty, own.do_sample, own.temperature, own.top_k = 50.0, True, 3.0, 5
    assert TransformersGenerator(loaded).generate(REQUESTS, 24) == wanted
    assert loaded.model.generation_config is own


@pytest.mark.parametrize("as_list", [True, False])
def test_an_answer_ends_at_any_token_that_ends_a_sequence(loaded: LoadedModel, as_list: bool) -> None:
    generator = TransformersGenerator(loaded)
    wanted = likeliest(loaded, generator.tokens(REQUESTS[0]), 24)
    end = wanted.index(wanted[7])
    loaded.model.generation_config.eos_token_id = [1, wanted[7]] if as_list else wanted[7]
    first = TransformersGenerator(loaded).generate(REQUESTS, 24)[0]
    assert (first.text, first.tokens, first.ended) == (loaded.tokenizer.decode(wanted[:end]), end + 1, True)


def test_a_chat_request_is_read_as_the_tokenizers_own_chat(loaded: LoadedModel) -> None:
    asked = [{"role": "user", "content": REQUESTS[0].text}]
    own = loaded.tokenizer.apply_chat_template(asked, tokenize=True, add_generation_prompt=True, return_dict=False)
    assert TransformersGenerator(loaded).tokens(REQUESTS[0]) == own


def test_a_base_model_is_given_the_text_and_the_beginning_of_an_answer(loaded: LoadedModel) -> None:
    loaded.tokenizer.chat_template = None
    generator = TransformersGenerator(loaded)
    assert generator.describe()["form"] == "plain"
    assert loaded.tokenizer.decode(generator.tokens(REQUESTS[0])) == f"<s>{REQUESTS[0].text}\n\nAnswer:"


@pytest.fixture
def scripted(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whatever the model thinks, every row is this text: only the end is open."""
    text = "One and one\nVerdict: True\nVerdict: False\nOne and"
    tokens = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
    start: list[int] = []

    def forced(self: _Draw, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        start.append(input_ids.shape[-1])
        wanted = torch.full_like(scores, -1.0)
        wanted[:, tokens[(input_ids.shape[-1] - start[0]) % len(tokens)]] = 1.0
        return wanted

    monkeypatch.setattr(_Draw, "__call__", forced)
    return text


def test_an_answer_that_a_base_model_continues_ends_with_its_verdict(loaded: LoadedModel, scripted: str) -> None:
    answer, other = TransformersGenerator(loaded, "plain").generate(
        [REQUESTS[0], GenerationRequest(REQUESTS[1].text)], 40
    )
    wanted = "One and one\nVerdict: True"
    assert (answer.text, answer.ended) == (wanted, True)
    assert answer.tokens == len(loaded.tokenizer(wanted + "\n", add_special_tokens=False)["input_ids"])
    assert not other.ended  # no last line was named, so the text goes on
    assert other.tokens == 40
    assert other.text.startswith(scripted)


def test_a_chat_model_ends_its_answers_itself(loaded: LoadedModel, scripted: str) -> None:
    (answer,) = TransformersGenerator(loaded).generate(REQUESTS[:1], 40)
    assert not answer.ended
    assert answer.text.startswith(scripted)


def test_lines_are_cut_where_they_end() -> None:
    assert up_to_line("a\n Verdict: b\nc", "Verdict:") == "a\n Verdict: b"
    assert up_to_line("a\nVerdict: b", "Verdict:") == "a\nVerdict: b"


def test_samples_follow_the_softmax_at_its_temperature() -> None:
    """4,000 draws, each with a seed of its own; shares within four standard deviations."""
    logits, count = torch.tensor([2.0, 1.0, 0.0, -1.0]), 4000
    for temperature in (0.5, 1.0):
        draw = _Draw(temperature, range(count))
        found = draw(torch.zeros(count, 1), logits.repeat(count, 1)).argmax(-1)
        for k, p in enumerate(torch.softmax(logits / temperature, -1).tolist()):
            share = float((found == k).float().mean())
            assert share == pytest.approx(p, abs=4 * (p * (1 - p) / count) ** 0.5)


def test_every_request_and_every_seed_has_a_chance_of_its_own() -> None:
    """With one chance for all, examples would be judged wrongly together."""
    assert len({_row_seed(seed, request) for seed in range(5) for request in REQUESTS}) == 5 * len(REQUESTS)


def test_sampling_leaves_the_global_generator_alone(loaded: LoadedModel) -> None:
    before = torch.get_rng_state()
    TransformersGenerator(loaded).generate(REQUESTS, 5, 1.0, 1)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.usefixtures("our_attention")
def test_a_scorer_of_the_same_model_does_not_change_answers(folder: str) -> None:
    """On a CPU the scorer's walk puts attention of its own into the model, and takes it out again."""
    loaded = load(ModelChoice(folder, "none", "bfloat16"))
    wanted = TransformersGenerator(loaded).generate(REQUESTS, 12)
    scorer = TransformersScorer(loaded)
    task = Task("t", "{text} is")
    examples = [Example(str(k), {"text": f"What is {k}"}, "g") for k in range(4)]
    prompts = list(leave_one_out_prompts(task, examples, [Labeling(dict.fromkeys(range(4), "True"))])[0].values())
    scores = scorer.score(prompts)
    assert scorer.attention == attention.NAME
    assert loaded.model.config._attn_implementation == loaded.attention != attention.NAME
    assert TransformersGenerator(loaded).generate(REQUESTS, 12) == wanted
    assert scorer.score(prompts) == scores


def test_what_does_not_fit_is_refused(loaded: LoadedModel) -> None:
    with pytest.raises(PromptTooLong, match="its answer may have 2,040, the model takes 2,048"):
        TransformersGenerator(loaded).generate(REQUESTS, 2040)


def test_a_number_that_is_none_is_an_error_and_no_answer(loaded: LoadedModel) -> None:
    with torch.no_grad():
        loaded.model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(ScoreNotFinite, match="NaN for a next token"):
        TransformersGenerator(loaded).generate(REQUESTS, 5)


def test_settings_that_cannot_be_are_refused(loaded: LoadedModel) -> None:
    with pytest.raises(SettingError, match="form is 'verse': use one of chat, plain"):
        TransformersGenerator(loaded, "verse")
    with pytest.raises(SettingError, match=r"temperature is -0.5"):
        TransformersGenerator(loaded).generate(REQUESTS, 5, -0.5)


def test_chat_without_a_template_is_an_error(loaded: LoadedModel) -> None:
    loaded.tokenizer.chat_template = None
    with pytest.raises(NotApplicable, match="has no chat template"):
        TransformersGenerator(loaded, "chat").generate(REQUESTS, 5)


@pytest.mark.parametrize("style", ["direct", "verified", "rewritten"])
@pytest.mark.parametrize("form", ["chat", "plain"])
def test_a_judge_takes_a_real_model_and_a_random_one_abstains(loaded: LoadedModel, form: str, style: str) -> None:
    task = Task("t", "Question: {q}\nI think the answer is")
    examples = [Example(str(k), {"q": f"What is {k} + {k}?"}, str(k)) for k in range(3)]
    found = Judge(task, TransformersGenerator(loaded, form), style, samples=2, max_tokens=32).verdicts(examples)
    assert [verdict.label for verdict in found] == [None] * 3
    assert all(0 < verdict.tokens <= 32 * sum(map(len, verdict.samples)) for verdict in found)
