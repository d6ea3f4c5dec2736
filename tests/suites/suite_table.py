"""The committed verdicts on another project's test suite: what each of its cases does against this server, and why.

A table is a TOML file of ``[[passes]]``, ``[[refused]]`` and ``[[not_applicable]]`` entries. An entry names a
``file`` and its ``cases``; a case without brackets stands for all its parameter sets, one with brackets for that set
alone and wins over the first. ``refused`` says how (``status``, ``code``, ``param``) and why; ``passes`` says how
where the case itself asks for a refusal; ``not_applicable`` cases are collected but not run.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["passes", "refused", "not_applicable"]
KINDS: tuple[Kind, ...] = ("passes", "refused", "not_applicable")


@dataclass(frozen=True, slots=True)
class Refusal:
    """How the server said no: the HTTP status, ``error.code`` and ``error.param``; of the native API its number, and
    the field that its message names."""

    status: int
    code: str | None
    param: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a case must do. ``reason`` is empty for a plain pass only."""

    kind: Kind
    reason: str
    refusal: Refusal | None


@dataclass(frozen=True, slots=True)
class Table:
    """Verdicts by case id (``file::Class::test`` or ``file::test[parameters]``)."""

    verdicts: Mapping[str, Verdict]

    def key(self, case: str) -> str | None:
        """The entry that speaks for a collected case, or None when nobody sorted it."""
        folded = case.partition("[")[0]
        return next((key for key in (case, folded) if key in self.verdicts), None)

    def verdict(self, case: str) -> Verdict | None:
        key = self.key(case)
        return None if key is None else self.verdicts[key]


def load(path: Path) -> Table:
    """Read a table. Raises ValueError for a case named twice, or a verdict that doesn't say why."""
    verdicts: dict[str, Verdict] = {}
    for kind, entries in tomllib.loads(path.read_text(encoding="utf-8")).items():
        for entry in entries:
            verdict = _verdict(kind, entry)
            for case in entry["cases"]:
                key = f"{entry['file']}::{case}"
                if key in verdicts:
                    raise ValueError(f"{path.name} names {key} twice")
                verdicts[key] = verdict
    return Table(verdicts)


def _verdict(kind: str, entry: Mapping[str, object]) -> Verdict:
    if kind not in KINDS:
        raise ValueError(f"no such verdict: {kind}")
    reason, refusal = str(entry.get("reason", "")), None
    if "status" in entry:
        refusal = Refusal(int(str(entry["status"])), _text(entry.get("code")), _text(entry.get("param")))
    if kind != "passes" and not reason:
        raise ValueError(f"{kind} without a reason: {entry['cases']}")
    if (kind == "refused") > (refusal is not None):
        raise ValueError(f"refused without a status: {entry['cases']}")
    return Verdict(kind, reason, refusal)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
