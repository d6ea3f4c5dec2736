"""``lowcloud tokens``: what a person types, and what a script reads."""

import json
import re

import anyio
import pytest
from click.testing import CliRunner

from lowcloud.cli.main import main
from lowcloud.cli.tokens import account_for
from lowcloud.core.principal import Permission
from lowcloud.storage.database import open_database
from lowcloud.storage.tokens import TokenRecord, TokenStore

ACCOUNT = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def run(tmp_path):
    def invoke(*arguments: str):
        return CliRunner(env={"LOWCLOUD_STORAGE__DATA_DIR": str(tmp_path)}).invoke(main, ["tokens", *arguments])

    return invoke


def listed(run) -> list[dict[str, object]]:
    return [json.loads(line) for line in run("list", "--json").stdout.splitlines()]


def test_standard_output_has_the_new_token_alone(run, tmp_path):
    result = run("create", "laptop", "--account", ACCOUNT)
    token = result.stdout.removesuffix("\n")

    async def verify():
        with open_database(f"sqlite:///{tmp_path}/lowcloud.db") as database:
            return await TokenStore(database).verify(token)

    principal = anyio.run(verify)
    assert (result.exit_code, principal.account_id) == (0, ACCOUNT)
    assert principal.permissions == frozenset(Permission)
    assert token not in result.stderr
    assert principal.token_id in result.stderr


def test_permissions_and_days_are_kept(run):
    run("create", "reader", "--permission", "read", "--days", "2")
    (record,) = listed(run)
    assert record["permissions"] == ["Workers AI Read"]
    assert record["expires_at"] - record["created_at"] == pytest.approx(2 * 86_400, abs=1)


def test_a_second_token_is_for_the_account_of_the_first(run):
    run("create", "one")
    run("create", "two")
    one, two = listed(run)
    assert one["account_id"] == two["account_id"]
    assert re.fullmatch(r"[0-9a-f]{32}", str(one["account_id"]))


def test_a_revoked_token_is_listed_as_such(run):
    run("create", "laptop")
    token_id = str(listed(run)[0]["id"])
    assert run("revoke", token_id).output == f"Token {token_id} is revoked.\n"
    table = run("list").stdout
    assert re.search(rf"{token_id}  .*  revoked  laptop\n", table)
    again = run("revoke", token_id)
    assert (again.exit_code, again.stderr) == (1, f"Error: There is no live token {token_id}.\n")


def test_the_list_tells_live_expired_and_limited_tokens_apart(run):
    run("create", "for ever")
    run("create", "limited", "--days", "400")
    run("create", "over", "--days", "0.0000000001")
    states = [re.split(r"\s{2,}", line)[3] for line in run("list").stdout.splitlines()]
    assert states[:2] == ["STATE", "live"]
    assert re.fullmatch(r"until \d{4}-\d\d-\d\d", states[2])
    assert states[3] == "expired"


def test_no_tokens_is_said_so(run):
    assert run("list").output == "There are no tokens.\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["create", "--account", "me"], "an account id is 32 hex digits"),
        (["create", "--days", "0"], "is not in the range x>0"),
        (["create", "--permission", "fly"], "'fly' is not one of"),
        (["create", "x" * 121], "NAME has more than 120 characters"),
    ],
)
def test_a_token_that_can_not_be_is_refused(run, arguments, complaint):
    result = run(*arguments)
    assert result.exit_code == 2
    assert complaint in result.output


def test_the_first_token_makes_an_account():
    record = TokenRecord("id", "name", ACCOUNT, frozenset(), 0.0, None, None)
    assert account_for([record]) == ACCOUNT
    assert account_for([]) != account_for([])
