"""Fine-tunes and Markdown aren't here yet: who looks finds nothing, who wants some is told so."""

import pytest

from lowcloud.http.auth import TokenAuth
from lowcloud.http.settings import HttpSettings

pytestmark = pytest.mark.anyio
AI = "/client/v4/accounts/0123456789abcdef0123456789abcdef/ai"
FORM = {"content-type": "multipart/form-data; boundary=x"}


@pytest.mark.parametrize(
    "path", ["finetunes", "finetunes/", "finetunes/public?limit=5&offset=1", "tomarkdown/supported"]
)
async def test_a_list_is_empty(world, path):
    answer = await world.ask("GET", f"{AI}/{path}")
    assert answer.status == 200
    assert answer.json == {"result": [], "success": True, "errors": [], "messages": []}


@pytest.mark.parametrize(
    ("path", "status", "code", "says"),
    [
        ("finetunes", 405, 5005, "finetunes: no model here takes an adapter yet."),
        ("finetunes/mine/finetune-assets", 405, 5005, "finetunes: no model here takes an adapter yet."),
        ("tomarkdown", 400, 5006, "Bad input: Error: toMarkdown: there is no converter here yet."),
    ],
)
async def test_the_rest_is_refused_by_name_in_the_envelope(world, path, status, code, says):
    answer = await world.ask("POST", f"{AI}/{path}", b"--x--", FORM)
    assert (answer.status, answer.json["success"], answer.json["result"]) == (status, False, {})
    assert answer.json["errors"] == [{"message": f"AiError: {says} (id-1)", "code": code}]


async def test_a_token_is_wanted_all_the_same(make_world, tokens):
    async with make_world(auth=TokenAuth(tokens), settings=HttpSettings()) as world:
        for token, status in (("good", 200), ("powerless", 403), ("no", 401)):
            answer = await world.ask("GET", f"{AI}/finetunes", headers={"authorization": f"Bearer {token}"})
            assert answer.status == status
