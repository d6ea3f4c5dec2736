"""Bounds of numbers, such that what a checker reads of a number's digits is within them, rounding or not. Pure."""

import math
from dataclasses import replace
from decimal import ROUND_CEILING, Decimal, localcontext
from fractions import Fraction

from lowcloud.text.schema.shapes import Number, NumberValue, Unenforceable

# llguidance reads bounds as doubles and writes them with up to 18 digits: the largest double of those.
LIMIT = 999_999_999_999_999_872
EXACT = 2**53
DIGITS = 15  # behind the point
TINY = 1e-12
MAX_MULTIPLE = 1000  # an automaton's states
SMALLEST_MULTIPLE = Fraction(1, 1024)


def lower(value: NumberValue, *, is_exclusive: bool) -> NumberValue:
    """The least bound, inclusive, that keeps ``value`` as a lower bound."""
    if value <= -LIMIT:
        return -LIMIT
    if value > LIMIT:
        raise Unenforceable(f"{value} is beyond the numbers that can be bounded")
    bound = _rounded_up(value)
    if not is_exclusive or bound > value:
        return bound
    step = _rounded_up(Decimal(value) + Decimal(1).scaleb(-DIGITS))
    return step if step > value else math.nextafter(float(value), math.inf)


def upper(value: NumberValue, *, is_exclusive: bool) -> NumberValue:
    """The greatest bound, inclusive, that keeps ``value`` as an upper bound."""
    return -lower(-value, is_exclusive=is_exclusive)


def integers(number: Number) -> Number:
    """The same for integers: bounds are integers that doubles hold."""
    least = None if number.minimum is None else _double(math.ceil(number.minimum), 1)
    most = None if number.maximum is None else _double(math.floor(number.maximum), -1)
    return replace(number, is_integer=True, minimum=least, maximum=most)


def multiple(value: NumberValue) -> Fraction:
    """The step of ``multipleOf``. Raises Unenforceable for steps that doubles can't count in, or that take too long."""
    step = Fraction(value)
    if step.denominator != 1 and (step.numerator != 1 or step < SMALLEST_MULTIPLE):
        raise Unenforceable(f"multiples of {value} aren't exact as floating point numbers")
    if step > MAX_MULTIPLE:
        raise Unenforceable(f"a step of more than {MAX_MULTIPLE}")
    return step


def settled(number: Number) -> Number | None:
    """The number with bounds that fit each other; None where no number is within them."""
    step = number.multiple_of
    if step is not None and step.denominator == 1:
        number = integers(number)
    elif number.is_integer:
        number = integers(replace(number, multiple_of=None))  # each integer is a multiple of 1/2^n
    if number.value is not None:
        return number if allows(number, number.value) else None
    least, most = number.minimum, number.maximum
    if least is None or most is None:
        return number
    if least > most:
        if not number.is_integer and least - most < TINY:
            raise Unenforceable(f"bounds as near to each other as {most} and {least}")
        return None
    if number.multiple_of is not None:
        step = number.multiple_of
        if math.ceil(Fraction(least) / step) * step > Fraction(most):
            return None
    return number


def allows(number: Number, value: NumberValue) -> bool:
    """Whether the bounds allow the value."""
    if number.minimum is not None and value < number.minimum:
        return False
    if number.maximum is not None and value > number.maximum:
        return False
    if number.is_integer and value != int(value):
        return False
    return number.multiple_of is None or Fraction(value) % number.multiple_of == 0


def literal(value: NumberValue) -> NumberValue:
    """A value that llguidance writes as it is. Raises Unenforceable for others."""
    if abs(value) >= EXACT or 0 < abs(value) < 1e-15:
        raise Unenforceable(f"{value} has too many digits to be written exactly")
    return int(value) if value == int(value) else value


def _rounded_up(value: NumberValue | Decimal) -> NumberValue:
    if isinstance(value, int):
        return _double(value, 1)
    with localcontext() as context:
        context.prec = 60
        exact = value if isinstance(value, Decimal) else Decimal(repr(value))
        found = float(exact.quantize(Decimal(1).scaleb(-DIGITS), rounding=ROUND_CEILING))
    return int(found) if found.is_integer() else found


def _double(value: int, direction: int) -> int:
    """The nearest integer that a double holds, not below (1) or not above (-1) the value, within the limit."""
    value = max(-LIMIT, min(LIMIT, value))
    near = int(float(value))
    if (near - value) * direction < 0:
        near = int(math.nextafter(float(value), math.inf * direction))
    return near
