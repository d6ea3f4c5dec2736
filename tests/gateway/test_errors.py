"""The gateway's errors, as callers and the documentation see them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lowcloud.core.errors import Overloaded
from lowcloud.gateway import errors
from lowcloud.gateway.errors import GatewayError, NoReply, NoSuchGateway, RateLimited, SpendLimitReached, body

PAGE = Path(__file__).parents[2] / "docs" / "gateway" / "errors.md"
SPEND = SpendLimitReached('metadata.user="ann"', 10.02, 10.0, retry_after_s=60)


def tree(kind: type[GatewayError]) -> Iterator[type[GatewayError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from tree(child)


def test_every_error_is_documented_with_its_code_and_status():
    rows = set(re.findall(r"^\| (\d+) \| (\d+) \|", PAGE.read_text("utf-8"), re.MULTILINE))
    assert rows == {(str(kind.number), str(kind.status)) for kind in tree(GatewayError)}


def test_every_error_is_drawn_in_the_tree():
    drawn = dict(re.findall(r"^ {4}\W*(\w+)(?: (\d{3}))?", errors.__doc__ or "", re.MULTILINE))
    for kind in tree(GatewayError):
        assert kind.__name__ in drawn
        assert drawn[kind.__name__] in ("", str(kind.status))


def test_the_documented_bodies_are_the_real_ones():
    shown = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)]
    assert shown == [body(NoSuchGateway("my-gateway")), body(SPEND)]


@pytest.mark.parametrize("error", [NoSuchGateway("x"), RateLimited(3.0), NoReply(kind="timeout"), Overloaded("full")])
def test_a_body_has_the_status_and_the_code_of_its_error(error):
    found = body(error)
    assert (found["httpCode"], found["internalCode"]) == (error.status, error.number)
    assert found["error"] == [{"code": error.number, "message": str(error)}]
    assert found["description"] == found["message"] == str(error)
    assert found["name"] == "AiGatewayError"


def test_a_spend_limit_is_not_worth_a_retry_and_has_no_internal_code():
    assert not SPEND.is_worth_a_retry
    assert SPEND.internal_code is None
    assert RateLimited(3.0).internal_code == 2003


def test_an_error_of_no_reply_says_why_there_is_none():
    assert NoReply(kind="not_allowed").kind == "not_allowed"


@pytest.mark.parametrize(
    ("error", "field"), [(errors.GatewayUnauthorized(), "cf-aig-authorization"), (errors.InvalidProvider(), "provider")]
)
def test_an_error_names_the_field(error, field):
    assert error.param == field


def test_an_invalid_provider_may_say_why():
    assert str(errors.InvalidProvider()) == "Invalid provider"
    assert str(errors.InvalidProvider("none is called x")) == "Invalid provider: none is called x"
