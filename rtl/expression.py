"""Boolean expressions of Liberty: ``function``, ``when``, ``next_state``, ``clear`` as postfix code.

Operators of the Liberty format, the tightest first: ``!`` before and ``'`` after an operand; ``^``; ``&``, ``*`` or
a mere space; ``|`` or ``+``. Constants are 0 and 1. Nothing is evaluated as Python.

Postfix code is a tuple of integers: ``i >= 0`` pushes variable i, the negative constants below are operators.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NOT, AND, OR, XOR, ZERO, ONE = -1, -2, -3, -4, -5, -6
MAX_TABLE_VARIABLES = 16
_TOKEN = re.compile(r"\s*([A-Za-z_][\w\[\].$]*|[01]|[!'^&*|+()])")


@dataclass(frozen=True)
class Expression:
    """One Boolean function.

    Attributes:
        variables: names in order of first use.
        code: postfix; indices refer to ``variables``.
    """

    variables: tuple[str, ...]
    code: tuple[int, ...]

    def text(self) -> str:
        """Return the expression with all its parentheses, as Liberty writes it."""
        stack: list[str] = []
        for c in self.code:
            if c >= 0:
                stack.append(self.variables[c])
            elif c == NOT:
                stack.append(f"!{stack.pop()}")
            elif c in (ZERO, ONE):
                stack.append("0" if c == ZERO else "1")
            else:
                b, a = stack.pop(), stack.pop()
                stack.append(f"({a} {'&' if c == AND else '|' if c == OR else '^'} {b})")
        return stack[-1]

    def table(self) -> NDArray[np.bool_]:
        """Return the truth table, shape (2^n,): entry j has variable i at bit i of j."""
        n = len(self.variables)
        if n > MAX_TABLE_VARIABLES:
            raise ValueError(f"truth table of {n} variables; at most {MAX_TABLE_VARIABLES}")
        rows = np.arange(1 << n)
        return run(self.code, [(rows >> i & 1).astype(np.bool_) for i in range(n)], np.zeros(1 << n, np.bool_))

    def substitute(self, names: Mapping[str, Expression]) -> Expression:
        """Return the expression with variables replaced by expressions (one level, names not in ``names`` stay)."""
        order: list[str] = []
        code: list[int] = []

        def index(name: str) -> int:
            if name not in order:
                order.append(name)
            return order.index(name)

        for c in self.code:
            if c < 0:
                code.append(c)
            elif self.variables[c] in names:
                inner = names[self.variables[c]]
                code += [k if k < 0 else index(inner.variables[k]) for k in inner.code]
            else:
                code.append(index(self.variables[c]))
        return Expression(tuple(order), tuple(code))


def run(code: tuple[int, ...], values: list[NDArray[np.bool_]], zero: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Evaluate postfix code on arrays of bool; ``zero`` gives the shape of constants."""
    stack: list[NDArray[np.bool_]] = []
    for c in code:
        if c >= 0:
            stack.append(values[c])
        elif c == NOT:
            stack.append(~stack.pop())
        elif c in (ZERO, ONE):
            stack.append(zero if c == ZERO else ~zero)
        else:
            b, a = stack.pop(), stack.pop()
            stack.append(a & b if c == AND else a | b if c == OR else a ^ b)
    return stack[-1]


@functools.lru_cache(maxsize=65536)
def parse(text: str) -> Expression:
    """Parse one expression.

    Raises:
        ValueError: not an expression; the message says what was found where.
    """
    tokens: list[str] = []
    position = 0
    stripped = text.rstrip()
    while position < len(stripped):
        match = _TOKEN.match(stripped, position)
        if match is None:
            raise ValueError(f"{stripped[position:].strip()[:1]!r} in Boolean expression {text!r}")
        tokens.append(match.group(1))
        position = match.end()
    parser = _Parser(text, tokens)
    code = parser.either()
    if parser.at < len(tokens):
        raise ValueError(f"{tokens[parser.at]!r} in Boolean expression {text!r}")
    return Expression(tuple(parser.names), tuple(code))


class _Parser:
    """Recursive descent, one method per precedence level."""

    def __init__(self, text: str, tokens: list[str]) -> None:
        self.text, self.tokens = text, tokens
        self.at = 0
        self.names: list[str] = []

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def either(self) -> list[int]:
        code = self.both()
        while self.peek() in ("|", "+"):
            self.at += 1
            code += [*self.both(), OR]
        return code

    def both(self) -> list[int]:
        code = self.differ()
        while True:
            token = self.peek()
            if token in ("&", "*"):
                self.at += 1
            elif not token or token in "'^|+)":
                return code
            code += [*self.differ(), AND]

    def differ(self) -> list[int]:
        code = self.unary()
        while self.peek() == "^":
            self.at += 1
            code += [*self.unary(), XOR]
        return code

    def unary(self) -> list[int]:
        token = self.peek()
        self.at += 1
        if token == "!":
            return [*self.unary(), NOT]
        if token == "(":
            code = self.either()
            if self.peek() != ")":
                raise ValueError(f"missing ')' in Boolean expression {self.text!r}")
            self.at += 1
        elif token in ("0", "1"):
            code = [ONE if token == "1" else ZERO]
        elif token and (token[0].isalpha() or token[0] == "_"):
            if token not in self.names:
                self.names.append(token)
            code = [self.names.index(token)]
        else:
            raise ValueError(f"operand missing in Boolean expression {self.text!r}")
        while self.peek() == "'":
            self.at += 1
            code = [*code, NOT]
        return code
