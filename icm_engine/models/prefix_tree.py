"""Prompts as a tree of distinct prefixes, each encoded once. Pure; knows no model and no task.

A request is a prompt (a list of token segments) and the *continuations* whose probability is wanted. The tree is built
segment by segment; chains without a branch become one node, and every read of a token's probability belongs to the node
whose token precedes it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Read:
    """Add log p(token | everything up to `offset` in this node) to the score of a prompt's continuation."""

    offset: int
    token: int
    prompt: int
    continuation: int


@dataclass(slots=True)
class PrefixNode:
    """One run of tokens; its path from the root is a prefix of every prompt below it."""

    tokens: Tokens
    children: dict[Tokens, "PrefixNode"] = field(default_factory=dict)
    reads: list[Read] = field(default_factory=list)
    size: int = 0  # tokens in this node and everything below it

    def child(self, segment: Tokens) -> "PrefixNode":
        """Return the child for this segment, created if necessary."""
        if segment not in self.children:
            self.children[segment] = PrefixNode(segment)
        return self.children[segment]


@dataclass(frozen=True, slots=True)
class PrefixRequest:
    """One prompt, by number, and the continuations, by number, whose log-probability is wanted."""

    prompt: int
    segments: Sequence[Tokens]
    continuations: Mapping[int, Tokens]

    def alone(self) -> Iterator["PrefixRequest"]:
        """Yield requests whose trees have no branch; continuations that need the same encoded tokens stay together."""
        beginnings = {tokens[:-1] for tokens in self.continuations.values()}
        for beginning in sorted(beginnings):
            same = {k: tokens for k, tokens in self.continuations.items() if tokens[:-1] == beginning}
            yield PrefixRequest(self.prompt, self.segments, same)


def build(requests: Iterable[PrefixRequest]) -> PrefixNode:
    """Return the tree of all prompts; the root holds no tokens. Segments must not be empty."""
    root = PrefixNode(())
    for request in requests:
        node = root
        for segment in request.segments:
            node = node.child(segment)
        for number, tokens in request.continuations.items():
            _add_reads(node, request.prompt, number, tokens)
    return _compress(root)


def _add_reads(node: PrefixNode, prompt: int, number: int, tokens: Tokens) -> None:
    """Add the reads of a continuation; all its tokens but the last are encoded after the prompt."""
    node.reads.append(Read(len(node.tokens) - 1, tokens[0], prompt, number))
    if len(tokens) > 1:
        leaf = node.child(tokens[:-1])
        leaf.reads += [Read(k, token, prompt, number) for k, token in enumerate(tokens[1:])]


def _compress(root: PrefixNode) -> PrefixNode:
    """Join chains without a branch and count tokens, from the leaves up, without recursion (chains are long)."""
    for node in reversed(list(descend(root))):
        if len(node.children) == 1 and node.tokens:
            (only,) = node.children.values()
            shift = len(node.tokens)
            node.reads += [Read(r.offset + shift, r.token, r.prompt, r.continuation) for r in only.reads]
            node.tokens, node.children = node.tokens + only.tokens, only.children
        node.size = len(node.tokens) + sum(child.size for child in node.children.values())
    return root


def descend(root: PrefixNode) -> Iterator[PrefixNode]:
    """Yield every node depth first, a parent before its children."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.children.values()))


@dataclass(frozen=True, slots=True)
class Question:
    """One position of the tree that is read: the first `length` tokens of a prompt with one of its continuations."""

    prompt: int
    continuation: int
    length: int
    reads: tuple[Read, ...]

    def tokens(self, request: PrefixRequest) -> list[int]:
        """Return the tokens to encode; `request` is this prompt's."""
        whole = [token for segment in request.segments for token in segment]
        return [*whole, *request.continuations[self.continuation]][: self.length]


def questions(root: PrefixNode) -> Iterator[Question]:
    """Yield every position that is read, once, depth first, so that a server has just cached its shared prefix."""
    stack: list[tuple[PrefixNode, int]] = [(root, 0)]
    while stack:
        node, depth = stack.pop()
        for offset in sorted({read.offset for read in node.reads}):
            reads = tuple(read for read in node.reads if read.offset == offset)
            yield Question(reads[0].prompt, reads[0].continuation, depth + offset + 1, reads)
        stack.extend((child, depth + len(node.tokens)) for child in reversed(node.children.values()))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens for one model call, in depth-first order, on top of the cached path.

    `parents[k]` is the position in the chunk of the token before token k on its path, -1 if that one is in the cache.
    """

    tokens: Tokens
    parents: tuple[int, ...]
    reads: tuple[Read, ...]

    @property
    def linear(self) -> bool:
        """Whether each token follows the previous one, so that plain causal attention suffices."""
        return self.parents == tuple(range(-1, len(self.tokens) - 1))


@dataclass(frozen=True, slots=True)
class Step:
    """One move of the walk: encode a chunk on the first `depth` cached tokens; `keep` it if others build on it."""

    depth: int
    chunk: Chunk
    keep: bool


def walk(root: PrefixNode, budget: int, depth: int = 0) -> Iterator[Step]:
    """Yield the model calls of a depth-first walk; subtrees of up to `budget` tokens go into one call.

    The tree stands behind `depth` tokens that are cached already. Before each step the cache is cropped to the step's
    depth, so it never holds more than one path and one chunk.
    """
    stack: list[tuple[PrefixNode, int]] = [(root, depth)]
    while stack:
        node, depth = stack.pop()
        if node.tokens:
            for start in range(0, len(node.tokens), budget):
                yield Step(depth + start, _linear(node, start, start + budget), keep=True)
            depth += len(node.tokens)
        large = [child for child in node.children.values() if child.size > budget]
        for batch in _batches([child for child in node.children.values() if child.size <= budget], budget):
            yield Step(depth, _flatten(batch), keep=False)
        stack.extend((child, depth) for child in reversed(large))


def _linear(node: PrefixNode, start: int, stop: int) -> Chunk:
    tokens = node.tokens[start:stop]
    reads = (r for r in node.reads if start <= r.offset < start + len(tokens))
    shifted = tuple(Read(r.offset - start, r.token, r.prompt, r.continuation) for r in reads)
    return Chunk(tokens, tuple(range(-1, len(tokens) - 1)), shifted)


def _batches(nodes: Sequence[PrefixNode], budget: int) -> Iterator[list[PrefixNode]]:
    """Group sibling subtrees, in order, within the budget."""
    batch: list[PrefixNode] = []
    for node in nodes:
        if batch and sum(n.size for n in batch) + node.size > budget:
            yield batch
            batch = []
        batch.append(node)
    if batch:
        yield batch


def _flatten(nodes: Sequence[PrefixNode]) -> Chunk:
    tokens: list[int] = []
    parents: list[int] = []
    reads: list[Read] = []
    stack = [(node, -1) for node in reversed(nodes)]
    while stack:
        node, parent = stack.pop()
        first = len(tokens)
        tokens += node.tokens
        parents += [parent, *range(first, first + len(node.tokens) - 1)]
        reads += [Read(r.offset + first, r.token, r.prompt, r.continuation) for r in node.reads]
        stack += [(child, len(tokens) - 1) for child in reversed(node.children.values())]
    return Chunk(tuple(tokens), tuple(parents), tuple(reads))
