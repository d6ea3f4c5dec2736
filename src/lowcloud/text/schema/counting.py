"""How many properties an object may have, as far as llguidance can count them. Pure."""

from dataclasses import replace

from lowcloud.text.schema.shapes import NOTHING, Object, Unenforceable


def counted(kind: Object) -> Object | None:
    """The object without bounds that hold anyway; None where they leave none.

    llguidance may write free names twice, counts optional properties to one only, and free ones only without those.
    Raises Unenforceable for the rest.
    """
    if any(kind.properties[name] == NOTHING for name in kind.required):
        return None
    optional = [name for name, shape in kind.properties.items() if shape != NOTHING and name not in kind.required]
    is_open = kind.additional != NOTHING or any(shape != NOTHING for _, shape in kind.patterns)
    least = max(0, kind.min_properties - len(kind.required))
    most = None if kind.max_properties is None else kind.max_properties - len(kind.required)
    if not is_open and most is not None and most >= len(optional):
        most = None
    if most is not None and least > most:
        return None
    if not is_open and least > len(optional):
        return None
    if least or most is not None:
        _check(least, most, has_optional=bool(optional), is_open=is_open)
    n_required = len(kind.required)
    return replace(
        kind,
        min_properties=least + n_required if least else 0,
        max_properties=None if most is None else most + n_required,
    )


def _check(least: int, most: int | None, *, has_optional: bool, is_open: bool) -> None:
    if not has_optional:
        if least > 1:
            raise Unenforceable("names of free properties may come twice, so only the first can be counted on")
    elif is_open or least > 1 or most not in (None, 1):
        raise Unenforceable("properties that may be left out are counted only to one, and only where no other may come")
