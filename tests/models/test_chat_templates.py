"""A chat prompt is what the tokenizer's own chat template makes, and is scored as the model would be asked."""

import pytest
import torch
from transformers import AutoTokenizer

from icm_engine.baselines.generation import GenerationRequest
from icm_engine.baselines.llm_judge import label_question
from icm_engine.core.errors import NotApplicable, PromptTooLong
from icm_engine.core.labeling import Example, Task
from icm_engine.core.prompting import Prompt
from icm_engine.core.settings import ModelChoice
from icm_engine.models.generator import TransformersGenerator, chat_label_prompt, chat_prompt, chat_text
from icm_engine.models.loading import SAMPLE_MODEL, load
from icm_engine.models.transformers_scorer import TransformersScorer
from tests.support.chat_models import LINES, save_chat_model

TASK = Task("t", "Question: {q}\nClaim: {c}\nI think this claim is")
EXAMPLE = Example("0", {"q": "What is 2 + 2?", "c": "It is 4."}, "0")
BRACKETS = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }} </s>{% endif %}{% endfor %}"
)
THOUGHT = LINES.replace("{{ m.content }}", "{{ '<t></t>\n' if m.role == 'assistant' else '' }}{{ m.content }}")
TEMPLATES = {
    "lines": (LINES, ""),
    "no beginning of sequence": (LINES.replace("{{ bos_token }}", ""), ""),
    "brackets": (BRACKETS, " "),
    "an empty thought": (THOUGHT, ""),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_chat_model(tmp_path_factory.mktemp("chat"), LINES)


@pytest.fixture(params=["prefix-tree", "full-prompts"])
def scorer(request: pytest.FixtureRequest, folder: str) -> TransformersScorer:
    return TransformersScorer(load(ModelChoice(folder, "none", "float32")), request.param)


def flat(scorer: TransformersScorer, prompt: Prompt) -> list[int]:
    return [token for segment in scorer.segments(prompt) for token in segment]


def turns(text: str, answer: str | None = None) -> list[dict[str, str]]:
    asked = [{"role": "user", "content": text}]
    return asked if answer is None else [*asked, {"role": "assistant", "content": answer}]


@pytest.mark.parametrize("name", TEMPLATES)
def test_tokens_are_those_of_the_tokenizers_own_chat(scorer: TransformersScorer, name: str) -> None:
    template, lead = TEMPLATES[name]
    tokenizer = scorer.loaded.tokenizer
    tokenizer.chat_template = template
    prompt = chat_prompt(tokenizer, "Is 4 larger than 2?", ("True", "False"))
    own = tokenizer.apply_chat_template(
        turns("Is 4 larger than 2?"), tokenize=True, add_generation_prompt=True, return_dict=False
    )
    found = flat(scorer, prompt)
    assert prompt.lead == lead
    assert found[: len(own)] == own
    assert (found == own) == (name != "an empty thought")  # which the template puts between prompt and answer
    assert found.count(tokenizer.bos_token_id) == ("bos_token" in template)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_label_is_scored_as_the_answer_that_the_template_would_show(scorer: TransformersScorer, name: str) -> None:
    tokenizer = scorer.loaded.tokenizer
    tokenizer.chat_template, _ = TEMPLATES[name]
    prompt = chat_label_prompt(tokenizer, TASK, EXAMPLE)
    (score,) = scorer.score([prompt])
    for label, found in zip(TASK.labels, score.raw, strict=True):
        shown = tokenizer.apply_chat_template(
            turns(label_question(TASK, EXAMPLE), label), tokenize=True, return_dict=False
        )
        start, stop = len(flat(scorer, prompt)), len(flat(scorer, prompt)) + len(scorer.tokenize(prompt.lead + label))
        assert tokenizer.decode(shown[start:stop]) == prompt.lead + label
        with torch.inference_mode():
            log_probs = torch.log_softmax(scorer.loaded.model(torch.tensor([shown])).logits[0].float(), -1)
        wanted = sum(float(log_probs[k - 1, shown[k]]) for k in range(start, stop))
        assert found == pytest.approx(wanted, abs=1e-4)


def test_plain_and_chat_prompts_may_stand_in_one_call(scorer: TransformersScorer) -> None:
    scorer.loaded.tokenizer.chat_template = LINES
    plain = Prompt((("Question: What is 2 + 2?\nClaim: It is 4.\nI think this claim is",),), TASK.labels)
    prompts = [plain, chat_label_prompt(scorer.loaded.tokenizer, TASK, EXAMPLE)]
    assert flat(scorer, plain)[0] == scorer.loaded.tokenizer.bos_token_id
    for together, prompt in zip(scorer.score(prompts), prompts, strict=True):
        assert together.raw == pytest.approx(scorer.score([prompt])[0].raw, abs=1e-5)


def test_a_plain_prompt_stays_as_it_was() -> None:
    prompt = Prompt((("The sky is",),), TASK.labels)
    assert (prompt.lead, prompt.whole) == (" ", False)


def test_a_model_without_a_chat_template_is_not_applicable() -> None:
    tokenizer = AutoTokenizer.from_pretrained(SAMPLE_MODEL)
    with pytest.raises(NotApplicable, match=r"model '.*' has no chat template: ask it by the plain template"):
        chat_text(tokenizer, "Is 4 larger than 2?")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (LINES.replace("<|assistant|>", "<|assistant|>\n<think>"), "made for models that reason first"),
        ("{{ raise_exception('a system turn must come first') }}", "failed .*a system turn must come first"),
        ("{% for m in messages %}", "chat template of model .* failed"),
    ],
)
def test_a_template_that_cannot_ask_for_a_label_is_not_applicable(template: str, message: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(SAMPLE_MODEL)
    tokenizer.chat_template = template
    with pytest.raises(NotApplicable, match=message):
        chat_prompt(tokenizer, "Is 4 larger than 2?", TASK.labels)


def test_a_chat_prompt_that_does_not_fit_is_refused(scorer: TransformersScorer) -> None:
    with pytest.raises(PromptTooLong, match=r"prompt has [\d,]+ tokens \(0 demonstrations\), the model takes 2,048"):
        scorer.score([chat_prompt(scorer.loaded.tokenizer, "2 + 2 " * 1000, TASK.labels)])


@pytest.mark.parametrize("name", TEMPLATES)
def test_an_answer_to_train_on_is_the_templates_own_up_to_its_end(scorer: TransformersScorer, name: str) -> None:
    tokenizer, text, answer = scorer.loaded.tokenizer, "Is 4 larger than 2?", "It is.\nVerdict: True"
    tokenizer.chat_template, _ = TEMPLATES[name]
    generator, request = TransformersGenerator(scorer.loaded), GenerationRequest(text)
    found = tokenizer.decode(generator.tokens(request) + generator.answer_tokens(request, answer))
    whole = tokenizer.apply_chat_template(turns(text, answer), tokenize=False)
    assert whole.startswith(found)
    assert found.endswith(f"{answer} </s>" if name == "brackets" else f"{answer}{tokenizer.eos_token}")
    plain = TransformersGenerator(scorer.loaded, "plain").answer_tokens(request, answer)
    assert tokenizer.decode(plain) == f"{answer}\n{tokenizer.eos_token}"
