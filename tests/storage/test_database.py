"""The database: what the migrations make is what ``tables.py`` says, on either database, for whoever opens it first."""

import json
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import insert, inspect, text
from sqlalchemy.exc import IntegrityError
from structlog.testing import capture_logs

from lowcloud.core.errors import Unavailable
from lowcloud.storage.completions import CompletionStore, Keep, Page
from lowcloud.storage.connection import engine_of
from lowcloud.storage.database import Database, open_database
from lowcloud.storage.errors import DatabaseUnusable
from lowcloud.storage.gateway_logs import LogRow, LogStore, NewLog
from lowcloud.storage.schema import LOCK
from lowcloud.storage.tables import REVISION, completions, metadata

ENDS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lowcloud'"


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path}/state/lowcloud.db"


@pytest.fixture
def postgres_url(postgres):
    with postgres.database() as name:
        yield postgres.url(name)


def migrations() -> Config:
    config = Config()
    config.set_main_option("script_location", "lowcloud.storage:migrations")
    return config


def at_revision(url, revision):
    with Database(url) as database, database.writing() as connection:
        config = migrations()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def claiming(url, revision):
    open_database(url).close()
    with Database(url) as database, database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


def test_a_fresh_database_is_what_the_tables_say(url):
    open_database(url).close()
    engine = engine_of(url, 1)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_indexes_and_constraints_have_the_names_of_the_tables(url, tmp_path, request):
    open_database(url).close()
    other = f"sqlite:///{tmp_path}/declared.db" if "sqlite" in url else request.getfixturevalue("postgres_url")
    migrated, declared = engine_of(url, 1), engine_of(other, 1)
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
    assert ScriptDirectory.from_config(migrations()).get_current_head() == REVISION


def test_a_second_open_changes_nothing(url):
    open_database(url).close()
    with Database(url) as database:
        assert database.migrate() is False


def test_a_new_file_is_its_owners_alone(tmp_path, sqlite_url):
    open_database(sqlite_url).close()
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state" / "lowcloud.db").stat().st_mode & 0o777 == 0o600


def test_processes_that_open_a_new_database_at_once_all_get_it(url):
    code = f"from lowcloud.storage.database import open_database; open_database({url!r}).close()"
    started = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(3)]
    for process in started:
        _, complaint = process.communicate(timeout=60)
        assert process.returncode == 0, complaint.decode()


@pytest.mark.parametrize("revision", ["0099", "b5f1c0ffee"])
def test_a_schema_newer_than_the_code_is_refused_and_left_as_it_is(url, revision):
    claiming(url, revision)
    for may_migrate in (True, False):
        with pytest.raises(DatabaseUnusable, match=f"schema is {revision}, of a newer version.*up to {REVISION}"):
            open_database(url, migrate=may_migrate)
    with Database(url) as database:
        assert database.revision() == revision


@pytest.mark.parametrize("revision", [None, "0002"])
def test_where_a_start_may_not_migrate_an_older_schema_is_refused_and_left_as_it_is(url, revision):
    if revision:
        at_revision(url, revision)
    state = f"{revision or 'not there yet'}, and this version needs {REVISION}: run lowcloud db upgrade"
    with pytest.raises(DatabaseUnusable, match=state):
        open_database(url, migrate=False)
    with Database(url) as database:
        assert database.revision() == revision
    open_database(url).close()
    open_database(url, migrate=False).close()


@pytest.mark.anyio
async def test_logs_of_older_versions_have_whole_milliseconds(url):
    at_revision(url, "0009")
    log = LogRow("id", "a", "g", 1_800_000_000.123456, duration_ms=3.492)
    with Database(url) as database:
        await LogStore(database).add([NewLog(log)])
    with open_database(url) as database:
        found = await LogStore(database).get("a", "g", "id")
    assert found == log._replace(created_at=1_800_000_000.123, duration_ms=3.0)


@pytest.mark.anyio
async def test_what_older_versions_stored_is_found_by_its_metadata(url):
    at_revision(url, "0002")
    row = {"id": "c1", "account_id": "x", "created_at": 1e9, "model": "m", "messages": "[]", "answer": "{}"}
    with Database(url) as database, database.writing() as connection:
        labels = json.dumps({"a": "1", "é": '"\n'})
        connection.execute(insert(completions).values(row | {"metadata": labels, "size_bytes": 9}))
    with open_database(url) as database:
        store = CompletionStore(database, Keep(), clock=lambda: 1e9)
        (found,) = await store.list("x", Page(9, metadata={"é": '"\n', "a": "1"}))
    assert found.metadata == {"a": "1", "é": '"\n'}


@pytest.mark.anyio
async def test_sqlite_writes_ahead_and_checks_foreign_keys(sqlite_url):
    with open_database(sqlite_url) as database:
        pragma = await database.run(
            lambda c: [c.execute(text(f"PRAGMA {p}")).scalar() for p in ("journal_mode", "foreign_keys")]
        )
    assert pragma == ["wal", 1]


@pytest.mark.anyio
async def test_work_that_fails_leaves_nothing(url):
    def fail(connection):
        connection.execute(text("CREATE TABLE half (x INTEGER)"))
        raise LookupError

    with open_database(url) as database:
        with pytest.raises(LookupError):
            await database.run(fail)
        assert await database.run(lambda c: inspect(c).has_table("half")) is False


@pytest.mark.anyio
async def test_what_is_written_never_reaches_an_errors_message(url):
    row = {"id": "c1", "account_id": "x", "created_at": 1e9, "model": "m", "metadata": "{}", "answer": "{}"}
    twice = insert(completions).values(row | {"messages": "a secret", "size_bytes": 9})
    with open_database(url) as database:
        await database.writer.put(lambda connection: connection.execute(twice))
        with pytest.raises(IntegrityError) as failed:
            await database.writer.put(lambda connection: connection.execute(twice))
    assert "secret" not in str(failed.value)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "lowcloud.db"
    path.write_text("a letter to a friend, which is longer than the head of a database's file is " * 9)
    with pytest.raises(DatabaseUnusable, match="file is not a database"):
        open_database(f"sqlite:///{path}")


def test_a_start_waits_while_another_server_migrates(postgres_url):
    engine = engine_of(postgres_url, 1)
    waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    with engine.connect() as other, ThreadPoolExecutor(1) as threads:
        other.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        opened = threads.submit(open_database, postgres_url)
        while not opened.done() and other.execute(waiting).scalar() == 0:
            pass
        assert not opened.done()
        other.rollback()
        opened.result(timeout=60).close()
    engine.dispose()


@pytest.mark.anyio
async def test_a_postgres_that_is_gone_is_unavailable_until_it_is_back(postgres):
    def one(connection):
        return connection.execute(text("SELECT 1")).scalar()

    with postgres.database() as name, open_database(postgres.url(name)) as database:
        for work in (database.run, database.writer.put):
            assert await work(one) == 1
            postgres.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
            postgres.execute(ENDS)
            with capture_logs() as logs, pytest.raises(Unavailable) as refused:
                await work(one)
            assert name not in str(refused.value)
            assert "not currently accepting connections" in logs[0]["error"]
            postgres.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
            assert await work(one) == 1


@pytest.mark.anyio
async def test_an_sqlite_that_another_process_locks_for_too_long_is_unavailable(sqlite_url, tmp_path):
    with open_database(sqlite_url) as database, closing(sqlite3.connect(tmp_path / "state" / "lowcloud.db")) as other:
        quick = text("PRAGMA busy_timeout=1")
        await database.writer.put(lambda connection: connection.execute(quick))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable):
            await database.writer.put(lambda connection: connection.execute(quick))
        other.rollback()
        await database.writer.put(lambda connection: connection.execute(quick))


@pytest.mark.anyio
async def test_a_postgres_that_was_restarted_is_reached_anew(postgres_url, postgres):
    with open_database(postgres_url) as database:
        for work in (database.run, database.writer.put):
            assert await work(lambda c: c.execute(text("SELECT 1")).scalar()) == 1
            postgres.execute(ENDS)
            assert await work(lambda c: c.execute(text("SELECT 2")).scalar()) == 2


def test_a_postgres_that_cant_be_reached_is_said_without_the_password(postgres, tmp_path):
    postgres.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
    urls = [postgres.url("postgres", "guarded", "open-sesame"), f"postgresql://u:open-sesame@/x?host={tmp_path}"]
    for url in urls:
        with pytest.raises(DatabaseUnusable, match="can't be used: ") as refused:
            open_database(url)
        assert "open-sesame" not in repr(refused.value)
        assert refused.value.__cause__ is None


def test_a_postgres_of_another_encoding_is_refused(postgres):
    database = postgres.database("ENCODING 'LATIN1' TEMPLATE template0")
    with database as name, pytest.raises(DatabaseUnusable, match="encoding is LATIN1"):
        open_database(postgres.url(name))


def test_without_psycopg_it_says_what_to_install():
    code = """
import sys
sys.modules["psycopg"] = None
from lowcloud.storage.database import DatabaseUnusable, open_database
try:
    open_database("postgresql://u@localhost/x")
except DatabaseUnusable as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "PostgreSQL needs the extra: pip install 'lowcloud[postgres]'.\n"
