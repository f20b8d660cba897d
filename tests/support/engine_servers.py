"""Stand-ins for servers other than vLLM, with a model of this process behind them.

They speak as the documentation of these versions says, except llama.cpp's, whose answers were recorded from a build:

- SGLang 0.5 (io_struct.GenerateReqInput, entrypoints/openai/serving_tokenize.py): no build of it was tried;
- llama.cpp's llama-server, the code of xllamacpp 2026.10.11549 (tools/server/README.md has the same fields);
- Ollama 0.13 (docs/openai: a prompt is text) and LM Studio 0.3 (docs: a prompt is text): no build of them was tried;
- llama-cpp-python's server, whose refusal was recorded from version 0.3.36.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tests.support.fake_server import Completions, Json

Answer = tuple[int, Json] | None


def _likeliest(values: Iterable[float], count: int) -> list[tuple[int, float]]:
    return sorted(enumerate(values), key=lambda row: -row[1])[:count]


@dataclass
class Sglang(Completions):
    """SGLang, which names tokens by their text in OpenAI's form; `old` does not know `token_ids_logprob`."""

    old: bool = False
    vllm: bool = False
    picky: bool = False

    def models(self) -> Json:
        return {
            "object": "list",
            "data": [
                {"id": name, "object": "model", "created": 1795956943, "owned_by": "sglang", "root": self.root,
                 "parent": None, "max_model_len": self.context} for name in self.names
            ],
        }  # fmt: skip

    def other(self, path: str, body: Json | None) -> Answer:
        if path == "/server_info":
            return 200, {"version": "0.5.4", "model_path": "small", "tp_size": 1}
        if body is None:
            return None
        if path == "/v1/tokenize":
            tokens = [*(self.before if body["add_special_tokens"] else ()), *self.tokenize(body["prompt"])]
            return 200, {"tokens": tokens, "count": len(tokens), "max_model_len": self.context}
        if path == "/v1/detokenize":
            assert body["skip_special_tokens"] is False
            return 200, {"text": self.text_of(body["tokens"])}
        return (200, self.generated(body)) if path == "/generate" else None

    def generated(self, body: Json) -> Json:
        self.asked.append(body)
        assert body["sampling_params"]["max_new_tokens"] == 1
        tokens = tuple(body["input_ids"] if "input_ids" in body else self.tokenize(body["text"]))
        values = list(self.log_probs(tokens))
        (best, value), *_ = _likeliest(values, 1)
        told: Json = {"prompt_tokens": len(tokens), "completion_tokens": 1, "cached_tokens": 0, "id": "1",
                      "finish_reason": {"type": "length", "length": 1}, "input_token_logprobs": [],
                      "output_token_logprobs": [[value, best, None]]}  # fmt: skip
        if count := body.get("top_logprobs_num"):
            told["output_top_logprobs"] = [[[value, token, None] for token, value in _likeliest(values, count)]]
        if not self.old and (wanted := body.get("token_ids_logprob")):
            told["output_token_ids_logprobs"] = [[[values[token], token, None] for token in wanted]]
        return self.spoil({"text": self.decode(best), "output_ids": [best], "meta_info": told})


@dataclass
class LlamaServer(Completions):
    """llama.cpp's llama-server; `slots` share the context between them."""

    slots: int = 1
    vllm: bool = False

    def models(self) -> Json:
        return {
            "object": "list",
            "data": [
                {"id": name, "object": "model", "created": 1795956943, "owned_by": "llamacpp",
                 "meta": {"vocab_type": 2, "n_vocab": 320, "n_ctx_train": 8192}} for name in self.names
            ],
        }  # fmt: skip

    def other(self, path: str, body: Json | None) -> Answer:
        if path == "/props" and body is None:
            facts = {"n_ctx": self.context and self.context // self.slots}
            return 200, {"default_generation_settings": facts, "total_slots": self.slots, "build_info": "b11549-test"}
        if body is None:
            return None
        if path == "/tokenize":
            special = self.before if body.get("add_special") else ()
            return 200, {"tokens": [*special, *self.tokenize(body.get("content", ""))]}
        if path == "/detokenize":
            return 200, {"content": self.text_of(body["tokens"])}
        if path == "/v1/completions":  # answers in the form of chats
            return 200, {"choices": [{"text": "", "index": 0, "logprobs": {"content": []}}]}
        return self.completion(body) if path == "/completion" else None

    def completion(self, body: Json) -> Answer:
        self.asked.append(body)
        if not self.tells:
            return 404, {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}
        prompt = body["prompt"]
        tokens = [*self.before, *self.tokenize(prompt)] if isinstance(prompt, str) else prompt
        rows: list[Json] = [
            {"id": token, "token": self.decode(token), "bytes": list(self.decode(token).encode()), "logprob": value}
            for token, value in _likeliest(self.log_probs(tuple(tokens)), body["n_probs"])
        ]
        best = next((token for token, _ in body.get("logit_bias", ())), rows[0]["id"])
        told: Json = {"model": self.names[0], "truncated": False}
        if "\ufffd" not in self.decode(best):  # a part of a character: no numbers are told
            told["completion_probabilities"] = [{"id": best, "top_logprobs": rows}]
        return 200, self.spoil(told)


@dataclass
class TextOnly(Completions):
    """A server whose completions take a text and no token ids."""

    owner: str = "library"
    vllm: bool = False
    status: int = 400
    refusal: str = "json: cannot unmarshal array into Go struct field CompletionRequest.prompt of type string"

    def models(self) -> Json:
        return {"object": "list", "data": [{"id": n, "object": "model", "owned_by": self.owner} for n in self.names]}

    def other(self, path: str, body: Json | None) -> Answer:
        if path == "/api/version" and self.owner == "library":
            return 200, {"version": "0.13.5"}
        if path == "/v1/completions" and body is not None and not isinstance(body["prompt"], str):
            return self.status, {"error": {"message": self.refusal, "type": "invalid_request_error"}}
        return None


OLLAMA = {"owner": "library"}
LM_STUDIO = {"owner": "organization_owner", "refusal": "'prompt' field must be a string"}
LLAMA_CPP_PYTHON = {
    "owner": "me",
    "status": 500,
    "refusal": "4 validation errors: {'type': 'string_type', 'loc': ('body', 'prompt', 'str'), 'msg': 'Input should be "
    "a valid string', 'input': [1, 2, 3]}",
}
