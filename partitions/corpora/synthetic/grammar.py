"""The template language in which the synthetic notes are written: a context-free grammar with entity spans.

One template is a line of space-separated tokens with four kinds of mark-up::

    [p <his> <*symptom>] began {yesterday|<2..9> days ago} , bp <100..180>/<60..95>

``<rule>`` expands another rule; ``<*rule>`` expands ``rule.<specialty>`` for a specialty the note chooses;
``<2..9>`` is a random number (with as many decimals as its bounds show); ``{a|b|}`` picks one alternative;
``[p ...]``, ``[t ...]`` and ``[x ...]`` mark a problem, a treatment and a test. Parts of one chunk without a space
between them become one token.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TypeVar

import numpy as np

_Item = TypeVar("_Item")

OUTSIDE = "O"
ENTITY_TYPES = {"p": "problem", "t": "treatment", "x": "test"}
ZIPF_SHIFT, ZIPF_EXPONENT = 4.0, 1.0

_LEXEME = re.compile(r"\s+|\[[ptx](?=\s)|[\]{}|]|<[^<>]+>|[^\s\[\]{}|<>]+")
_RANGE = re.compile(r"<(\d+(?:\.(\d+))?)\.\.(\d+(?:\.\d+)?)>")


class Draws:
    """Uniform numbers of one generator, drawn in blocks: a scalar draw from numpy costs more than a template."""

    def __init__(self, rng: np.random.Generator, block: int = 512) -> None:
        """Wrap ``rng``; ``block`` numbers are drawn at a time."""
        self._rng = rng
        self._block = block
        self._stream: Iterator[float] = iter(())

    def uniform(self) -> float:
        """A number in [0, 1)."""
        value = next(self._stream, None)
        if value is None:
            self._stream = iter(self._rng.random(self._block).tolist())
            value = next(self._stream)
        return value

    def below(self, bound: int) -> int:
        """An integer in [0, bound)."""
        return int(self.uniform() * bound)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.uniform() < probability

    def shuffled(self, items: Sequence[_Item]) -> list[_Item]:
        """The items in random order."""
        places = sorted(range(len(items)), key=[self.uniform() for _ in items].__getitem__)
        return [items[place] for place in places]

    def weighted(self, cumulative: Sequence[float]) -> int:
        """An index drawn by cumulative weights that end in 1 (the last bound is never exceeded)."""
        return min(bisect_right(cumulative, self.uniform()), len(cumulative) - 1)


@dataclass(frozen=True)
class _Literal:
    text: str
    glued: bool


@dataclass(frozen=True)
class _Number:
    low: float
    high: float
    decimals: int
    glued: bool


@dataclass(frozen=True)
class _Reference:
    rule: str
    by_specialty: bool
    glued: bool


@dataclass(frozen=True)
class _Choice:
    options: tuple["_Sequence", ...]


@dataclass(frozen=True)
class _Span:
    entity: str
    body: "_Sequence"


_Node = _Literal | _Number | _Reference | _Choice | _Span
_Sequence = tuple[_Node, ...]


@dataclass
class Tagged:
    """Tokens under construction.

    Attributes:
        tokens: one string a token.
        tags: one IOB2 tag a token.
    """

    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)

    def add(self, token: str, tag: str = OUTSIDE, glued: bool = False) -> None:
        """Append a token, or with ``glued`` lengthen the last one."""
        if glued and self.tokens:
            self.tokens[-1] += token
        else:
            self.tokens.append(token)
            self.tags.append(tag)


def _parse(template: str) -> _Sequence:
    """The nodes of one template.

    Raises:
        ValueError: if a bracket or brace is not closed, or closes nothing.
    """
    lexemes = _LEXEME.findall(template.strip())
    position, spaced = 0, True

    def sequence(closers: str) -> _Sequence:
        nonlocal position, spaced
        nodes: list[_Node] = []
        while position < len(lexemes) and lexemes[position] not in closers:
            lexeme = lexemes[position]
            position += 1
            if lexeme.isspace():
                spaced = True
            elif lexeme == "{":
                before = spaced
                options = [sequence("|}")]
                while close("|}") == "|":
                    spaced = before
                    options.append(sequence("|}"))
                spaced = False
                nodes.append(_Choice(tuple(options)))
            elif lexeme[0] == "[" and len(lexeme) == 2:
                nodes.append(_Span(ENTITY_TYPES[lexeme[1]], sequence("]")))
                close("]")
                spaced = False
            else:
                nodes.append(_terminal(lexeme, glued=not spaced))
                spaced = False
        return tuple(nodes)

    def close(expected: str) -> str:
        nonlocal position
        if position == len(lexemes):
            raise ValueError(f"template {template!r}: one of {expected!r} expected before the end")
        found = lexemes[position]
        position += 1
        return found

    nodes = sequence("]|}")
    if position != len(lexemes):
        raise ValueError(f"template {template!r}: {lexemes[position]!r} closes nothing")
    return nodes


def _terminal(lexeme: str, glued: bool) -> _Node:
    number = _RANGE.fullmatch(lexeme)
    if number:
        return _Number(float(number[1]), float(number[3]), len(number[2] or ""), glued)
    if lexeme[0] == "<":
        name = lexeme[1:-1]
        return _Reference(name.removeprefix("*"), name.startswith("*"), glued)
    return _Literal(lexeme, glued)


def zipf(count: int) -> list[float]:
    """Cumulative Zipf-Mandelbrot weights of ranks 1 to ``count``: a few terms are common, most are rare."""
    weights = [(rank + ZIPF_SHIFT) ** -ZIPF_EXPONENT for rank in range(1, count + 1)]
    total = sum(weights)
    return [weight / total for weight in accumulate(weights)]


class Grammar:
    """Rules by name, each a list of templates."""

    def __init__(self, phrases: Mapping[str, Sequence[str]], lexicon: Mapping[str, Sequence[str]]) -> None:
        """Compile the rules.

        Args:
            phrases: rules whose templates are equally likely.
            lexicon: rules whose templates follow Zipf's law, the commonest first.

        Raises:
            ValueError: if a template is malformed.
        """
        self._rules = {name: [_parse(t) for t in templates] for name, templates in {**phrases, **lexicon}.items()}
        self._cumulative = {name: zipf(len(templates)) for name, templates in lexicon.items()}

    @property
    def rules(self) -> tuple[str, ...]:
        """The names of all rules."""
        return tuple(self._rules)

    def expand(
        self,
        rule: str,
        draws: Draws,
        specialty: Callable[[], str],
        bindings: Mapping[str, str],
    ) -> Tagged:
        """Write one random expansion of a rule.

        Args:
            rule: the rule's name.
            draws: where all random numbers come from.
            specialty: names the specialty for each ``<*rule>`` met.
            bindings: rule name -> fixed tokens, for what must agree through a note (``he``, ``his``, ...).

        Raises:
            KeyError: if the rule, or one it refers to, does not exist.
        """
        out = Tagged()
        self._write(self._pick(rule, draws), out, "", draws, specialty, bindings)
        return out

    def _pick(self, rule: str, draws: Draws) -> _Sequence:
        options = self._rules[rule]
        cumulative = self._cumulative.get(rule)
        return options[draws.below(len(options)) if cumulative is None else draws.weighted(cumulative)]

    def _write(
        self,
        nodes: _Sequence,
        out: Tagged,
        entity: str,
        draws: Draws,
        specialty: Callable[[], str],
        bindings: Mapping[str, str],
        glued: bool = False,
    ) -> None:
        """Write ``nodes``; inside an entity every token is tagged as its continuation."""
        tag = f"I-{entity}" if entity else OUTSIDE
        for position, node in enumerate(nodes):
            join = glued and position == 0
            if isinstance(node, _Literal):
                out.add(node.text, tag, node.glued or join)
            elif isinstance(node, _Number):
                value = node.low + draws.uniform() * (node.high - node.low)
                out.add(f"{value:.{node.decimals}f}", tag, node.glued or join)
            elif isinstance(node, _Reference):
                bound = bindings.get(node.rule)
                if bound is not None:
                    for part, token in enumerate(bound.split()):
                        out.add(token, tag, (node.glued or join) and part == 0)
                    continue
                rule = f"{node.rule}.{specialty()}" if node.by_specialty else node.rule
                self._write(self._pick(rule, draws), out, entity, draws, specialty, bindings, node.glued or join)
            elif isinstance(node, _Choice):
                option = node.options[draws.below(len(node.options))]
                self._write(option, out, entity, draws, specialty, bindings, join)
            else:
                start = len(out.tokens)
                self._write(node.body, out, node.entity, draws, specialty, bindings, join)
                out.tags[start] = f"B-{node.entity}"
