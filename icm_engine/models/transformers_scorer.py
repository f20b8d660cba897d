"""Label log-probabilities from a causal language model of transformers; each distinct prefix is encoded once.

Prompts become a tree of distinct prefixes, walked depth first with the model's own key-value cache: extend, recurse,
crop. A prefix that prompts keep from call to call stays in the cache, encoded in calls of its own whose boundaries
depend on its tokens alone: encoded again, it has the same digits. Small subtrees go into one call under a tree
attention mask. Models whose cache cannot be cropped (state spaces), and the mode `full-prompts`, encode every prompt
separately.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain, takewhile
from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear
from transformers.cache_utils import DynamicCache

from icm_engine.core.batching import FIRST, NEWEST
from icm_engine.core.errors import IcmError, ModelNotUsable, OutOfMemory, SettingError
from icm_engine.core.prompting import Prompt
from icm_engine.core.scoring import Kernel, LabelLogProbs, TokenBudget, Usage
from icm_engine.models import attention
from icm_engine.models.attention import own_mask, path_cache, path_mask, positions, windows
from icm_engine.models.loading import DTYPES, LoadedModel, as_memory_error, free_memory
from icm_engine.models.prefix_tree import Chunk, PrefixNode, PrefixRequest, Read, Tokens, build, walk
from icm_engine.models.tokenized_prompts import (
    PromptReader,
    control_tokens,
    full_tokens,
    longest,
    pattern_of,
    reader_of,
)

ROWS = 16_384  # vocabulary rows converted at a time if there is no memory for a full copy
SHARE = 0.25  # share of free memory that the copy may take


class Float32Head:
    """Makes a model compute its logits in float32 while active.

    Weights are kept in float32 beside the model's own if memory allows, else converted in blocks at each call. The
    model's scaling or capping of logits still applies, now in float32.
    """

    def __init__(self, model: Any, free_bytes: int) -> None:
        head = model.get_output_embeddings()
        plain = type(head) is nn.Linear and head.weight.is_floating_point()
        self._head: nn.Linear | None = head if plain and head.weight.dtype != torch.float32 else None
        self._copy: torch.Tensor | None = None
        if self._head is not None and self._head.weight.numel() * 4 < SHARE * free_bytes:
            self._copy = self._head.weight.detach().float()

    @contextmanager
    def projecting(self) -> Iterator[None]:
        """Install the float32 projection in the model within this context."""
        if self._head is None:
            yield
            return
        own = self._head.__dict__
        before = own.get("forward")  # where another library has replaced it
        own["forward"] = self._project
        try:
            yield
        finally:
            del own["forward"]
            if before is not None:
                own["forward"] = before

    def _project(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits in float32, shape (..., vocabulary)."""
        assert self._head is not None
        weight, bias = self._head.weight, self._head.bias
        hidden = hidden.float()
        if self._copy is not None:
            logits = linear(hidden, self._copy)
        else:
            blocks = [weight[start : start + ROWS] for start in range(0, len(weight), ROWS)]
            logits = torch.cat([linear(hidden, rows.float()) for rows in blocks], dim=-1)
        return logits if bias is None else logits + bias.float()


ENCODINGS = ("prefix-tree", "full-prompts")
CHUNK_TOKENS = 640  # on a GPU, where nobody has measured it; on a CPU `attention.fastest` says how many
LEAST_TOKENS = 40  # at once: with a sixteenth of the tokens and no memory left, less would not help
ROUNDING = 1e-4  # log-odds in float32: allowed difference between tree and full prompts, from rounding alone
# otherwise rounding depends on the model: up to a third of one demonstration's effect, or this much
COARSE_ROUNDING, NOTICED = 0.03, 1 / 3


@dataclass(frozen=True)
class EncodingTrial:
    """Prompts with their log-odds as full prompts, and how much one demonstration less changes these."""

    prompts: Sequence[Prompt]
    odds: Sequence[float]
    shorter: float


def _distance(found: Sequence[float], wanted: Sequence[float]) -> float:
    """The root mean square of the differences."""
    return math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(found, wanted, strict=True)) / len(wanted))


class TransformersScorer(PromptReader):
    """Scores prompts with a loaded model. `describe` says how prompts are encoded, and why."""

    def __init__(
        self,
        loaded: LoadedModel,
        encoding: str = "prefix-tree",
        chunk_tokens: int | None = None,
        version: int = NEWEST,
    ) -> None:
        if encoding not in ENCODINGS:
            raise SettingError(f"encoding is {encoding!r}: use one of {', '.join(ENCODINGS)}")
        self.loaded, self.encoding = loaded, encoding
        self._ways, tokens = self._attentions()
        self.chunk_tokens, self._shrunk = chunk_tokens or tokens, ""
        self.usage, self.reason = Usage(), "as asked"
        self.attention = loaded.attention
        self._reasons: dict[Kernel, str] = {}  # what a trial found, of those that can walk the tree
        self._head: Float32Head | None = None
        self._cache: DynamicCache | None = None
        self._room = 0  # tokens that the cache can hold
        self._kept: Tokens = ()  # the tokens at the beginning of the cache that stay from call to call
        self._windows: Mapping[str, int | None] = {}
        self.tokenize = lru_cache(maxsize=200_000)(self._tokenize)
        if version > FIRST:
            self.reader = reader_of(loaded.tokenizer, f"of model {loaded.name!r}")
            self.control = pattern_of(control_tokens(loaded.tokenizer))
            self._head = Float32Head(loaded.model, loaded.free_bytes())
        bos = loaded.tokenizer.bos_token_id
        self.beginning = ((bos,),) if bos is not None else ()
        if encoding == "prefix-tree":
            self._choose_encoding()
        self._chosen = self._kernel = Kernel(self.attention, self.chunk_tokens)

    def score(self, prompts: Sequence[Prompt]) -> list[LabelLogProbs]:
        """Return the log-probability of each label of each prompt, in order.

        If memory runs out, everything is repeated with calls of half as many tokens, as often as that may help. Raises
        PromptTooLong, LabelNotTokenizable, ScoreNotFinite, OutOfMemory; never cuts a prompt.
        """
        if not prompts:
            return []  # a kept prefix stays
        requests = self.requests(prompts)
        self.require_context(prompts, requests)
        while True:
            try:
                scores, seen = self._scored(prompts, requests)
                break
            except OutOfMemory as error:
                if not self._shrink(str(error)):
                    raise
            free_memory(self.loaded.device)  # only here, after the error is gone, is the failed call's memory free
        self.usage += Usage(len(prompts), seen, full_tokens(requests))
        return [LabelLogProbs(tuple(row)) for row in scores]

    def keep(self, prompt: Prompt, before: Prompt | None) -> None:
        """Count the tokens of the prompt's kept segments that those of `before` do not have, which calls encode next.

        What the cache holds makes no difference, so what a run costs does not depend on when it was interrupted.
        """
        if self.encoding == "prefix-tree":
            held = self._kept_tokens(self.segments(before), before.kept) if before else ()
            tokens = self._kept_tokens(self.segments(prompt), prompt.kept)
            self.usage += Usage(0, len(tokens) - self._common(held, tokens), 0)

    def _common(self, held: Tokens, tokens: Tokens) -> int:
        """How many of the tokens need not be encoded again if these are held: up to where a call began."""
        if held == tokens:
            return len(tokens)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(held, tokens, strict=False)))
        return same - same % self.chunk_tokens

    def _kept_tokens(self, segments: Sequence[Tokens], kept: int) -> Tokens:
        """The tokens of the first `kept` demonstrations, with what begins every prompt."""
        return tuple(chain.from_iterable(segments[: len(self.beginning) + kept])) if kept else ()

    def _scored(self, prompts: Sequence[Prompt], requests: Sequence[PrefixRequest]) -> tuple[list[list[float]], int]:
        """The label log-probabilities of each prompt, and the tokens encoded. Raises OutOfMemory."""
        seen, scores = 0, [[0.0] * len(prompt.labels) for prompt in prompts]
        try:
            with self.attending(), self._head.projecting() if self._head else nullcontext():
                for read, value, encoded in self._log_probs(requests, min(prompt.kept for prompt in prompts)):
                    scores[read.prompt][read.continuation] += value
                    seen = encoded
        except (RuntimeError, MemoryError) as error:
            self._cache, self._room, self._kept = None, 0, ()
            raise as_memory_error(error, f"scoring {len(prompts)} prompts") or error from error
        return scores, seen

    @property
    def calls(self) -> TokenBudget:
        """Tokens per model call, and why they were reduced if memory ran out."""
        return TokenBudget(self.chunk_tokens, self._shrunk)

    def begin_calls(self, tokens: int | None, kernel: Kernel | None = None) -> None:
        """Use this kernel from now on, with that many tokens per call; None for what was chosen when the model was
        loaded, and for the kernel's own number. A kernel that is not possible here leaves the chosen one.
        """
        self._kernel = kernel if kernel is not None and self._possible(kernel) else self._chosen
        self.attention = self._kernel.attention
        self.reason = self._reasons.get(self._kernel, self.reason)
        self.chunk_tokens, self._shrunk, self._kept = tokens or self._kernel.tokens, "", ()

    def _possible(self, kernel: Kernel) -> bool:
        """Whether a kernel that was chosen elsewhere, or earlier, scores like full prompts here too."""
        if kernel in self._reasons:
            return True
        if self.encoding != "prefix-tree" or kernel.attention not in self._ways:
            return False
        usage, self.chunk_tokens = self.usage, kernel.tokens
        try:
            return not self._why_not(kernel.attention, self._trial())
        finally:
            self.usage = usage

    def _shrink(self, why: str) -> bool:
        """Halve the tokens per call; False at the minimum or with full prompts."""
        if self.encoding != "prefix-tree" or self.chunk_tokens // 2 < LEAST_TOKENS:
            return False
        self.chunk_tokens, self._shrunk, self._kept = self.chunk_tokens // 2, why.partition(": use ")[0], ()
        return True

    def describe(self) -> Mapping[str, object]:
        config = self.loaded.model.config
        return {
            "model": self.loaded.name,
            **self.loaded.adapter,
            **self.loaded.file,
            "architecture": type(self.loaded.model).__name__,
            "parameters": int(self.loaded.model.num_parameters()),
            "quantization": self.loaded.quantization,
            "dtype": self.loaded.dtype,
            "device": self.loaded.device,
            "context": self.loaded.context,
            "trained_context": getattr(config, "trained_context", None),
            "encoding": self.encoding,
            "reason": self.reason,
            "attention": self.attention,
            "tokens_per_call": self._kernel.tokens,
            "torch": torch.__version__,
            **({"logits": "float32"} if self._head else {}),  # runs of version 1 use the model's own precision
        }

    # -- tokens

    @property
    def context(self) -> int:
        """The number of tokens the model takes."""
        return self.loaded.context

    def _tokenize(self, text: str) -> Tokens:
        return tuple(self.loaded.tokenizer(text, add_special_tokens=False)["input_ids"])

    # -- the walk

    def _log_probs(self, requests: Sequence[PrefixRequest], kept: int) -> Iterator[tuple[Read, float, int]]:
        """Yield every read with its log-probability and the tokens encoded so far, without those of a kept prefix."""
        encoded = 0
        for tree, cache, held in self._trees(requests, kept):
            cached = held
            for step in walk(tree, self.chunk_tokens if cache is not None else tree.size, held):
                if cache is not None and cached > step.depth:
                    cache.crop(step.depth - cached)  # a negative count: tokens to remove
                cached = step.depth + len(step.chunk.tokens)
                encoded += len(step.chunk.tokens)
                for read, value in self._encode(step.chunk, step.depth, cache):
                    yield read, value, encoded

    def _trees(
        self, requests: Sequence[PrefixRequest], kept: int
    ) -> Iterator[tuple[PrefixNode, DynamicCache | None, int]]:
        """One tree of all prompts, its cache and the kept tokens in it; or one branchless tree for each prompt."""
        if self.encoding == "prefix-tree":
            cache = self._cache_for(requests)
            first = len(self.beginning) + kept if kept else 0
            self._hold(self._kept_tokens(requests[0].segments, kept), cache)
            rest = [replace(request, segments=request.segments[first:]) for request in requests] if first else requests
            yield build(rest), cache, len(self._kept)
        else:
            yield from ((build([single]), None, 0) for request in requests for single in request.alone())

    def _hold(self, tokens: Tokens, cache: DynamicCache) -> None:
        """Bring the cache to hold exactly these tokens, and encode what it lacks.

        Calls begin at multiples of the tokens per call, so what is encoded again has the digits it had.
        """
        known = self._common(self._kept, tokens)
        cache.crop(known - cache.get_seq_length())
        for step in walk(PrefixNode(tokens), self.chunk_tokens):
            if step.depth >= known:
                self._encode(step.chunk, step.depth, cache)
        self._kept = tokens

    def _cache_for(self, requests: Sequence[PrefixRequest]) -> DynamicCache:
        """A cache for the longest path and one chunk, which the walk never exceeds. Raises OutOfMemory."""
        sizes = [longest(request) for request in requests]
        room = max(sizes, default=0) + min(self.chunk_tokens, sum(sizes))
        if self._cache is None or room > self._room:
            self._cache, self._room, self._kept = None, 0, ()  # the cache's memory is freed before more is requested
            self._check_memory(room)
            self._cache, self._room = path_cache(self.loaded.model.config, room), room
        return self._cache

    def _check_memory(self, room: int) -> None:
        """Raise OutOfMemory, with the numbers, if a cache of this size does not fit."""
        mask = room * self.chunk_tokens * DTYPES[self.loaded.dtype].itemsize
        needed, free = room * self.loaded.cache_bytes_per_token + mask, self.loaded.free_bytes()
        if needed > free:
            raise OutOfMemory(
                f"a path of {room:,} tokens needs a cache of {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free on "
                f"{self.loaded.device}: use fewer examples (--limit, or --batch-size), or shorter demonstrations"
            )

    @torch.inference_mode()
    def _encode(self, chunk: Chunk, depth: int, cache: Any) -> list[tuple[Read, float]]:
        """Run the model on one chunk; log-softmax in float32, since bfloat16 loses the third digit."""
        offsets = sorted({read.offset for read in chunk.reads}) or [len(chunk.tokens) - 1]
        device = self.loaded.model.device
        inputs: dict[str, Any] = {
            "input_ids": torch.tensor([chunk.tokens], device=device),
            "use_cache": cache is not None,
            "logits_to_keep": torch.tensor(offsets, device=device),
        }
        if cache is not None:
            inputs["past_key_values"] = cache
            inputs["position_ids"] = torch.tensor([positions(chunk, depth)], device=device)
            inputs["attention_mask"] = self._mask(chunk, depth)
        with attention.reading_rows(
            inputs["logits_to_keep"], self.loaded.model.config.get_text_config().num_hidden_layers
        ):
            logits = self.loaded.model(**inputs).logits[0].float()  # (offsets, vocabulary)
        row = {offset: k for k, offset in enumerate(offsets)}
        log_probs = torch.log_softmax(logits, dim=-1)
        values = log_probs[[row[r.offset] for r in chunk.reads], [r.token for r in chunk.reads]].tolist()
        return list(zip(chunk.reads, values, strict=True))

    def _mask(self, chunk: Chunk, depth: int) -> torch.Tensor | dict[str, torch.Tensor] | None:
        """The chunk's attention mask, by type of layer if there are several; None for plain causal attention."""
        ours = self.attention == attention.NAME  # which treats the cache as visible to all
        if chunk.linear and not ours and not any(self._windows.values()):
            return None
        like = torch.empty(0, dtype=self.loaded.model.dtype, device=self.loaded.model.device)
        masks = {
            kind: own_mask(chunk, like) if ours and not window else path_mask(chunk, depth, window, like)
            for kind, window in self._windows.items()
        }
        return masks if len(masks) > 1 else next(iter(masks.values()))

    # -- which way to encode

    def _choose_encoding(self) -> None:
        """Use the prefix tree only if the cache can be cropped and a trial agrees with full prompts."""
        reason = self._why_not_croppable()
        trial = self._trial()
        for way in [] if reason else self._ways:
            if not (reason := self._why_not(way, trial)):
                return
        self.encoding, self.reason, self.attention = "full-prompts", reason, self.loaded.attention

    def _why_not_croppable(self) -> str:
        """Why the cache cannot be cropped, empty if it can; records the windows of its layers."""
        try:
            self._windows = windows(self.loaded.model.config)
        except (KeyError, AttributeError, ValueError) as error:
            return str(error)
        return ""

    def _attentions(self) -> tuple[list[str], int]:
        """The available attention implementations for a walk, the faster one first, and its tokens per call."""
        if self.loaded.device != "cpu":
            return [self.loaded.attention], CHUNK_TOKENS
        ours, tokens = attention.fastest(self.loaded.dtype, self.loaded.head_width)
        return [attention.register(), self.loaded.attention][:: 1 if ours else -1], tokens

    @contextmanager
    def attending(self) -> Iterator[None]:
        """Install the walk's attention within this context; other users of the model and full prompts keep its own."""
        if self.encoding == "full-prompts" or self.attention == self.loaded.attention:
            yield
            return
        self.loaded.model.set_attn_implementation(self.attention)
        try:
            yield
        finally:
            self.loaded.model.set_attn_implementation(self.loaded.attention)

    def _trial(self) -> EncodingTrial:
        """Prompts longer than any window of the model, and their log-odds as full prompts. Raises ModelNotUsable."""
        demo = [(f"{k} + {k + 1} is", " True" if k % 2 else " False", "\n\n") for k in range(6)]
        longest = max((window or 0 for window in self._windows.values()), default=0)
        filling = demo * (1 + longest // sum(len(self.segment(d)) for d in demo)) if longest else []
        prompts = [
            Prompt((*filling, *demo[:k], *demo[k + 1 :][: k + 1], (f"{k} + 1 is",)), ("True", "False"))
            for k in range(6)
        ]
        shorter = [
            [replace(p, segments=p.segments[1:]) for p in prompts],
            [replace(p, segments=(*p.segments[:-2], p.segments[-1])) for p in prompts],
        ]
        self.encoding = "full-prompts"
        try:
            wanted = self._odds(prompts)
            return EncodingTrial(prompts, wanted, min(_distance(self._odds(some), wanted) for some in shorter))
        except IcmError:
            raise
        except Exception as error:  # any error of a model's own code or a quantized layer
            raise ModelNotUsable(f"model {self.loaded.name!r} cannot score prompts ({error})") from error
        finally:
            self.encoding, self.usage = "prefix-tree", Usage()

    def _why_not(self, way: str, trial: EncodingTrial) -> str:
        """Why the tree cannot be used with this attention; empty, with the reason recorded, if it can."""
        self.attention = way
        try:
            found = self._odds(trial.prompts)
        except IcmError:
            raise
        except Exception as error:
            return f"the model does not take a walk of its cache ({error})"
        finally:
            self.usage = Usage()
        difference = max(abs(a - b) for a, b in zip(found, trial.odds, strict=True))
        # 8-bit layers round activations to float16 in any dtype, depending on the rest of the call
        fine = self.loaded.dtype == "float32" and self.loaded.quantization != "int8"
        allowed = max(COARSE_ROUNDING, NOTICED * trial.shorter)
        if difference > ROUNDING if fine else _distance(found, trial.odds) > allowed:
            return f"tree and full prompts differ by {difference:.1e} in a trial"
        self.reason = f"cache can be cropped; differs from full prompts by {difference:.1e} in a trial"
        self._reasons[Kernel(way, self.chunk_tokens)] = self.reason
        return ""

    def _odds(self, prompts: Sequence[Prompt]) -> list[float]:
        return [score.raw[0] - score.raw[1] for score in self.score(prompts)]
