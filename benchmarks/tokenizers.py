"""What tokenizers of each family make of prompts, for the local scorer and through a server: a table.

    python -m benchmarks.tokenizers
    python -m benchmarks.tokenizers --model sample --model models/gemma-3-270m.gguf --json tokenizers.json

A row is a tokenizer. Prompts are scored here, through a server with the tokenizer on this machine, and through one with
the server's own. Of each way the table says of how many prompts the token ids decode to the text that people are shown
(text), which tokens the label " True" becomes (label), and how far log-odds are at most from those of one plain forward
pass in float32 over the tokenizer's reading of each whole text (difference). That is rounding alone where the tokenizer
reads a whole text as its pieces. The families are small tokenizers of the tests, with small random models; --model
takes real ones.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from benchmarks.report import Row, show
from icm_engine.core.labeling import Example, Labeling, Task
from icm_engine.core.prompting import Prompt, leave_one_out_prompts
from icm_engine.core.settings import ModelChoice
from icm_engine.models.loading import LoadedModel, load
from icm_engine.models.server_scorer import ServerScorer
from icm_engine.models.tokenized_prompts import PromptReader
from icm_engine.models.transformers_scorer import TransformersScorer

LABELS = ("True", "False")
TASK = Task("sums", "Question: {q}\nClaim: {c}\nI think this claim is", labels=LABELS, true_label="True")
CLAIMS = ("It is 9.", "It's 10, as 3 + 7 = 10.", "(a) “ten” — neun 🙂", "  two  spaces", "数字", "émigré\nnext line")
EXAMPLES = tuple(Example(str(k), {"q": f"What is {k} + 7?", "c": claim}, str(k)) for k, claim in enumerate(CLAIMS))
PROMPTS = tuple(
    leave_one_out_prompts(TASK, EXAMPLES, [Labeling({k: LABELS[k % 2] for k in range(len(EXAMPLES))})])[0].values()
)


def token_ids(reader: PromptReader, prompt: Prompt) -> list[int]:
    """Return the tokens of a prompt as they are sent, without the one that begins it."""
    segments = reader.segments(prompt)
    return [token for segment in segments[len(reader.beginning) :] for token in segment]


def decoded(loaded: LoadedModel, ids: Sequence[int]) -> str:
    """Return the text that tokens stand for, control tokens in it."""
    return str(loaded.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


@torch.inference_mode()
def log_prob(loaded: LoadedModel, before: Sequence[int], label: Sequence[int]) -> float:
    """Return the log-probability of the label's tokens after others, by one forward pass over all of them."""
    ids = torch.tensor([[*before, *label]], device=loaded.model.device)
    log_probs = torch.log_softmax(loaded.model(ids).logits[0].float(), dim=-1)
    return float(sum(log_probs[len(before) - 1 + k, token] for k, token in enumerate(label)))


def plain_odds(loaded: LoadedModel, prompt: Prompt) -> float:
    """Return the log-odds of the first label against the second where the tokenizer reads each whole text."""
    bos = loaded.tokenizer.bos_token_id
    beginning = [] if bos is None else [bos]

    def read(text: str) -> list[int]:
        return [*beginning, *loaded.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]]

    before = read(prompt.text)
    wholes = [read(f"{prompt.text} {label}") for label in prompt.labels[:2]]
    first, second = (log_prob(loaded, before, whole[len(before) :]) for whole in wholes)
    return first - second


def cells_of(way: str, scorer: TransformersScorer | ServerScorer, loaded: LoadedModel) -> Row:
    """Return what one way of scoring makes of the prompts."""
    odds = [score.raw[0] - score.raw[1] for score in scorer.score(PROMPTS)]
    same = sum(decoded(loaded, token_ids(scorer, prompt)) == prompt.text for prompt in PROMPTS)
    difference = max(abs(a - plain_odds(loaded, prompt)) for a, prompt in zip(odds, PROMPTS, strict=True))
    tokens = loaded.tokenizer.convert_ids_to_tokens(list(scorer.label_tokens(LABELS)[0]))
    return {f"{way}: text": f"{same} of {len(PROMPTS)}", f"{way}: label": " ".join(tokens),
            f"{way}: difference": f"{difference:.0e}"}  # fmt: skip


def row_of(name: str, loaded: LoadedModel, folder: str) -> Row:
    """Return the row of one model, with all ways to score; `folder` holds its tokenizer."""
    from tests.support.fake_server import serving
    from tests.support.small_models import served

    row: Row = {"tokenizer": name, **cells_of("here", TransformersScorer(loaded), loaded)}
    for way, root in (("server", folder), ("server's own", "/elsewhere")):
        with serving(served(loaded, root)) as address:
            row |= cells_of(way, ServerScorer(address), loaded)
    return row


def rows(models: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of every family, and of the models asked for."""
    from tests.support.small_models import small_model
    from tests.support.tokenizer_families import FAMILIES

    with tempfile.TemporaryDirectory() as folder:
        for name, make in FAMILIES.items():
            where = Path(folder) / str(len(list(Path(folder).iterdir())))
            make().save_pretrained(where)
            yield row_of(name, small_model(make()), str(where))
        for model in models:
            loaded = load(ModelChoice(model, "none", "float32"))
            loaded.tokenizer.save_pretrained(where := Path(folder) / Path(model).name)
            yield row_of(model, loaded, str(where))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", default=[], metavar="MODEL", help="a directory or a GGUF file")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    given = parser.parse_args()
    show(list(rows(given.model)), given.json)


if __name__ == "__main__":
    main()
