"""Value expressions: text such as "input_tokens + 3 * output_tokens", parsed into a tree. Nothing is ever executed.

    sum      = product { ("+" | "-") product }
    product  = factor { ("*" | "/") factor }
    factor   = "-" factor | number | key | "(" sum ")" | function "(" sum { "," sum } ")"
    key      = letters, digits, "_" and ".", first a letter or "_"; or any property key between backticks
    function = "min" | "max" | "round" | "ceil" | "floor"

The key `value` is the usage event's value; a property of that name, or one with "-" in it, stands between backticks.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from services.kernel.errors import InvalidInput
from services.kernel.ids import PROPERTY_KEY_RULE, is_property_key
from services.kernel.quantity import FRACTION_DIGITS_MAX, is_decimal_text

EXPRESSION_CHARACTERS_MAX = 512
OPERATIONS_MAX = 64
DEPTH_MAX = 16
"""Parentheses, functions and signs inside each other."""

STEP_FRACTION_DIGITS_MAX = 48
"""Fractional digits that the exact result of one step may have: a product has those of both its factors."""

VALUE = "value"
_EXPRESSIONS_KEPT = 1_024
_ARGUMENTS = {"min": range(2, 9), "max": range(2, 9), "round": range(2, 3), "ceil": range(1, 2), "floor": range(1, 2)}
_TOKEN = re.compile(
    r"\s*(?:(?P<number>[0-9]+(?:\.[0-9]+)?)|(?P<name>[A-Za-z_][A-Za-z0-9_.]*)|`(?P<quoted>[^`]*)`|(?P<mark>[-+*/(),]))"
)


@dataclass(frozen=True, slots=True)
class Literal:
    """A number of the expression itself."""

    number: Decimal


@dataclass(frozen=True, slots=True)
class Property:
    """The property of that key."""

    key: str


@dataclass(frozen=True, slots=True)
class EventValue:
    """The usage event's value."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator or a function with its operands; `negate` has one. `round` has its digits as a Literal."""

    name: str
    operands: tuple["Expression", ...]


Expression = Literal | Property | EventValue | Operation


@lru_cache(_EXPRESSIONS_KEPT)
def parse_expression(text: str, field: str = "value_expression") -> Expression:
    """The tree of `text`; raises InvalidInput that names `field`, the character, and what is wrong there."""
    if len(text) > EXPRESSION_CHARACTERS_MAX:
        raise InvalidInput(
            f"{field} has {len(text)} characters; write at most {EXPRESSION_CHARACTERS_MAX}",
            field=field,
            reason="BAD_EXPRESSION",
        )
    tree = _Parser(text, field).parse()
    if not property_keys_of(tree) and not looks_at_value(tree):
        raise _bad(field, "it looks at no property and not at the value; for a constant count usage events instead")
    fraction_digits(tree, field)
    return tree


def property_keys_of(tree: Expression) -> frozenset[str]:
    """The properties that the expression looks at."""
    return frozenset(leaf.key for leaf in _leaves(tree) if isinstance(leaf, Property))


def looks_at_value(tree: Expression) -> bool:
    """Whether the expression looks at the usage event's value."""
    return any(isinstance(leaf, EventValue) for leaf in _leaves(tree))


def fraction_digits(tree: Expression, field: str = "value_expression") -> int:
    """Fractional digits that the exact result can have; raises InvalidInput past STEP_FRACTION_DIGITS_MAX."""
    if isinstance(tree, Literal):
        return -int(tree.number.as_tuple().exponent)
    if not isinstance(tree, Operation):
        return FRACTION_DIGITS_MAX
    if tree.name == "round":
        return min(fraction_digits(tree.operands[0], field), round_digits(tree))
    digits = [fraction_digits(operand, field) for operand in tree.operands]
    if tree.name in "*/" and sum(digits) > STEP_FRACTION_DIGITS_MAX:
        raise _bad(
            field,
            f'the operands of a "{tree.name}" can have {sum(digits)} fractional digits, more than '
            f"{STEP_FRACTION_DIGITS_MAX}; round one of them first, such as round(x, {FRACTION_DIGITS_MAX})",
        )
    return _DIGITS_OF_RESULT.get(tree.name, max)(digits)


def round_digits(rounding: Operation) -> int:
    """The fractional digits that a `round` leaves."""
    digits = rounding.operands[1]
    assert isinstance(digits, Literal), "the parser lets nothing else stand there"
    return int(digits.number)


_DIGITS_OF_RESULT: dict[str, Callable[[list[int]], int]] = {
    "*": sum,
    "/": lambda _: FRACTION_DIGITS_MAX,
    "ceil": lambda _: 0,
    "floor": lambda _: 0,
}


def _leaves(tree: Expression) -> Iterator[Expression]:
    if isinstance(tree, Operation):
        for operand in tree.operands:
            yield from _leaves(operand)
    else:
        yield tree


def _bad(field: str, problem: str) -> InvalidInput:
    return InvalidInput(f"{field}: {problem}", field=field, reason="BAD_EXPRESSION")


class _Parser:
    """One pass over the tokens, by recursive descent; depth and operations are counted."""

    def __init__(self, text: str, field: str) -> None:
        self._field = field
        self._tokens = [*_tokens(text, field), ("end", "", len(text))]
        self._next = 0
        self._operations = 0

    def parse(self) -> Expression:
        """The whole text as one expression."""
        tree = self._sum(0)
        if self._kind != "end":
            raise self._unexpected('an operator such as "+"')
        return tree

    def _sum(self, depth: int) -> Expression:
        tree = self._product(depth)
        while self._text in ("+", "-"):
            tree = self._operation(self._take(), tree, self._product(depth))
        return tree

    def _product(self, depth: int) -> Expression:
        tree = self._factor(depth)
        while self._text in ("*", "/"):
            tree = self._operation(self._take(), tree, self._factor(depth))
        return tree

    def _factor(self, depth: int) -> Expression:
        if depth > DEPTH_MAX:
            raise _bad(
                self._field, f"parentheses, functions and signs stand more than {DEPTH_MAX} deep; write it flatter"
            )
        kind, text, _ = self._tokens[self._next]
        if text == "-" and kind == "mark":
            self._take()
            return self._operation("negate", self._factor(depth + 1))
        if text == "(":
            return self._inside_parentheses(depth)
        if kind == "number":
            return self._literal(self._take())
        if kind in ("name", "quoted"):
            return self._named(kind, self._take(), depth)
        raise self._unexpected('a property key, a number or "("')

    def _inside_parentheses(self, depth: int) -> Expression:
        self._require("(")
        tree = self._sum(depth + 1)
        self._require(")")
        return tree

    def _literal(self, text: str) -> Literal:
        if not is_decimal_text(text):
            raise _bad(self._field, f'"{text[:60]}" has more than 26 integer or 12 fractional digits')
        return Literal(Decimal(text))

    def _named(self, kind: str, name: str, depth: int) -> Expression:
        if kind == "name" and self._text == "(":
            return self._call(name, depth)
        if kind == "name" and name == VALUE:
            return EventValue()
        if not is_property_key(name):
            raise _bad(self._field, f'"{name[:64]}" is no property key; use {PROPERTY_KEY_RULE}')
        return Property(name)

    def _call(self, name: str, depth: int) -> Expression:
        if name not in _ARGUMENTS:
            raise _bad(self._field, f'there is no function "{name[:64]}"; use one of {", ".join(_ARGUMENTS)}')
        self._require("(")
        operands = [self._sum(depth + 1)]
        while self._text == ",":
            self._take()
            operands.append(self._sum(depth + 1))
        self._require(")")
        allowed = _ARGUMENTS[name]
        if len(operands) not in allowed:
            raise _bad(self._field, f"{name} takes {allowed.start} to {allowed.stop - 1} operands, not {len(operands)}")
        if name == "round" and not _is_digits(operands[1]):
            raise _bad(self._field, f"round takes its digits as a number, 0 to {FRACTION_DIGITS_MAX}")
        return self._operation(name, *operands)

    def _operation(self, name: str, *operands: Expression) -> Operation:
        self._operations += 1
        if self._operations > OPERATIONS_MAX:
            raise _bad(self._field, f"it has more than {OPERATIONS_MAX} operations; write a shorter one")
        return Operation(name, operands)

    @property
    def _kind(self) -> str:
        return self._tokens[self._next][0]

    @property
    def _text(self) -> str:
        """The next token when it is a mark, else nothing."""
        kind, text, _ = self._tokens[self._next]
        return text if kind == "mark" else ""

    def _take(self) -> str:
        self._next += 1
        return self._tokens[self._next - 1][1]

    def _require(self, mark: str) -> None:
        if self._text != mark:
            raise self._unexpected(f'"{mark}"')
        self._take()

    def _unexpected(self, expected: str) -> InvalidInput:
        kind, text, at = self._tokens[self._next]
        found = "the end" if kind == "end" else f'"{text[:64]}"'
        return _bad(self._field, f"at character {at + 1} {found} stands where {expected} is expected")


def _is_digits(operand: Expression) -> bool:
    return isinstance(operand, Literal) and operand.number in range(FRACTION_DIGITS_MAX + 1)


def _tokens(text: str, field: str) -> Iterator[tuple[str, str, int]]:
    """Kind, text and first character of each token."""
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            blank = len(text[at:]) - len(text[at:].lstrip())
            raise _bad(field, f'at character {at + blank + 1} "{text[at + blank]}" is not understood')
        assert match.lastgroup is not None, "one of the groups has matched"
        yield match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)
        at = match.end()
