"""Reads the settings: a file, then variables, then flags; a wrong one is refused by name, with a hint."""

import json
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lowcloud.settings.sections import Binding, Model, Server, Settings, keys

PREFIX = "LOWCLOUD_"
# Variables of the command line, and secrets, which are no settings.
RESERVED = frozenset(
    {"LOWCLOUD_CONFIG", "LOWCLOUD_TOKEN", "LOWCLOUD_URL", "LOWCLOUD_BINDING_SECRET", "LOWCLOUD_SERVER_SECRET"}
)


class SettingsError(ValueError):
    """One line for each wrong setting, each beginning with its key."""


def load(
    config: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    flags: Mapping[str, Mapping[str, object]] | None = None,
) -> Settings:
    """The settings of the defaults, ``config``, ``environ`` and ``flags`` (keys by section): later ones win.

    Relative paths in the file are relative to its folder. Raises SettingsError.
    """
    tree = _read(config) if config else {}
    names = _merge_environment(tree, environ)
    for section, values in (flags or {}).items():
        _section(tree, section).update({key: value for key, value in values.items() if value is not None})
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        where = f"{config}: " if config else ""
        raise SettingsError("\n".join(_complaints(error, names, where))) from None


def _read(config: Path) -> dict[str, Any]:
    try:
        tree = tomllib.loads(config.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"{config}: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"{config}: not TOML: {error}") from None
    models = tree.get("models")
    tables = models.values() if isinstance(models, dict) else ()
    for table, key in [
        (tree.get("storage"), "data_dir"),
        (tree.get("local"), "cache_dir"),
        (tree.get("binding"), "record"),
        (tree.get("binding"), "replay"),
        (tree.get("gateway"), "prices"),
        *((t, "path") for t in tables),
    ]:
        if isinstance(table, dict) and isinstance(table.get(key), str) and table[key]:
            table[key] = str(config.absolute().parent / Path(table[key]).expanduser())
    return tree


def _merge_environment(tree: dict[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """Put the variables into ``tree``; returns the variable that set each key."""
    names: dict[str, str] = {}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable in RESERVED:
            continue
        section, _, key = variable.removeprefix(PREFIX).lower().partition("__")
        if key:
            _section(tree, section)[key] = environ[variable]
            names[f"{section}.{key}"] = variable
        elif section in ("models", "map"):
            tree[section] = _section(tree, section) | _json_object(variable, environ[variable])
            names[section] = variable
        else:
            raise SettingsError(f"{variable}: unknown variable{_hint(variable, _variables())}")
    return names


def _section(tree: dict[str, Any], name: str) -> dict[str, Any]:
    section = tree.setdefault(name, {})
    if not isinstance(section, dict):
        raise SettingsError(f"{name}: must be a table")
    return section


def _json_object(variable: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise SettingsError(f"{variable}: must be a JSON object")
    return value


def _variables() -> list[str]:
    plain = [key for key in keys() if ".ID" not in key]
    return [f"{PREFIX}{key.replace('.', '__').upper()}" for key in plain] + ["LOWCLOUD_MODELS", "LOWCLOUD_MAP"]


def _complaints(error: ValidationError, names: Mapping[str, str], where: str) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        location = [str(part) for part in problem["loc"]]
        message = problem["msg"].removeprefix("Value error, ")
        own_key, _, rest = message.partition(": ")
        own_keys = (*Server.model_fields, *Binding.model_fields, *Model.model_fields)
        if problem["type"] == "value_error" and own_key in own_keys:
            location, message = [*location, own_key], rest
        key = ".".join(location)
        source = f"{names[key]}: " if key in names else where
        if problem["type"] == "extra_forbidden":
            yield f"{source}{key}: unknown key{_near(location)}"
        else:
            yield f"{source}{key}: {message}"


def _near(location: list[str]) -> str:
    """A hint at the likeliest valid key: of the same name elsewhere, then of the same table, then any section."""
    of_model = location[0] == "models" and len(location) > 2
    asked = ".".join(["models", "ID", *location[2:]] if of_model else location)
    table, _, leaf = asked.rpartition(".")
    same = [key for key in keys() if key.rpartition(".")[2] == leaf and ".ID" not in key]
    siblings = [key for key in keys() if key.rpartition(".")[0] == table]
    hint = _hint(asked, siblings if table else Settings.model_fields)
    if same and not of_model:
        hint = f"; did you mean {same[0]}?"
    return hint.replace("models.ID.", f"models.{location[1]}.") if of_model else hint


def _hint(asked: str, known: Iterable[str]) -> str:
    near = get_close_matches(asked, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""
