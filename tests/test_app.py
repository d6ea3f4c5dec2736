"""What a server says to the person who started it."""

import json
import shlex

import pytest

from lowcloud.app import greeting, reached_as, url_for_others
from lowcloud.models.catalogue import CHAT_STAND_IN, Catalogue, packaged_cards
from lowcloud.settings import Server

URL = "http://127.0.0.1:8780"


def said(*here: str, stand_ins: bool = True, wants_token: bool = False, problems: tuple[str, ...] = ()) -> list[str]:
    cards = list(packaged_cards())
    local = [card for card in cards if card.id in here]
    return greeting(URL, Catalogue(cards, local, stand_ins=stand_ins), problems, wants_token=wants_token)


def test_it_says_where_it_listens_what_is_here_and_what_is_not():
    lines = said(CHAT_STAND_IN, problems=("a.gguf: no GGUF file",))
    assert lines[0] == f"Lowcloud listens on {URL}"
    assert lines[1] == f"Models here: {CHAT_STAND_IN}"
    assert "other ids" in lines[2]
    assert lines[3] == "Not here: a.gguf: no GGUF file"


@pytest.mark.parametrize("wants_token", [True, False])
def test_the_line_to_paste_asks_a_model_that_is_here_with_a_token_where_one_is_wanted(wants_token):
    words = shlex.split(said(CHAT_STAND_IN, stand_ins=False, wants_token=wants_token)[-1].removeprefix("Try: "))
    assert words[:2] == ["curl", f"{URL}/v1/chat/completions"]
    assert ("Authorization: Bearer TOKEN" in words) == wants_token
    assert json.loads(words[-1])["model"] == CHAT_STAND_IN


def test_without_a_chat_model_there_is_nothing_to_try():
    assert said() == [f"Lowcloud listens on {URL}", "Models here: none"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_on_loopback_nothing_is_said_of_other_machines(host):
    assert reached_as(Server(host=host)) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_on_every_address_it_says_that_the_names_that_others_use_must_be_set(host):
    (line,) = reached_as(Server(host=host))
    assert "server.allowed_hosts" in line
    assert "403" in line
    (line,) = reached_as(Server(host=host, allowed_hosts=("ai.example",)))
    assert line.startswith("Other machines may call it ai.example; ")
    assert reached_as(Server(host=host, allowed_hosts=("*",))) == []


@pytest.mark.parametrize(
    ("host", "allowed", "url"),
    [
        ("127.0.0.1", ("ai.example",), "http://127.0.0.1:8780"),
        ("0.0.0.0", ("*", "ai.example"), "http://ai.example:8780"),
        ("::", ("fd00::1",), "http://[fd00::1]:8780"),
        ("0.0.0.0", (), "http://127.0.0.1:8780"),
    ],
)
def test_who_comes_by_a_listener_of_their_own_is_told_a_url_that_can_be_connected_to(host, allowed, url):
    bound = URL if host == "127.0.0.1" else f"http://{host}:8780"
    assert url_for_others(bound, Server(host=host, allowed_hosts=allowed)) == url


def test_on_one_address_it_may_be_called_by_that():
    (line,) = reached_as(Server(host="fd00::1", allowed_hosts=("ai.example",)))
    assert line.startswith("Other machines may call it fd00::1, ai.example; ")
