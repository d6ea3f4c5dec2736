"""Images by URL get into the prompt of a model that sees, in both formats, where the server may fetch them."""

import asyncio
from collections.abc import Sequence

import pytest
from image_site import JPEG, PNG, site
from usage_sums import Sums, UsageTold

from lowcloud.core.errors import BadRequest
from lowcloud.core.messages import Image
from lowcloud.http.image_links import MAX_LINKS, LinkedImage
from lowcloud.models.card import Task
from lowcloud.serving.admission import Bounds
from lowcloud.serving.limits import Allowance
from lowcloud.serving.service import Limits
from lowcloud.serving.usage import Ledger

pytestmark = pytest.mark.anyio

URL = "https://images.test/a.png"
CHAT_PATH = "messages[0].content[1].image_url.url"
ROUTES = ["/v1/chat/completions", "/v1/chat/completions/input_tokens", "/v1/messages", "/v1/messages/count_tokens"]


class Shelf:
    """A fetcher that has one image for every URL, and keeps which were asked for."""

    def __init__(self, image: bytes | None = PNG) -> None:
        self._image = image
        self.asked: list[str] = []

    async def fetch(self, links: Sequence[LinkedImage]) -> list[Image]:
        self.asked += [link.url for link in links]
        if self._image is None:
            raise BadRequest(f"{links[0].path}: the image can't be fetched.", param=links[0].path)
        return [Image(self._image, "image/png", link.at) for link in links]


def body(route: str, *urls: str, **fields: object) -> dict[str, object]:
    """A question about images, in the route's format."""
    is_anthropic = "messages" in route
    parts = [
        {"type": "image", "source": {"type": "url", "url": url}}
        if is_anthropic
        else {"type": "image_url", "image_url": {"url": url}}
        for url in urls
    ]
    content = [{"type": "text", "text": "what is"}, *parts, {"type": "text", "text": "this?"}]
    is_counted = "count" in route or "tokens" in route
    length = {} if is_counted else {"max_tokens": 10}
    messages = [{"role": "user", "content": content}]
    return {"model": "@local/smollm2-135m-instruct", "messages": messages, **length, **fields}


def error(answer) -> tuple[int, str]:
    return answer.status, answer.json["error"]["message"]


@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/messages"])
async def test_images_reach_the_engine_as_bytes_at_their_places(make_world, route):
    shelf = Shelf()
    async with make_world(images=shelf, sees=True) as world:
        answer = await world.ask("POST", route, body(route, URL, URL + "?2"))
        assert answer.status == 200, answer.body
        [request] = world.chat.requests
    assert shelf.asked == [URL, URL + "?2"]
    [message] = request.prompt.messages
    assert message.text == "what isthis?"
    assert message.images == (Image(PNG, "image/png", at=7), Image(PNG, "image/png", at=7))


@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/messages"])
async def test_images_by_url_and_by_data_stand_beside_each_other(make_world, route):
    data = {"type": "image_url", "image_url": {"url": "data:image/gif;base64,eA=="}}
    if "messages" in route:
        data = {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "eA=="}}
    asked = body(route, URL)
    asked["messages"] = [{"role": "user", "content": [data]}, {"role": "assistant", "content": "x"}, *asked["messages"]]
    async with make_world(images=Shelf(), sees=True) as world:
        assert (await world.ask("POST", route, asked)).status == 200
        [request] = world.chat.requests
    assert [message.images for message in request.prompt.messages] == [
        (Image(b"x", "image/gif", param="messages[0].content[0]"),),
        (),
        (Image(PNG, "image/png", at=7),),
    ]


@pytest.mark.parametrize("route", ROUTES)
async def test_without_the_setting_an_image_by_url_is_refused_and_the_setting_is_named(make_world, route):
    async with make_world(sees=True) as world:
        answer = await world.ask("POST", route, body(route, URL))
    path = CHAT_PATH if "messages" not in route else "messages[0].content[1].source.url"
    assert error(answer) == (400, f"{path}: only data URLs are taken here, unless server.image_urls is set.")


@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/messages"])
async def test_nothing_is_fetched_for_a_model_that_cant_see(make_world, route):
    shelf = Shelf()
    async with make_world(images=shelf, sees=False) as world:
        status, message = error(await world.ask("POST", route, body(route, URL)))
    assert (status, shelf.asked) == (400, [])
    assert message == "messages[0].content[1]: @local/smollm2-135m-instruct doesn't take images."


@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/messages"])
async def test_nothing_is_fetched_for_a_run_that_is_over_its_accounts_limit(make_world, route):
    shelf = Shelf()
    ledger = Ledger(Sums(), UsageTold(), Allowance(requests_per_minute={Task.TEXT_GENERATION: 1}), lambda: 0.0)
    async with make_world(images=shelf, sees=True, ledger=ledger) as world:
        answers = [await world.ask("POST", route, body(route, URL)) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 429]
    assert shelf.asked == [URL]


async def test_nothing_is_fetched_for_a_model_whose_queue_is_full(make_world):
    shelf = Shelf()
    async with make_world(images=shelf, sees=True, limits=Limits(queue=Bounds(requests=0))) as world:
        answer = await world.ask("POST", ROUTES[0], body(ROUTES[0], URL))
    assert (answer.status, shelf.asked) == (429, [])


async def test_nothing_is_fetched_for_a_model_that_isnt_here(make_world):
    shelf = Shelf()
    async with make_world(images=shelf, sees=True) as world:
        answer = await world.ask("POST", ROUTES[0], body(ROUTES[0], URL, model="@cf/no/such"))
    assert (answer.status, shelf.asked) == (404, [])


@pytest.mark.parametrize("route", ROUTES)
async def test_an_image_that_cant_be_had_is_the_callers_error_and_names_its_url(make_world, route):
    async with make_world(images=Shelf(None), sees=True) as world:
        answer = await world.ask("POST", route, body(route, URL))
        assert world.chat.requests == []
    path = CHAT_PATH if "messages" not in route else "messages[0].content[1].source.url"
    assert error(answer) == (400, f"{path}: the image can't be fetched.")


@pytest.mark.parametrize("route", ["/v1/chat/completions/input_tokens", "/v1/messages/count_tokens"])
async def test_a_prompt_is_counted_with_its_images(make_world, route):
    shelf = Shelf()
    async with make_world(images=shelf, sees=True) as world:
        answer = await world.ask("POST", route, body(route, URL))
    assert (answer.status, shelf.asked) == (200, [URL])


async def test_so_many_images_of_a_request_are_fetched_and_no_more(make_world):
    shelf = Shelf()
    async with make_world(images=shelf, sees=True) as world:
        many = body(ROUTES[0], *[URL] * MAX_LINKS)
        assert (await world.ask("POST", ROUTES[0], many)).status == 200
        more = body(ROUTES[0], *[URL] * (MAX_LINKS + 1))
        status, message = error(await world.ask("POST", ROUTES[0], more))
    assert len(shelf.asked) == MAX_LINKS
    path = f"messages[0].content[{MAX_LINKS + 1}].image_url.url"
    assert (status, message) == (400, f"{path}: at most {MAX_LINKS} images of a request are fetched.")


@pytest.mark.parametrize("url", ["ftp://images.test/a.png", "data:image/png;base64,eA==", "images.test/a.png", ""])
async def test_what_is_no_url_of_the_web_is_no_source(make_world, url):
    async with make_world(images=Shelf(), sees=True) as world:
        answer = await world.ask("POST", "/v1/messages", body("/v1/messages", url))
    assert error(answer) == (400, "messages[0].content[1].source.url: must be an http or https URL.")


async def test_an_image_comes_over_the_network(make_world):
    async with site() as web_site:
        web_site.serve("/a.png", JPEG)
        async with make_world(images=web_site.images(), sees=True) as world:
            answer = await world.ask("POST", ROUTES[0], body(ROUTES[0], web_site.url()))
            assert answer.status == 200, answer.body
            [request] = world.chat.requests
    assert request.prompt.messages[0].images == (Image(JPEG, "image/jpeg", at=7, param="messages[0].content[1]"),)


async def test_a_client_that_leaves_ends_the_fetching(make_world):
    async with site() as web_site, make_world(images=web_site.images(), sees=True) as world:
        asked = asyncio.Event()

        async def silent(_: object) -> None:
            asked.set()
            await asyncio.Event().wait()

        web_site.handlers["/a.png"] = silent
        exchange = world.exchange("POST", ROUTES[0], body(ROUTES[0], web_site.url()))
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            tasks.create_task(exchange.run())
            await asked.wait()
            exchange.leave()
            await web_site.left.wait()
