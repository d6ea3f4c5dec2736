"""The database: what the migrations make is what ``tables.py`` says, for whoever opens it first."""

import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text

from lowcloud.storage.database import open_database
from lowcloud.storage.tables import REVISION, metadata


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/state/lowcloud.db"


def test_a_fresh_database_is_what_the_tables_say(url):
    open_database(url).close()
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_indexes_and_constraints_have_the_names_of_the_tables(tmp_path, url):
    open_database(url).close()
    migrated, declared = create_engine(url), create_engine(f"sqlite:///{tmp_path}/declared.db")
    metadata.create_all(declared)
    for table in metadata.tables:
        seen = [
            (i.get_pk_constraint(table), i.get_unique_constraints(table), i.get_indexes(table), i.get_columns(table))
            for i in (inspect(migrated), inspect(declared))
        ]
        assert str(seen[0]) == str(seen[1])
    migrated.dispose()
    declared.dispose()


def test_the_revision_that_counts_as_current_is_the_newest_migration():
    config = Config()
    config.set_main_option("script_location", "lowcloud.storage:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == REVISION


def test_a_second_open_changes_nothing(url):
    open_database(url).close()
    open_database(url).close()


def test_a_new_database_is_its_owners_alone(tmp_path, url):
    open_database(url).close()
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state" / "lowcloud.db").stat().st_mode & 0o777 == 0o600


def test_processes_that_open_a_new_database_at_once_all_get_it(url):
    code = f"from lowcloud.storage.database import open_database; open_database({url!r}).close()"
    started = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(4)]
    for process in started:
        _, complaint = process.communicate(timeout=60)
        assert process.returncode == 0, complaint.decode()


@pytest.mark.anyio
async def test_it_writes_ahead_and_checks_foreign_keys(url):
    with open_database(url) as database:
        pragma = await database.run(
            lambda c: [c.execute(text(f"PRAGMA {p}")).scalar() for p in ("journal_mode", "foreign_keys")]
        )
    assert pragma == ["wal", 1]


@pytest.mark.anyio
async def test_work_that_fails_leaves_nothing(url):
    def fail(connection):
        connection.execute(text("CREATE TABLE half (x)"))
        raise LookupError

    with open_database(url) as database:
        with pytest.raises(LookupError):
            await database.run(fail)
        assert await database.run(lambda c: inspect(c).has_table("half")) is False
