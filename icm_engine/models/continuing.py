"""A model that continues a text to the end of a line: how a policy responds."""

from collections.abc import Sequence
from typing import Any

from icm_engine.core.generating import Generated, Request
from icm_engine.models.loading import LoadedModel
from icm_engine.models.transformers_generator import BATCH, TransformersGenerator


def line_ends(loaded: LoadedModel) -> list[int]:
    """Return the tokens that end a response: those with a line break in them, and the end of a sequence."""
    tokenizer = loaded.tokenizer
    texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))], clean_up_tokenization_spaces=False)
    own = loaded.model.generation_config.eos_token_id
    listed = own if isinstance(own, list) else [own]
    ends = {token for token in (*listed, tokenizer.eos_token_id) if token is not None}
    return sorted(ends | {token for token, text in enumerate(texts) if "\n" in text})


def first_line(text: str) -> str:
    """Return a response without what ended it and without the spaces around it."""
    return text.split("\n", 1)[0].strip()


class Continuer(TransformersGenerator):
    """Generates what follows a request's own text, one line, with nothing put between."""

    def __init__(self, loaded: LoadedModel, batch: int = BATCH) -> None:
        super().__init__(loaded, "plain", batch)
        self._ends = line_ends(loaded)

    def tokens(self, request: Request) -> list[int]:
        """Return the request as the model reads it."""
        tokenizer = self.loaded.tokenizer
        beginning = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        return beginning + list(tokenizer(request.text, add_special_tokens=False)["input_ids"])

    def _last_lines(self, requests: Sequence[Request]) -> list[str]:
        return [""] * len(requests)

    def _answer(self, row: list[int], lined: int | None, start: str) -> Generated:
        """Cut a row at the token that ends its line; the text before the break in that token is the response's."""
        end = next((k for k, token in enumerate(row) if token in self._ends), None)
        used: Any = row if end is None else row[: end + 1]
        return Generated(first_line(self._decode(used)), len(used), end is not None)
