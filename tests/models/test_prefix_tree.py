"""The tree of distinct prefixes and its walk, checked against a toy model that reads whole prompts."""

from hypothesis import given
from hypothesis import strategies as st

from icm_engine.models.prefix_tree import PrefixRequest, Tokens, build, descend, walk

segments = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple), min_size=1, max_size=6)
continuations = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple), min_size=1, max_size=3)


def requests_of(prompts: list[list[Tokens]], ends: list[Tokens]) -> list[PrefixRequest]:
    return [PrefixRequest(k, prompt, dict(enumerate(ends))) for k, prompt in enumerate(prompts)]


def what_is_read(
    requests: list[PrefixRequest], budget: int
) -> tuple[dict[tuple[int, int], list[tuple[Tokens, int]]], int]:
    """Walk with a list of tokens for a cache; return, for every continuation, (context, token) of each read."""
    found: dict[tuple[int, int], list[tuple[Tokens, int]]] = {}
    cache: Tokens = ()
    encoded = 0
    for step in walk(build(requests), budget):
        cache = cache[: step.depth]
        assert len(cache) == step.depth
        assert len(step.chunk.tokens) <= max(budget, 1)
        paths: list[Tokens] = []
        for token, parent in zip(step.chunk.tokens, step.chunk.parents, strict=True):
            paths.append((cache if parent < 0 else paths[parent]) + (token,))
        for read in step.chunk.reads:
            found.setdefault((read.prompt, read.continuation), []).append((paths[read.offset], read.token))
        encoded += len(step.chunk.tokens)
        if step.keep:
            assert step.chunk.linear
            cache = cache + step.chunk.tokens
    return found, encoded


def expected(requests: list[PrefixRequest]) -> dict[tuple[int, int], list[tuple[Tokens, int]]]:
    wanted = {}
    for request in requests:
        text = tuple(token for segment in request.segments for token in segment)
        for k, tokens in request.continuations.items():
            wanted[request.prompt, k] = [(text + tokens[:j], tokens[j]) for j in range(len(tokens))]
    return wanted


@given(st.lists(segments, min_size=1, max_size=8), continuations, st.integers(1, 60))
def test_every_token_is_read_after_exactly_its_own_prompt(
    prompts: list[list[Tokens]], ends: list[Tokens], budget: int
) -> None:
    requests = requests_of(prompts, ends)
    found, _ = what_is_read(requests, budget)
    assert {key: sorted(value) for key, value in found.items()} == {
        key: sorted(value) for key, value in expected(requests).items()
    }


@given(st.lists(segments, min_size=1, max_size=8), st.integers(1, 60))
def test_every_distinct_prefix_is_encoded_once(prompts: list[list[Tokens]], budget: int) -> None:
    requests = requests_of(prompts, [(1,), (2,)])
    prefixes = {tuple(prompt[: k + 1]) for prompt in prompts for k in range(len(prompt))}
    assert what_is_read(requests, budget)[1] == sum(len(prefix[-1]) for prefix in prefixes)


@given(segments, continuations)
def test_a_request_alone_makes_trees_without_a_branch(prompt: list[Tokens], ends: list[Tokens]) -> None:
    (request,) = requests_of([prompt], ends)
    parts = list(request.alone())
    for part in parts:
        assert all(len(node.children) <= 1 for node in descend(build([part])))
    assert sorted(k for part in parts for k in part.continuations) == list(range(len(ends)))
