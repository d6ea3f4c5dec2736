"""API tokens: shown once, kept as hashes, good until they expire or are revoked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update
from told_clock import Clock

from lowcloud.core.errors import ExpiredToken
from lowcloud.core.principal import Permission, Principal
from lowcloud.storage.tables import metadata, tokens
from lowcloud.storage.tokens import TokenRecord, TokenStore, is_live

ACCOUNT = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def clock():
    return Clock(1000.0)


@pytest.fixture
def store(database, clock):
    return TokenStore(database, clock)


@pytest.mark.anyio
async def test_a_new_token_stands_for_its_account_and_permissions(store):
    created = await store.create("laptop", ACCOUNT, [Permission.WORKERS_AI_READ])
    principal = await store.verify(created.token)
    assert principal == Principal(created.record.id, ACCOUNT, frozenset({Permission.WORKERS_AI_READ}))


@pytest.mark.anyio
async def test_a_token_has_every_permission_unless_told(store):
    principal = await store.verify((await store.create("x", ACCOUNT)).token)
    assert principal is not None
    assert principal.permissions == frozenset(Permission)


@pytest.mark.anyio
@pytest.mark.parametrize("token", ["", "lowcloud_guess", "x" * 10_000, "\ud800", "ключ"])
async def test_an_unknown_token_stands_for_nobody(store, token):
    await store.create("laptop", ACCOUNT)
    assert await store.verify(token) is None


@pytest.mark.anyio
async def test_a_revoked_token_stands_for_nobody_from_then_on(store):
    created = await store.create("laptop", ACCOUNT)
    assert await store.revoke(created.record.id) is True
    with pytest.raises(ExpiredToken):
        await store.verify(created.token)
    assert await store.revoke(created.record.id) is False
    assert await store.revoke("no such id") is False


@pytest.mark.anyio
async def test_an_expired_token_stands_for_nobody(store, clock):
    created = await store.create("laptop", ACCOUNT, expires_at=1010.0)
    assert await store.verify(created.token) is not None
    clock.now = 1010.0
    with pytest.raises(ExpiredToken):
        await store.verify(created.token)


@pytest.mark.anyio
async def test_the_list_has_all_tokens_oldest_first(store, clock):
    first = await store.create("first", ACCOUNT, expires_at=2000.0)
    clock.now = 1001.0
    second = await store.create("second", ACCOUNT)
    await store.revoke(first.record.id)
    listed = await store.list()
    assert [(record.name, record.revoked_at, record.expires_at) for record in listed] == [
        ("first", 1001.0, 2000.0),
        ("second", None, None),
    ]
    assert listed[1] == second.record


@pytest.mark.anyio
async def test_the_token_itself_is_nowhere_in_the_database(store, database):
    created = await store.create("laptop", ACCOUNT)
    secret = created.token.removeprefix("lowcloud_")
    rows = await database.run(lambda c: [row for table in metadata.tables.values() for row in c.execute(select(table))])
    assert created.record.id in str(rows)
    assert secret not in str(rows)


@pytest.mark.anyio
async def test_a_permission_of_a_newer_version_is_not_given(store, database):
    created = await store.create("laptop", ACCOUNT, [Permission.WORKERS_AI_READ])
    newer = update(tokens).values(permissions=tokens.c.permissions + "\nFly")
    await database.writer.put(lambda connection: connection.execute(newer))
    principal = await store.verify(created.token)
    assert principal is not None
    assert principal.permissions == frozenset({Permission.WORKERS_AI_READ})


@given(expires=st.none() | st.floats(0, 2e9), revoked=st.none() | st.floats(0, 2e9), now=st.floats(0, 2e9))
def test_a_live_token_is_neither_revoked_nor_expired(expires, revoked, now):
    record = TokenRecord("id", "name", ACCOUNT, frozenset(), 0.0, expires, revoked)
    assert is_live(record, now) == (revoked is None and not (expires is not None and expires <= now))
