"""The house's measures: functions and modules stay short and flat, imports point down, modules say what they are."""

import ast
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "lowcloud"
MAX_FUNCTION, MAX_MODULE, MAX_PARAMETERS, MAX_NESTING = 60, 500, 6, 3
# "module.py:function" or "module.py" -> why it may be longer, or take more.
LONG: dict[str, str] = {}
MANY_PARAMETERS = {
    "cli/chat.py:chat": "click hands over each flag by name",
    "engines/local/process.py:step": "what the metrics take",
    "telemetry/metrics.py:step": "the numbers of one step, each by its name",
}
DEEP: dict[str, str] = {}
# A ``with`` says how long something lives; it asks and repeats nothing.
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.Match)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules() -> Iterator[tuple[str, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield str(path.relative_to(PACKAGE)), path.read_text("utf-8")


def functions() -> Iterator[tuple[str, Function]]:
    for name, text in modules():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, Function):
                yield f"{name}:{node.name}", node


def length(node: Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def parameters(node: Function) -> int:
    arguments = node.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def depth(node: ast.AST) -> int:
    """Blocks within blocks; an ``elif`` is no deeper than its ``if``."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*Function.__args__, ast.ClassDef, ast.Lambda)):
            continue
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        step = 1 if isinstance(child, BLOCKS) and not is_elif else 0
        deepest = max(deepest, step + depth(child))
    return deepest


def report(name: str, sizes: list[int], limit: int) -> None:
    p90 = statistics.quantiles(sizes, n=10)[-1]
    median = statistics.median(sizes)
    sys.stdout.write(f"\n{name}: {len(sizes)}, median {median:.0f}, p90 {p90:.0f}, max {max(sizes)} of {limit}\n")


def over(measured: dict[str, int], limit: int, exceptions: dict[str, str]) -> dict[str, int]:
    assert all(measured.get(name, 0) > limit for name in exceptions), "an exception that isn't needed any more"
    return {name: size for name, size in measured.items() if size > limit and name not in exceptions}


def test_no_function_is_longer_than_60_lines(capsys):
    lengths = {name: length(node) for name, node in functions()}
    with capsys.disabled():
        report("lines a function", list(lengths.values()), MAX_FUNCTION)
    assert over(lengths, MAX_FUNCTION, {n: why for n, why in LONG.items() if ":" in n}) == {}


def test_no_module_is_longer_than_500_lines(capsys):
    lengths = {name: text.count("\n") for name, text in modules()}
    with capsys.disabled():
        report("lines a module", list(lengths.values()), MAX_MODULE)
    assert over(lengths, MAX_MODULE, {n: why for n, why in LONG.items() if ":" not in n}) == {}


def test_no_function_takes_more_than_six_parameters():
    counts = {name: parameters(node) for name, node in functions()}
    assert over(counts, MAX_PARAMETERS, MANY_PARAMETERS) == {}


def test_no_block_is_nested_deeper_than_three():
    depths = {name: depth(node) for name, node in functions()}
    assert over(depths, MAX_NESTING, DEEP) == {}


def test_imports_point_down_only():
    # In a process of its own: the linter turns off every logger that is there.
    linter = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", linter], cwd=ROOT, env=environment, timeout=120, check=True)


def test_no_module_is_a_drawer():
    drawers = {"utils", "util", "helpers", "common", "manager", "misc"}
    assert [name for name, _ in modules() if Path(name).stem in drawers or Path(name).stem.startswith("base_")] == []


def test_every_module_says_what_it_is_for():
    silent = [name for name, text in modules() if text.strip() and not ast.get_docstring(ast.parse(text))]
    assert silent == []


def test_the_layers_are_those_of_the_design():
    design = (ROOT / "docs" / "design.md").read_text("utf-8")
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    layers = project.partition("layers = [")[2].partition("]")[0].replace("lowcloud.", "").replace('"', "").split(",")
    drawn = design.partition("## Layers")[2].partition("## ")[0]
    for layer in filter(None, (layer.strip() for layer in layers)):
        assert any(line.startswith(f"    {layer}") for line in drawn.splitlines()), (
            f"{layer} isn't drawn in docs/design.md"
        )
