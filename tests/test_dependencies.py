"""What is imported is declared, and what is declared is explained."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
OPTIONAL = PROJECT["optional-dependencies"]
EXTRA = [*OPTIONAL["local"], *OPTIONAL["vision"]]


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w-]+", line).group().lower() for line in requirements}


def imported(page: Path) -> set[str]:
    """The top-level names of a file's absolute imports, but for the standard library's and our own."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(page.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"lowcloud"}


def test_every_package_that_is_imported_is_declared_and_of_the_extras_only_the_local_engine_imports():
    distributions = packages_distributions()
    for page in sorted((ROOT / "src").rglob("*.py")):
        declared = names(PROJECT["dependencies"])
        if "engines/local" in page.as_posix():
            declared |= names(EXTRA)
        if page.name == "redis_limiter.py":
            declared |= names(OPTIONAL["redis"])
        for name in imported(page):
            assert {dist.lower().replace("_", "-") for dist in distributions[name]} & declared, f"{page.name}: {name}"


def test_every_declared_package_has_a_line_that_says_what_it_saves():
    text = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    explained = {name.lower() for name in re.findall(r"^\| ([\w-]+) \|", text, re.MULTILINE)}
    assert names([*PROJECT["dependencies"], *(line for extra in OPTIONAL.values() for line in extra)]) <= explained
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    for name in names([line for group in groups.values() for line in group]):
        assert name in text, name
