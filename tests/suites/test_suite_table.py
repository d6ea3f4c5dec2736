"""The tables themselves, and the judge between a table and a run: needs no server."""

from pathlib import Path

import pytest
import suite_runner
import suite_summary
import suite_table
from suite_runner import Did
from suite_table import Refusal, Verdict

PASSES = Verdict("passes", "", None)
REFUSED = Verdict("refused", "why", Refusal(400, "invalid_request", "max_tokens"))


def table(tmp_path: Path, text: str) -> suite_table.Table:
    path = tmp_path / "table.toml"
    path.write_text(text)
    return suite_table.load(path)


def test_a_case_without_brackets_speaks_for_all_its_parameter_sets(tmp_path):
    read = table(tmp_path, '[[passes]]\nfile = "a.py"\ncases = ["C::t"]\n')
    assert read.verdict("a.py::C::t[loose]") == read.verdict("a.py::C::t") == PASSES
    assert read.verdict("a.py::C::other") is None


def test_a_case_with_brackets_wins_over_the_one_without(tmp_path):
    text = (
        '[[passes]]\nfile = "a.py"\ncases = ["t"]\n'
        '[[not_applicable]]\nreason = "r"\nfile = "a.py"\ncases = ["t[x[0]]"]\n'
    )
    assert table(tmp_path, text).verdict("a.py::t[x[0]]") == Verdict("not_applicable", "r", None)
    assert table(tmp_path, text).verdict("a.py::t[y]") == PASSES


@pytest.mark.parametrize(
    "text",
    [
        '[[passes]]\nfile = "a.py"\ncases = ["t", "t"]\n',
        '[[refused]]\nstatus = 400\nfile = "a.py"\ncases = ["t"]\n',
        '[[refused]]\nreason = "r"\nfile = "a.py"\ncases = ["t"]\n',
        '[[not_applicable]]\nfile = "a.py"\ncases = ["t"]\n',
        '[[fails]]\nreason = "r"\nfile = "a.py"\ncases = ["t"]\n',
    ],
    ids=["named twice", "refused without why", "refused without how", "not applicable without why", "no such verdict"],
)
def test_a_table_that_does_not_say_what_and_why_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match=r"twice|without|no such"):
        table(tmp_path, text)


@pytest.mark.parametrize(
    ("verdict", "case"),
    [
        (PASSES, Did("failed", None, "AssertionError")),
        (PASSES, Did("passed", Refusal(400, "invalid_request", None), "")),
        (REFUSED, Did("passed", None, "")),
        (REFUSED, Did("failed", Refusal(400, "invalid_request", "model"), "BadRequestError")),
        (REFUSED, Did("failed", None, "AssertionError")),
        (REFUSED, Did("not run", None, "")),
    ],
)
def test_a_case_that_differs_from_its_verdict_is_named(verdict, case):
    assert suite_runner.mismatch(verdict, case) is not None


def test_a_case_that_does_what_its_verdict_says_is_fine():
    assert suite_runner.mismatch(PASSES, Did("passed", None, "")) is None
    assert suite_runner.mismatch(REFUSED, Did("failed", REFUSED.refusal, "BadRequestError")) is None
    assert suite_runner.mismatch(Verdict("not_applicable", "r", None), Did("not run", None, "")) is None


def test_the_document_sums_up_the_tables_as_they_are():
    text = suite_summary.DOCUMENT.read_text(encoding="utf-8")
    assert suite_summary.with_summary(text) == text, "run python tests/suites/suite_summary.py"


@pytest.mark.parametrize(
    "suite",
    [suite_runner.OPENAI, suite_runner.CLOUDFLARE, suite_runner.LLAMA_CPP],
    ids=["openai", "cloudflare", "llama.cpp"],
)
def test_every_committed_verdict_says_what_and_why(suite):
    verdicts = suite_table.load(suite.table).verdicts.values()
    assert verdicts
    assert all(verdict.reason for verdict in verdicts if verdict.kind != "passes" or verdict.refusal)
