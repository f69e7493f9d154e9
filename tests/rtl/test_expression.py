"""Boolean expressions of Liberty: precedence, odd spellings, truth tables against a scalar twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutscape.rtl.expression import parse

NAMES = ("A", "B1", "CI", "D[3]")


def twin(tree: object, values: dict[str, int]) -> int:
    if isinstance(tree, str):
        return values[tree] if tree in values else int(tree)
    if len(tree) == 2:  # type: ignore[arg-type]
        return 1 - twin(tree[1], values)  # type: ignore[index]
    op, a, b = tree  # type: ignore[misc]
    x, y = twin(a, values), twin(b, values)
    return {"&": x & y, "|": x | y, "^": x ^ y}[op]


def spell(tree: object, draw: st.DrawFn) -> str:
    """Write a tree in one of Liberty's spellings, fully bracketed."""
    if isinstance(tree, str):
        return tree
    if len(tree) == 2:  # type: ignore[arg-type]
        inner = spell(tree[1], draw)  # type: ignore[index]
        return f"!({inner})" if draw(st.booleans()) else f"({inner})'"
    op, a, b = tree  # type: ignore[misc]
    sign = draw(st.sampled_from({"&": ["&", " * ", " "], "|": ["|", " + "], "^": ["^"]}[op]))
    return f"({spell(a, draw)}){sign}({spell(b, draw)})"


trees = st.recursive(
    st.sampled_from([*NAMES, "0", "1"]),
    lambda inner: st.one_of(st.tuples(st.just("!"), inner), st.tuples(st.sampled_from("&|^"), inner, inner)),
    max_leaves=12,
)


@given(trees, st.data())
def test_truth_table_matches_the_twin(tree: object, data: st.DataObject) -> None:
    text = data.draw(st.composite(lambda draw: spell(tree, draw))())
    expression = parse(text)
    table = expression.table()
    for row in range(len(table)):
        values = {n: row >> i & 1 for i, n in enumerate(expression.variables)}
        assert table[row] == twin(tree, {**dict.fromkeys(NAMES, 0), **values})
    again = parse(expression.text())
    assert again.variables == expression.variables
    assert np.array_equal(again.table(), table)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("A B + C", "(A & B) | C"),
        ("A ^ B & C", "(A ^ B) & C"),  # ^ binds tighter than &
        ("!A ^ B", "(!A) ^ B"),
        ("A + B'", "A | (!B)"),
        ("A B'C", "A & (!B) & C"),
        ("((A * B))'", "!(A & B)"),
        ("A''", "A"),
    ],
)
def test_precedence(text: str, same: str) -> None:
    assert parse(text).variables == parse(same).variables
    assert np.array_equal(parse(text).table(), parse(same).table())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "operand missing in Boolean expression ''"),
        ("A &", "operand missing in Boolean expression 'A &'"),
        ("(A", "missing ')' in Boolean expression '(A'"),
        ("A)", "')' in Boolean expression 'A)'"),
        ("A == B", "'=' in Boolean expression 'A == B'"),
        ("__import__('os')", "operand missing"),
        ("2", "'2' in Boolean expression '2'"),
    ],
)
def test_bad_expressions(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="Boolean expression") as error:
        parse(text)
    assert message in str(error.value)


def test_substitution_joins_variables() -> None:
    joined = parse("Q & D").substitute({"Q": parse("!(A & D)")})
    assert joined.variables == ("A", "D")
    assert [bool(v) for v in joined.table()] == [False, False, True, False]
