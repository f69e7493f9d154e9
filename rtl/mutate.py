"""Small faults in Verilog text: one changed operator, constant, index or inversion a mutant.

A bench that lets a mutant pass has a hole, unless the mutant means the same (:mod:`lutscape.rtl.equivalence`).
Changes are made in expressions, indices, loop bounds and declared ranges of modules, never in comments, port lists,
the steps of loops or the names of instances. A light tokenizer is enough, because generated Verilog is plain: no
functions, tasks, macros or strings in expressions.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*|/\*.*?\*/|\(\*(?!\)).*?\*\)|`[^\n]*|"(?:[^"\\]|\\.)*")
  | (?P<number>\d*'[sS]?[bBoOdDhH][0-9a-fA-FxXzZ?_]+|\d[\d_]*)
  | (?P<name>\$?[A-Za-z_][\w$]*|\\\S+)
  | (?P<mark><<<|>>>|===|!==|<<|>>|<=|>=|==|!=|&&|\|\||\*\*|~\^|\^~|~&|~\||\+:|-:|\S)
    """,
    re.VERBOSE | re.DOTALL,
)
SWAPS = {
    "+": "-",
    "-": "+",
    "&": "|",
    "|": "&",
    "&&": "||",
    "||": "&&",
    "^": "~^",
    "~^": "^",
    "^~": "^",
    "==": "!=",
    "!=": "==",
    "===": "!==",
    "!==": "===",
    "<": "<=",
    ">": ">=",
    "<=": "<",
    ">=": ">",
    "<<": ">>",
    ">>": "<<",
    "<<<": ">>>",
    ">>>": ">>",
    "*": "+",
}
_DECLARED = {"wire", "reg", "logic", "integer", "genvar", "localparam", "parameter", "input", "output", "inout"}
_OPENING = {"if", "case", "casez", "casex", "while", "for"}
_STARTING = {"begin", "end", "else", "generate", "endgenerate", "endcase", "endmodule", "initial", "assign"}
_WORDS = _DECLARED | _OPENING | _STARTING | {"always", "posedge", "negedge", "or", "module", "default", "signed"}


@dataclass(frozen=True)
class Mutant:
    """One changed text.

    Attributes:
        rule: ``operator``, ``arms``, ``inversion``, ``constant``, ``index``, ``range``, ``order`` or ``sign``.
        module: in which it is.
        line: of the original, from 1.
        before: that line, stripped.
        after: the same line, changed.
        source: whole text.
    """

    rule: str
    module: str
    line: int
    before: str
    after: str
    source: str

    @property
    def change(self) -> str:
        """Return the change in one line."""
        return f"{self.module}:{self.line} ({self.rule}): {self.before}  ->  {self.after}"


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int
    stop: int


@dataclass(frozen=True)
class _Edit:
    rule: str
    start: int
    stop: int
    text: str


def mutants(source: str, seed: int, count: int) -> list[Mutant]:
    """Return up to ``count`` different mutants, drawn over all places; the order is random, too."""
    edits = list(dict.fromkeys(_Scanner(source).edits()))
    random.Random(seed).shuffle(edits)
    out: list[Mutant] = []
    for edit in edits:
        changed = source[: edit.start] + edit.text + source[edit.stop :]
        line = source.count("\n", 0, edit.start)
        end = source.count("\n", 0, edit.stop)
        before = " ".join(x.strip() for x in source.split("\n")[line : end + 1])
        after = " ".join(x.strip() for x in changed.split("\n")[line : line + edit.text.count("\n") + 1])
        if before != after:
            name = re.findall(r"^\s*module\s+(\w+)", source[: edit.start], re.MULTILINE)[-1]
            out.append(Mutant(edit.rule, name, line + 1, before, after, changed))
        if len(out) == count:
            break
    return out


def _tokens(source: str) -> list[_Token]:
    found = []
    for match in _TOKEN.finditer(source):
        kind = match.lastgroup or ""
        if kind != "space":
            found.append(_Token(kind, match.group(), match.start(), match.end()))
    return found


class _Scanner:
    """Finds every change in a text, statement by statement."""

    def __init__(self, source: str) -> None:
        self.source, self.tokens = source, _tokens(source)

    def edits(self) -> Iterator[_Edit]:
        """Yield every change, statement by statement."""
        tokens = self.tokens
        at, inside = 0, False
        while at < len(tokens):
            word = tokens[at].text
            if word == "module":
                inside = True
                at = _find(tokens, at, ";") + 1
            elif word == "endmodule":
                inside, at = False, at + 1
            elif inside:
                stop = _statement(tokens, at)
                yield from self._within(at, stop)
                at = stop
            else:
                at += 1

    def _within(self, at: int, stop: int) -> Iterator[_Edit]:
        """Yield the changes of one piece of code."""
        tokens = self.tokens
        first = tokens[at].text
        if first == "always" or first in _STARTING - {"assign"}:
            return
        if first == "for":
            yield from self._loop(at, stop)
            return
        if first in _OPENING:
            yield from self._expression(at + 2, stop - 1, condition=True)
            return
        if first in _DECLARED:
            yield from self._declaration(at, stop)
        equals = _assignment(tokens, at, stop)
        if equals is None:
            yield from self._connections(at, stop)
            return
        if first not in _DECLARED:
            yield from self._indices(at, equals)
        yield from self._expression(equals + 1, stop - 1)

    def _loop(self, at: int, stop: int) -> Iterator[_Edit]:
        """Change where a loop starts and ends; a changed step would never end."""
        tokens = self.tokens
        first = _find(tokens, at + 2, ";")
        second = _find(tokens, first + 1, ";")
        for i in range(at, second):
            if tokens[i].kind == "number":
                yield from _constant(tokens[i], "constant")
            elif i > first and tokens[i].text in ("<", "<=", ">", ">="):
                yield _Edit("operator", tokens[i].start, tokens[i].stop, SWAPS[tokens[i].text])

    def _declaration(self, at: int, stop: int) -> Iterator[_Edit]:
        """Narrow a declared range by a bit; make a signed name unsigned."""
        tokens = self.tokens
        for i in range(at, stop):
            if tokens[i].text == "=":
                return
            if tokens[i].text == "signed":
                yield _Edit("sign", tokens[i].start, tokens[i].stop, "")
            if tokens[i].text == "[" and tokens[i + 1].kind == "number" and tokens[i + 2].text == ":":
                high = int(tokens[i + 1].text)
                if high > 0:
                    yield _Edit("range", tokens[i + 1].start, tokens[i + 1].stop, str(high - 1))

    def _connections(self, at: int, stop: int) -> Iterator[_Edit]:
        """Change what is connected to the pins of an instance."""
        tokens = self.tokens
        i = at
        while i < stop:
            if tokens[i].text == "." and tokens[i + 1].kind == "name" and tokens[i + 2].text == "(":
                end = _closing(tokens, i + 2)
                yield from self._expression(i + 3, end)
                i = end
            i += 1

    def _indices(self, at: int, stop: int) -> Iterator[_Edit]:
        """Change constants in what is assigned to, and in the label of a case before it."""
        tokens = self.tokens
        depth = 0
        for token in tokens[at:stop]:
            depth += (token.text == "[") - (token.text == "]")
            if token.kind == "number":  # outside brackets: the label of a case
                yield from _constant(token, "index" if depth else "constant")

    def _expression(self, at: int, stop: int, condition: bool = False) -> Iterator[_Edit]:
        """Change one thing in an expression."""
        tokens = self.tokens
        depth = 0  # of square brackets
        for i in range(at, stop):
            token, before = tokens[i], tokens[i - 1]
            text = token.text
            depth += (text == "[") - (text == "]")
            operand = before.kind in ("name", "number") or before.text in (")", "]", "}")  # something to the left
            if token.kind == "number":
                yield from _constant(token, "index" if depth else "constant")
            elif text in ("+:", "-:"):
                yield _Edit("index", token.start, token.stop, "-:" if text == "+:" else "+:")
            elif text in ("~", "!") and not operand:
                yield _Edit("inversion", token.start, token.stop, "")
            elif (text in SWAPS and operand) or (text in ("&", "|", "^") and not operand):
                yield _Edit("operator", token.start, token.stop, SWAPS[text])
            elif text == "$signed":
                yield _Edit("sign", token.start, token.stop, "")
            elif text == "?":
                yield from self._arms(i, stop)
            elif text == "{":
                yield from self._concatenation(i)
            elif token.kind == "name" and not depth and _is_operand(tokens, i):
                invert = "!" if condition and before.text == "(" and tokens[i + 1].text == ")" else "~"
                yield _Edit("inversion", token.start, token.start, invert)

    def _arms(self, question: int, stop: int) -> Iterator[_Edit]:
        """Swap the arms of a conditional."""
        tokens = self.tokens
        depth, nested, colon = 0, 0, None
        end = stop
        for i in range(question + 1, stop):
            text = tokens[i].text
            if text in "([{":
                depth += 1
            elif text in ")]}":
                depth -= 1
                if depth < 0:
                    end = i
                    break
            elif depth == 0 and text == "?":
                nested += 1
            elif depth == 0 and text == ":":
                if nested == 0 and colon is None:
                    colon = i
                elif nested == 0:
                    end = i
                    break
                else:
                    nested -= 1
            elif depth == 0 and text in ",;":
                end = i
                break
        if colon is not None:
            start, last = tokens[question + 1].start, tokens[end - 1].stop
            first = (tokens[question + 1].start, tokens[colon - 1].stop)
            second = (tokens[colon + 1].start, tokens[end - 1].stop)
            yield _Edit("arms", start, last, self._swapped(first, second))

    def _concatenation(self, brace: int) -> Iterator[_Edit]:
        """Swap neighbours in a concatenation."""
        tokens = self.tokens
        end = _closing(tokens, brace)
        parts, depth, start = [], 0, brace + 1
        for i in range(brace + 1, end + 1):
            text = tokens[i].text
            if depth == 0 and (text == "," or i == end):
                parts.append((tokens[start].start, tokens[i - 1].stop))
                start = i + 1
            depth += (text in ("(", "[", "{")) - (text in (")", "]", "}"))
        for first, second in itertools.pairwise(parts):
            yield _Edit("order", first[0], second[1], self._swapped(first, second))

    def _swapped(self, first: tuple[int, int], second: tuple[int, int]) -> str:
        """Return the text from the first span to the second, with both exchanged."""
        source = self.source
        return source[slice(*second)] + source[first[1] : second[0]] + source[slice(*first)]


def _statement(tokens: list[_Token], at: int) -> int:
    """Return where the piece that starts here ends: a header with its brackets, a word, or all up to a semicolon."""
    word = tokens[at].text
    if word in _OPENING:
        return _closing(tokens, at + 1) + 1
    if word == "always":
        stop = at + 1
        if tokens[stop].text == "@":
            stop += 1
            stop = _closing(tokens, stop) + 1 if tokens[stop].text == "(" else stop + 1
        return stop
    if word in _STARTING - {"assign"}:
        labelled = word == "begin" and tokens[at + 1].text == ":"
        return at + (3 if labelled else 1)
    return _find(tokens, at, ";") + 1


def _is_operand(tokens: list[_Token], i: int) -> bool:
    """Whether a name in an expression is a signal rather than a constant, a call or a pin."""
    name = tokens[i].text
    if name.startswith("$") or name in _WORDS or name.isupper() or tokens[i - 1].text in (".", "~", "!", "'"):
        return False
    return tokens[i + 1].text != "("


def _constant(token: _Token, rule: str) -> Iterator[_Edit]:
    """Yield the constant one higher, one lower, and with its lowest bits flipped."""
    match = re.fullmatch(r"(\d*)'([sS]?)([bBoOdDhH])(\w+)", token.text)
    if match is None:
        value = int(token.text.replace("_", ""))
        others = {value + 1, value - 1} - {-1}
        for other in sorted(others):
            yield _Edit(rule, token.start, token.stop, str(other))
        return
    size, sign, base, digits = match[1], match[2], match[3].lower(), match[4].replace("_", "")
    if not digits.isalnum() or set(digits.lower()) & set("xz"):
        return
    bits = int(size) if size else 32
    value = int(digits, {"b": 2, "o": 8, "d": 10, "h": 16}[base])
    flipped = {value ^ (1 << b) for b in (0, bits - 1)}
    others = {(value + 1) % (1 << bits), (value - 1) % (1 << bits), *flipped} - {value}
    form = {"b": "b", "o": "o", "d": "d", "h": "x"}[base]
    for other in sorted(others):
        yield _Edit("constant", token.start, token.stop, f"{size}'{sign}{match[3]}{other:{form}}")


def _find(tokens: list[_Token], at: int, text: str) -> int:
    """Return where a mark comes next outside brackets."""
    depth = 0
    for i in range(at, len(tokens)):
        if depth == 0 and tokens[i].text == text:
            return i
        depth += (tokens[i].text in ("(", "[", "{")) - (tokens[i].text in (")", "]", "}"))
    return len(tokens) - 1


def _closing(tokens: list[_Token], at: int) -> int:
    """Return where the bracket that opens here closes."""
    depth = 0
    for i in range(at, len(tokens)):
        depth += (tokens[i].text in ("(", "[", "{")) - (tokens[i].text in (")", "]", "}"))
        if depth == 0:
            return i
    return len(tokens) - 1


def _assignment(tokens: list[_Token], at: int, stop: int) -> int | None:
    """Return where a statement assigns."""
    depth = 0
    for i in range(at, stop):
        if depth == 0 and tokens[i].text in ("=", "<="):
            return i
        depth += (tokens[i].text in ("(", "[", "{")) - (tokens[i].text in (")", "]", "}"))
    return None
