"""``lowcloud db``: the schema is shown and brought up to date by hand."""

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from lowcloud.cli.main import main
from lowcloud.storage.database import Database, open_database
from lowcloud.storage.tables import REVISION


@pytest.fixture
def run(tmp_path):
    def invoke(*arguments: str, **variables: str):
        folder = {"LOWCLOUD_STORAGE__DATA_DIR": str(tmp_path)}
        return CliRunner(env=folder | variables).invoke(main, list(arguments))

    return invoke


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/lowcloud.db"


def test_an_upgrade_makes_the_schema_once(run):
    before = run("db", "current")
    assert (before.exit_code, before.stdout, before.stderr) == (1, "none\n", f"This version needs {REVISION}.\n")
    assert run("db", "upgrade").stdout == f"The schema is at {REVISION}.\n"
    assert run("db", "upgrade").stdout == f"The schema is at {REVISION}, as it was.\n"
    after = run("db", "current")
    assert (after.exit_code, after.stdout, after.stderr) == (0, f"{REVISION}\n", "")


def test_where_starts_may_not_migrate_the_upgrade_comes_first(run):
    by_hand = {"LOWCLOUD_STORAGE__MIGRATE_AT_START": "false"}
    refused = [run("tokens", "list", **by_hand), run("serve", "--port", "0", **by_hand)]
    for result in refused:
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: The database's schema is not there yet")
        assert "run lowcloud db upgrade" in result.stderr
    assert run("db", "upgrade", **by_hand).exit_code == 0
    assert run("tokens", "list", **by_hand).exit_code == 0


def test_a_newer_schema_is_shown_and_otherwise_refused(run, url):
    open_database(url).close()
    with Database(url) as database, database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0099'"))
    assert run("db", "current").stdout == "0099\n"
    for command in (["db", "upgrade"], ["tokens", "list"], ["serve", "--port", "0"], ["dev", "--port", "0"]):
        result = run(*command)
        assert result.exit_code == 1
        assert "schema is 0099, of a newer version" in result.stderr


def test_a_database_that_cant_be_reached_is_said_without_its_password(run, tmp_path):
    url = f"postgresql://u:open-sesame@/x?host={tmp_path}"
    for command in (["db", "upgrade"], ["db", "current"], ["tokens", "list"], ["serve", "--port", "0"]):
        result = run(*command, LOWCLOUD_STORAGE__DATABASE_URL=url)
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: The database can't be used: ")
        assert "open-sesame" not in result.output
