"""Text generation with a causal language model: chat templates, sampling, continuations of a line.

A chat template writes special tokens itself, including a beginning-of-sequence token if the model wants one. So its
text is whole: it is tokenised unchanged and nothing is put before it.

A chat model gets a request through its chat template; a base model gets a text that continues with an answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from icm_engine.baselines.generation import Generated, GenerationRequest, GenerationUsage, Generator
from icm_engine.baselines.llm_judge import label_question
from icm_engine.core.errors import NotApplicable, PromptTooLong, ScoreNotFinite, SettingError
from icm_engine.core.labeling import Example, Label, Task
from icm_engine.core.prompting import Prompt
from icm_engine.core.rng import digest_of
from icm_engine.models.loading import LoadedModel, as_memory_error

_ANSWER = "[answer]"  # stands in for an answer, to see how the template begins one


@dataclass(frozen=True)
class TransformersChat:
    """What a loaded model offers beside scores: its chat format, and answers in words."""

    loaded: LoadedModel

    def prompts(self, task: Task, examples: Sequence[Example]) -> list[Prompt]:
        """Return the question about each example in the model's chat format. Raises NotApplicable."""
        return [chat_label_prompt(self.loaded.tokenizer, task, example) for example in examples]

    def generator(self) -> Generator:
        """Return the generator of the model, with its chat template if it has one."""
        return TransformersGenerator(self.loaded)


def has_chat_template(tokenizer: Any) -> bool:
    """Say whether the tokenizer has a chat template."""
    return bool(getattr(tokenizer, "chat_template", None))


def chat_text(tokenizer: Any, text: str) -> str:
    """Return a user's text in the model's chat format, up to where the answer begins. Raises NotApplicable."""
    return _apply(tokenizer, [{"role": "user", "content": text}], add_generation_prompt=True)


def chat_prompt(tokenizer: Any, text: str, labels: Sequence[Label]) -> Prompt:
    """Return the prompt that scores each label as the answer to a user's text. Raises NotApplicable.

    What stands between the start of an answer and its first word (a blank, an empty thought, a channel name) is read
    from the template; a blank before the label belongs to the label, as in plain prompts.
    """
    asked, answered = _answered(tokenizer, text, _ANSWER)
    opening, found, _ = answered.partition(_ANSWER)
    if not found:
        raise _other_beginning(tokenizer, asked)
    lead = " " if opening.endswith(" ") else ""
    return Prompt(((asked + opening.removesuffix(" "),),), tuple(labels), lead, whole=True, user=text)


def _answered(tokenizer: Any, text: str, answer: str) -> tuple[str, str]:
    """A user's text in the model's chat format, and what follows when it is answered. Raises NotApplicable."""
    asked = chat_text(tokenizer, text)
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
    whole = _apply(tokenizer, turns, add_generation_prompt=False)
    if not whole.startswith(asked):
        raise _other_beginning(tokenizer, asked)
    return asked, whole.removeprefix(asked)


def _other_beginning(tokenizer: Any, asked: str) -> NotApplicable:
    return NotApplicable(
        f"the chat template of model {tokenizer.name_or_path!r} begins an answer with something other than what "
        f"is answered ({asked[-40:]!r}): it is made for models that reason first, so use a judge that does"
    )


def chat_label_prompt(tokenizer: Any, task: Task, example: Example) -> Prompt:
    """Return the zero-shot prompt of a chat model: the task's own text and labels, asked as a question."""
    return chat_prompt(tokenizer, label_question(task, example), task.labels)


def _apply(tokenizer: Any, turns: list[dict[str, str]], add_generation_prompt: bool) -> str:
    if not has_chat_template(tokenizer):
        raise NotApplicable(
            f"model {tokenizer.name_or_path!r} has no chat template: ask it by the plain template, or use a chat model"
        )
    try:
        made = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=add_generation_prompt)
    except Exception as error:  # any error of a foreign template
        raise NotApplicable(
            f"the chat template of model {tokenizer.name_or_path!r} failed on a user's text ({error}): "
            "ask it by the plain template, or use another chat model"
        ) from error
    return str(made)


FORMS = ("chat", "plain")
BATCH = 8  # requests per call; independent of free memory, since rounding may depend on the others in a call


class TransformersGenerator:
    """Generates with a loaded model. `form` defaults to chat if the tokenizer has a chat template."""

    def __init__(self, loaded: LoadedModel, form: str | None = None, batch: int = BATCH) -> None:
        self.form = form or ("chat" if has_chat_template(loaded.tokenizer) else "plain")
        if self.form not in FORMS:
            raise SettingError(f"form is {form!r}: use one of {', '.join(FORMS)}")
        self.loaded, self.batch, self.usage = loaded, batch, GenerationUsage()
        own = loaded.model.generation_config.eos_token_id
        listed = own if isinstance(own, list) else [own]
        self._ends = sorted({int(end) for end in (*listed, loaded.tokenizer.eos_token_id) if end is not None})
        self._pad = loaded.tokenizer.pad_token_id or 0  # never attended to: the attention mask hides it

    def generate(
        self, requests: Sequence[GenerationRequest], max_tokens: int, temperature: float = 0.0, seed: int = 0
    ) -> list[Generated]:
        """Return an answer to each request, in order. Raises NotApplicable, PromptTooLong, ScoreNotFinite, OutOfMemory.

        Equal requests with equal seeds get equal samples wherever they stand, up to rounding in calls that encode
        others beside them.
        """
        rows = [self.tokens(request) for request in requests]
        for row in rows:
            self._require_context(row, max_tokens)
        by_length = sorted(range(len(rows)), key=lambda k: len(rows[k]))  # sorted by length, so that little is padded
        answers: dict[int, Generated] = {}
        for start in range(0, len(rows), self.batch):
            some = by_length[start : start + self.batch]
            draw = _Draw(temperature, [_row_seed(seed, requests[k]) for k in some])
            line = _LastLine(self.loaded.tokenizer, self._last_lines([requests[k] for k in some]))
            found = self._call([rows[k] for k in some], max_tokens, draw, line)
            answers |= dict(zip(some, found, strict=True))
        generated = sum(answer.tokens for answer in answers.values())
        self.usage += GenerationUsage(len(rows), sum(map(len, rows)), generated)
        return [answers[k] for k in range(len(rows))]

    def tokens(self, request: GenerationRequest) -> list[int]:
        """Return the request as the model reads it. Raises NotApplicable."""
        tokenizer = self.loaded.tokenizer
        if self.form == "chat":
            return list(tokenizer(chat_text(tokenizer, request.text), add_special_tokens=False)["input_ids"])
        beginning = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        return beginning + list(tokenizer(f"{request.text}\n\nAnswer:", add_special_tokens=False)["input_ids"])

    def answer_tokens(self, request: GenerationRequest, answer: str) -> list[int]:
        """Return an answer as the model would write it, up to its end: what training on it needs.

        Raises NotApplicable.
        """
        tokenizer = self.loaded.tokenizer
        if self.form == "plain":
            end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
            return list(tokenizer(f"{answer}\n", add_special_tokens=False)["input_ids"]) + end
        _, text = _answered(tokenizer, request.text, answer)
        tokens = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        last = next((k for k, token in enumerate(tokens) if token in self._ends), len(tokens))
        return tokens[: last + 1]

    def describe(self) -> Mapping[str, object]:
        """Return facts for the record: model, dtype, device, prompt format."""
        return {
            "model": self.loaded.name,
            "architecture": type(self.loaded.model).__name__,
            "quantization": self.loaded.quantization,
            "dtype": self.loaded.dtype,
            "device": self.loaded.device,
            "context": self.loaded.context,
            "form": self.form,
            "batch": self.batch,
            "torch": torch.__version__,
        }

    def _require_context(self, row: Sequence[int], max_tokens: int) -> None:
        if len(row) + max_tokens > self.loaded.context:
            raise PromptTooLong(
                f"request has {len(row):,} tokens and its answer may have {max_tokens:,}, the model takes "
                f"{self.loaded.context:,}: allow fewer tokens for an answer, or use shorter examples"
            )

    def _last_lines(self, requests: Sequence[GenerationRequest]) -> list[str]:
        """A chat model ends its answers by itself, and may write such a line while it is still thinking."""
        return [request.last_line if self.form == "plain" else "" for request in requests]

    @torch.inference_mode()
    def _call(self, rows: list[list[int]], max_tokens: int, draw: "_Draw", line: "_LastLine") -> list[Generated]:
        model, width = self.loaded.model, max(map(len, rows))
        line.read = width
        asked = {
            "input_ids": torch.tensor([[self._pad] * (width - len(row)) + row for row in rows], device=model.device),
            "attention_mask": torch.tensor([[0] * (width - len(r)) + [1] * len(r) for r in rows], device=model.device),
        }
        config = GenerationConfig(
            max_new_tokens=max_tokens, do_sample=False, eos_token_id=self._ends or None, pad_token_id=self._pad
        )
        own, model.generation_config = model.generation_config, GenerationConfig()  # whose penalties are not ours
        try:
            made = model.generate(
                **asked,
                generation_config=config,
                logits_processor=LogitsProcessorList([draw]),
                stopping_criteria=StoppingCriteriaList([line]),
            )
        except (RuntimeError, MemoryError) as error:
            raise as_memory_error(error, f"answering {len(rows)} requests at once") or error from error
        finally:
            model.generation_config = own
        new = made[:, width:].tolist()
        return [self._answer(row, line.found[k], line.starts[k]) for k, row in enumerate(new)]

    def _answer(self, row: list[int], lined: int | None, start: str) -> Generated:
        """Cut a row at its end: the end-of-sequence token, or the line that ends an answer."""
        end = next((k for k, token in enumerate(row) if token in self._ends), None)
        if end is not None and (lined is None or end < lined):
            return Generated(self._decode(row[:end]), end + 1, True)
        if lined is not None:
            return Generated(up_to_line(self._decode(row[:lined]), start), lined, True)
        return Generated(self._decode(row), len(row), False)

    def _decode(self, tokens: list[int]) -> str:
        return str(self.loaded.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def up_to_line(text: str, start: str) -> str:
    """Return the text up to and including its first whole line with this beginning; all of it if there is none."""
    lines = text.split("\n")
    first = next((k for k, line in enumerate(lines[:-1]) if line.lstrip().startswith(start)), len(lines))
    return "\n".join(lines[: first + 1])


def _row_seed(seed: int, request: GenerationRequest) -> int:
    return int.from_bytes(digest_of(seed, request.text)[:7])


class _Draw(LogitsProcessor):  # type: ignore[misc]
    """Sampling independent of what else is in the call: every row has its own generator.

    The token with the largest log p / temperature - log(waiting time), with waiting times from Exp(1), is a sample of
    the softmax. transformers' own sampling uses one global generator for all rows.
    """

    def __init__(self, temperature: float, seeds: Sequence[int]) -> None:
        if temperature < 0:
            raise SettingError(f"temperature is {temperature}: use 0 for the likeliest token, or a number above 0")
        self.temperature = temperature
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """(rows, vocabulary), float32."""
        if bool(torch.isnan(scores).any()):
            raise ScoreNotFinite("the model gave NaN for a next token: try quantization none, or another dtype")
        if self.temperature == 0:
            return scores
        size = scores.shape[-1]
        waits = torch.stack([torch.empty(size).exponential_(generator=own) for own in self._generators])
        return scores / self.temperature - waits.log().to(scores.device)


class _LastLine(StoppingCriteria):  # type: ignore[misc]
    """Ends a row at the first whole line with its given beginning; an empty beginning ends none."""

    def __init__(self, tokenizer: Any, starts: Sequence[str]) -> None:
        self._tokenizer, self.starts, self.read = tokenizer, starts, 0
        self.found: list[int | None] = [None] * len(starts)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """(rows,), bool: which rows are done."""
        for k, start in enumerate(self.starts):
            if start and self.found[k] is None and self._written(input_ids[k, self.read :].tolist(), start):
                self.found[k] = input_ids.shape[-1] - self.read
        return torch.tensor([n is not None for n in self.found], device=input_ids.device)

    def _written(self, tokens: list[int], start: str) -> bool:
        if "\n" not in self._tokenizer.decode(tokens[-1:]):  # a line may end here
            return False
        lines = self._tokenizer.decode(tokens, skip_special_tokens=True).split("\n")
        return any(line.lstrip().startswith(start) for line in lines[:-1])


def line_ends(loaded: LoadedModel) -> list[int]:
    """Return the tokens that end a response: those containing a line break, and end of sequence."""
    tokenizer = loaded.tokenizer
    texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))], clean_up_tokenization_spaces=False)
    own = loaded.model.generation_config.eos_token_id
    listed = own if isinstance(own, list) else [own]
    ends = {token for token in (*listed, tokenizer.eos_token_id) if token is not None}
    return sorted(ends | {token for token, text in enumerate(texts) if "\n" in text})


def first_line(text: str) -> str:
    """Return a response without its end and surrounding spaces."""
    return text.split("\n", 1)[0].strip()


class Continuer(TransformersGenerator):
    """Generates the continuation of a request's own text, one line, with nothing in between."""

    def __init__(self, loaded: LoadedModel, batch: int = BATCH) -> None:
        super().__init__(loaded, "plain", batch)
        self._ends = line_ends(loaded)

    def tokens(self, request: GenerationRequest) -> list[int]:
        """Return the request as the model reads it."""
        tokenizer = self.loaded.tokenizer
        beginning = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        return beginning + list(tokenizer(request.text, add_special_tokens=False)["input_ids"])

    def _last_lines(self, requests: Sequence[GenerationRequest]) -> list[str]:
        return [""] * len(requests)

    def _answer(self, row: list[int], lined: int | None, start: str) -> Generated:
        """Cut a row at the token that ends its line, keeping that token's text before the break."""
        end = next((k for k, token in enumerate(row) if token in self._ends), None)
        used: Any = row if end is None else row[: end + 1]
        return Generated(first_line(self._decode(used)), len(used), end is not None)
