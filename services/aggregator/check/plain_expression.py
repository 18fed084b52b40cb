"""Value expressions computed anew: read from the text and evaluated as it is read, in fractions."""

import re
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from math import ceil, floor

TWELFTH = 12
_BEYOND = 10**26
_TOKEN = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?|[A-Za-z_][\w.]*|`[^`]*`|[-+*/(),])", re.ASCII)
_DECIMAL = re.compile(r"-?[0-9]{1,26}(?:\.[0-9]{1,12})?", re.ASCII)


class NoNumber(Exception):
    """There is no number: a property is missing or no decimal, a division by zero, or too many digits."""


def plain_number(text: str | None) -> Fraction:
    """The number of a property's text; raises NoNumber."""
    if text is None or not _DECIMAL.fullmatch(text):
        raise NoNumber
    return Fraction(text)


def evaluate(expression: str, value: Fraction, properties: Mapping[str, str]) -> Fraction:
    """What a well-formed expression gives for one usage event, rounded half up at the 12th digit; raises NoNumber."""
    return rounded(_Reader(expression, value, properties).sum(), TWELFTH)


def rounded(number: Fraction, digits: int) -> Fraction:
    """`number` with so many fractional digits, half away from zero."""
    scaled = floor(abs(number) * 10**digits + Fraction(1, 2))
    return Fraction(-scaled if number < 0 else scaled, 10**digits)


def _quotient(dividend: Fraction, divisor: Fraction) -> Fraction:
    if not divisor:
        raise NoNumber
    return rounded(dividend / divisor, TWELFTH)


_FUNCTIONS: dict[str, Callable[..., Fraction]] = {
    "min": min,
    "max": max,
    "round": lambda number, digits: rounded(number, int(digits)),
    "ceil": lambda number: Fraction(ceil(number)),
    "floor": lambda number: Fraction(floor(number)),
}


class _Reader:
    """Reads from left to right; what stands tighter is read deeper."""

    def __init__(self, text: str, value: Fraction, properties: Mapping[str, str]) -> None:
        self._tokens: list[str] = [*_tokens(text), ""]
        self._at = 0
        self._value = value
        self._properties = properties

    def sum(self) -> Fraction:
        """Products, added and subtracted."""
        number = self._product()
        while self._tokens[self._at] in ("+", "-"):
            sign = 1 if self._take() == "+" else -1
            number = _bounded(number + sign * self._product())
        return number

    def _product(self) -> Fraction:
        number = self._factor()
        while self._tokens[self._at] in ("*", "/"):
            is_product = self._take() == "*"
            operand = self._factor()
            number = _bounded(number * operand if is_product else _quotient(number, operand))
        return number

    def _factor(self) -> Fraction:
        part = self._take()
        if part == "-":
            return -self._factor()
        if part == "(":
            return self._closed(self.sum())
        if part[0].isdigit():
            return Fraction(part)
        if self._tokens[self._at] == "(":
            return self._call(part)
        if part == "value":
            return self._value
        return plain_number(self._properties.get(part.strip("`")))

    def _call(self, name: str) -> Fraction:
        self._take()
        operands = [self.sum()]
        while self._tokens[self._at] == ",":
            self._take()
            operands.append(self.sum())
        return _bounded(self._closed(_FUNCTIONS[name](*operands)))

    def _closed(self, number: Fraction) -> Fraction:
        self._take()
        return number

    def _take(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1]


def _bounded(number: Fraction) -> Fraction:
    if abs(number) >= _BEYOND:
        raise NoNumber
    return number


def _tokens(text: str) -> Iterator[str]:
    return (match[1] for match in _TOKEN.finditer(text))
