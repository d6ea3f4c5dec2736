"""The documentation is whole: every setting, flag, route, error code and metric is in it; its links lead somewhere."""

import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import SecretStr

from lowcloud.cli.main import main
from lowcloud.core import errors
from lowcloud.http.binding import routes as binding_routes
from lowcloud.http.binding.forms import PREVIEW_PATHS
from lowcloud.settings import Model, Settings, keys, load
from lowcloud.telemetry.metrics import Metrics
from lowcloud.text.dialects.registry import NAMES

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
ANY_MODEL = "models.ID."


def rows(page: str) -> dict[str, list[str]]:
    """The rows of a page's tables, by their first cell's code."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    split = [
        [cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines() if line.startswith("| `")
    ]
    return {cells[0].strip("`"): cells for cells in split}


def test_every_setting_is_documented_and_no_other():
    assert set(rows("settings.md")) == set(keys())


@pytest.mark.parametrize("key", [key for key in keys() if "." in key and ".ID" not in key])
def test_a_settings_default_is_the_documented_one(key, monkeypatch):
    for variable in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    section, name = key.split(".")
    default = getattr(getattr(Settings(), section), name)
    assert rows("settings.md")[key][1].strip("`") == shown(name, default)


def shown(name: str, value: object) -> str:
    """A default as the page shows it."""
    match value:
        case bool():
            return str(value).lower()
        case "" | SecretStr():
            return "empty"
        case tuple() | None | dict():
            return ", ".join(map(str, value or ())) or "none"
        case Path():
            return str(value).replace(str(Path.home()), "~")
        case int() if name.endswith("_bytes") and value:
            return f"{value // 2**30} GiB" if value % 2**30 == 0 else f"{value // 2**20} MiB"
        case _:
            return f"{value:g}" if isinstance(value, float) else str(value)


def test_a_models_defaults_are_the_documented_ones():
    documented = {
        key.removeprefix(ANY_MODEL): cells[1] for key, cells in rows("settings.md").items() if ANY_MODEL in key
    }
    for name, field in Model.model_fields.items():
        if name in Settings().local.__class__.model_fields:
            assert (documented[name], field.default) == ("`local`'s", None)
        elif field.default not in (None, ()) and name != "defaults":
            assert documented[name].strip("`") == shown(name, field.default)


def test_every_dialect_is_documented_and_no_other():
    section = (ROOT / "docs" / "generation.md").read_text("utf-8").partition("## Dialects")[2]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert sorted(re.findall("`([^`]+)`", " ".join(cells))) == sorted(NAMES)


def commands(group: click.Command, path: str = "lowcloud") -> Iterator[tuple[str, click.Command]]:
    if not isinstance(group, click.Group):
        yield path, group
        return
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield from commands(command, f"{path} {name}")


def test_every_command_and_flag_is_documented_and_no_other():
    text = (ROOT / "docs" / "cli.md").read_text("utf-8")
    sections = {part.partition("\n")[0].strip(): part for part in text.split("\n## ")[1:]}
    found = dict(commands(main))
    assert set(sections) == set(found)
    for name, command in found.items():
        flags = {flag for option in command.params if isinstance(option, click.Option) for flag in option.opts}
        assert set(re.findall(r"^\| `(--[a-z-]+)` \|", sections[name], re.MULTILINE)) == flags, name
        assert all(option.help for option in command.params if isinstance(option, click.Option)), name
        assert command.help, name


def test_every_error_code_is_documented_with_its_status_and_number():
    classes = [
        error for _, error in inspect.getmembers(errors, inspect.isclass) if issubclass(error, errors.LowcloudError)
    ]
    text = (ROOT / "docs" / "api" / "errors.md").read_text("utf-8")
    for error in classes:
        assert f"| {error.status} | `{error.code}` | {error.number} |" in text, error.__name__


def test_every_path_of_a_binding_is_documented():
    written = re.findall(r'_route\((?:method|"[A-Z]+"), "(/[^"]*)"', inspect.getsource(binding_routes))
    paths = {*written, *PREVIEW_PATHS}
    assert {"/run", "/ai-api/models/search", "/to-everything/markdown/supported"} <= paths
    text = (ROOT / "docs" / "workers.md").read_text("utf-8")
    assert [path for path in paths if path.removesuffix("{path...}") not in text] == []


def test_every_metric_is_documented_and_no_other():
    families = set(re.findall(r"^# TYPE (\S+) ", Metrics().render().decode(), re.MULTILINE))
    assert set(rows("metrics.md")) == families


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            there = (page.parent / path).resolve() if path else page
            assert there.exists(), target
            if anchor:
                titles = re.findall(r"^#+ (.+)$", there.read_text("utf-8"), re.MULTILINE)
                assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, target


def settings_files(page: Path) -> Iterator[str]:
    """The examples of a settings file in a page: fenced as TOML, or indented with a section's head in it."""
    text = page.read_text("utf-8")
    yield from re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    for block in re.findall(r"(?:^    .*\n(?:\n(?=    ))?)+", text, re.MULTILINE):
        if re.search(r"^    \[[a-z]+[.\]]", block, re.MULTILINE):
            yield textwrap.dedent(block)


EXAMPLES = [
    pytest.param(example, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, example in enumerate(settings_files(page))
]


def test_the_pages_that_show_settings_files_are_found():
    pages = {str(example.id).rpartition("-")[0] for example in EXAMPLES}
    assert {"README", "settings", "models"} <= pages
    shown = sum(
        len(re.findall(r"^ *\[(?:models|map|server|storage|limits|binding)\b", page.read_text("utf-8"), re.MULTILINE))
        for page in PAGES
    )
    assert sum(len(re.findall(r"^\[", example.values[0], re.MULTILINE)) for example in EXAMPLES) == shown


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_a_settings_file_is_one(example, tmp_path):
    """As it stands but for the folders of the models, which must exist."""
    for name in re.findall(r'^path = "/.*/([^/"]+)"$', example, re.MULTILINE):
        (tmp_path / name).touch()
    file = tmp_path / "lowcloud.toml"
    file.write_text(re.sub(r'^path = "/.*/', f'path = "{tmp_path}/', example, flags=re.MULTILINE), "utf-8")
    assert load(file, environ={}) != Settings()


def test_the_compose_file_sets_what_there_is_to_set():
    (file,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "workers.md").read_text("utf-8"), re.DOTALL)
    variables = dict(re.findall(r"^ +(LOWCLOUD_\w+): (.+)$", file, re.MULTILINE))
    assert variables.pop("LOWCLOUD_BINDING_SECRET") == "${LOWCLOUD_BINDING_SECRET:?}"
    loaded = load(None, environ=variables)
    assert (loaded.binding.listen, loaded.storage.data_dir) == ("0.0.0.0:8781", Path("/data"))
    assert loaded.local.cache_dir == Path("/data/cache")


def test_the_readme_begins_with_the_two_commands_and_an_example_for_each_client():
    text = (ROOT / "README.md").read_text("utf-8")
    assert text.startswith("# Lowcloud\n\n    git clone ")
    assert text.splitlines()[3] == "    scripts/dev"
    assert re.findall(r"<!-- run: (\w+) -->\n```(\w+)", text) == [("python", "python"), ("node", "js"), ("sh", "sh")]
