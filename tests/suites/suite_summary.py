"""The summary of the tables in docs/conformance.md: ``python tests/suites/suite_summary.py`` writes it anew."""

from collections.abc import Iterator
from itertools import groupby

import suite_runner
import suite_table

DOCUMENT = suite_runner.HERE.parent.parent / "docs" / "conformance.md"
BEGIN, END = "<!-- summary: begin -->\n", "<!-- summary: end -->\n"
TITLES = {"passes": "pass", "refused": "refused rightly", "not_applicable": "not applicable"}


def with_summary(text: str) -> str:
    """The document with what lies between its two marks written from the tables."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    suites = (
        ("openai's own suite", suite_runner.OPENAI),
        ("cloudflare's own suite", suite_runner.CLOUDFLARE),
        ("llama.cpp's server tests", suite_runner.LLAMA_CPP),
    )
    tables = "\n".join("\n".join(lines(title, suite_table.load(suite.table))) for title, suite in suites)
    return f"{before}{BEGIN}{tables}\n{END}{after}"


def lines(title: str, table: suite_table.Table) -> Iterator[str]:
    """A Markdown section with one row for each verdict; a test function counts once, whatever its parameter sets."""
    verdicts = sorted(table.verdicts.values(), key=order)
    counted = ", ".join(
        f"{sum(verdict.kind == kind for verdict in verdicts)} {TITLES[kind]}" for kind in suite_table.KINDS
    )
    yield f"### {title}: {counted}\n"
    yield "| tests | verdict | answer | reason |\n|---:|---|---|---|"
    for verdict, same in groupby(verdicts):
        yield f"| {len(list(same))} | {TITLES[verdict.kind]} | {answer(verdict.refusal)} | {verdict.reason or '-'} |"
    yield ""


def answer(refusal: suite_table.Refusal | None) -> str:
    if refusal is None:
        return "-"
    return f"{refusal.status} `{refusal.code}`" + (f" `{refusal.param}`" if refusal.param else "")


def order(verdict: suite_table.Verdict) -> tuple[int, str, str]:
    return suite_table.KINDS.index(verdict.kind), verdict.reason, answer(verdict.refusal)


if __name__ == "__main__":
    DOCUMENT.write_text(with_summary(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
