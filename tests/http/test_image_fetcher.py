"""Images are fetched from the open Internet alone, which a server on a loopback port plays here."""

import asyncio
import zlib
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from hypothesis import example, given
from hypothesis import strategies as st
from image_site import JPEG, PNG, site

from lowcloud.core.errors import BadRequest
from lowcloud.core.messages import Image
from lowcloud.http.image_fetcher import MAX_URL_CHARS, FetchBounds, WebImages, complaint, media_type
from lowcloud.http.image_links import linked

pytestmark = pytest.mark.anyio

PATH = "messages[0].content[1].image_url.url"
UNREACHED = f"{PATH}: the image can't be fetched."


async def refusal(images: WebImages, url: str) -> str:
    with pytest.raises(BadRequest) as caught:
        await images.fetch([linked(url, PATH)])
    assert caught.value.code == "invalid_request"
    assert caught.value.param == PATH
    return str(caught.value)


async def test_an_image_is_fetched_with_the_media_type_of_its_bytes_whatever_the_server_calls_it():
    async with site() as web_site:
        web_site.serve("/a.png", JPEG, content_type="text/html")
        assert await web_site.images().fetch([linked(web_site.url(), PATH)]) == [Image(JPEG, "image/jpeg")]


async def test_the_query_goes_with_the_path_and_nothing_of_the_caller_or_the_environment_does(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with site() as web_site:
        web_site.serve("/a.png")
        await web_site.images().fetch([linked(web_site.url("/a.png?signature=a%2Bb%3D%26&x=1#part"), PATH)])
        [(path, headers)] = web_site.requests
    assert path == "/a.png?signature=a%2Bb%3D%26&x=1"
    assert headers == {
        "Host": f"images.test:{web_site.port}",
        "Accept": "image/png, image/jpeg, image/webp, image/gif",
        "Accept-Encoding": "identity",
        "User-Agent": "Lowcloud",
        "Connection": "close",
    }


async def test_images_come_in_the_order_and_at_the_places_of_their_links():
    async with site() as web_site:
        second_asked = asyncio.Event()

        async def first(_: web.Request) -> web.StreamResponse:
            await second_asked.wait()
            return web.Response(body=PNG)

        async def second(_: web.Request) -> web.StreamResponse:
            second_asked.set()
            return web.Response(body=JPEG)

        web_site.handlers |= {"/first": first, "/second": second}
        links = [linked(web_site.url("/first"), PATH), linked(web_site.url("/second"), PATH)]
        fetched = await web_site.images().fetch(links)
    assert [image.media_type for image in fetched] == ["image/png", "image/jpeg"]


async def test_redirects_are_followed_three_times_without_cookies():
    async with site() as web_site:
        web_site.redirect("/a.png", "/b", 301)
        web_site.redirect("/b", web_site.url("/c"), 307)
        web_site.redirect("/c", "d", 308)
        web_site.serve("/d")
        assert await web_site.images().fetch([linked(web_site.url(), PATH)]) == [Image(PNG, "image/png")]
        assert not any("Cookie" in headers for _, headers in web_site.requests)
        web_site.redirect("/z", "/a.png")
        assert await refusal(web_site.images(), web_site.url("/z")) == f"{PATH}: redirects more than 3 times."


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/a.png",
        "http://inside.test:{port}/a.png",
        "http://[::1]:{port}/a.png",
        "http://images.test:1/a.png",
        "http://user:secret@images.test:{port}/a.png",
        "file:///etc/passwd",
        "//nowhere.test:{port}/",
        "http://[broken",
    ],
)
async def test_a_redirect_to_where_nothing_is_fetched_is_as_one_to_nowhere(location):
    async with site() as web_site:
        web_site.redirect("/a.png", location.format(port=web_site.port))
        images = web_site.images({"inside.test": ["10.0.0.7"]})
        assert await refusal(images, web_site.url()) == UNREACHED
        assert [path for path, _ in web_site.requests] == ["/a.png"]


async def test_what_is_refused_and_what_isnt_there_are_told_alike():
    async with site() as web_site:
        images = web_site.images({"inside.test": ["10.0.0.7"], "mixed.test": ["127.0.0.1", "10.0.0.7"]})
        hosts = ["nowhere.test", "inside.test", "mixed.test", "127.0.0.2", "[::1]", "[::ffff:10.0.0.7]", "a" * 300]
        for host in hosts:
            assert await refusal(images, web_site.url(host=host)) == UNREACHED
        assert web_site.requests == []


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.0.1", "[::1]", "localhost"])
async def test_no_way_of_writing_the_loopback_address_gets_past_the_check(host):
    """By the real resolver and the real rule; nothing is connected to."""
    async with site() as web_site:
        images = WebImages(FetchBounds(ports=(web_site.port,)))
        assert await refusal(images, web_site.url(host=host)) == UNREACHED
        assert web_site.requests == []


async def test_the_address_that_was_checked_is_the_one_that_is_connected_to():
    """A name server that gives another address each time it is asked, as in DNS rebinding."""
    answers = iter([["127.0.0.1"], ["10.0.0.7"]])
    asked: list[str] = []

    def lookup(host: str) -> list[str]:
        asked.append(host)
        return next(answers)

    async with site() as web_site:
        web_site.serve("/a.png")
        bounds = FetchBounds(ports=(web_site.port,))
        images = WebImages(bounds, allows=lambda address: address == "127.0.0.1", lookup=lookup)
        assert await images.fetch([linked(web_site.url(), PATH)]) == [Image(PNG, "image/png")]
        assert asked == ["images.test"]
        assert await refusal(images, web_site.url()) == UNREACHED


async def test_a_server_that_says_nothing_is_left_in_time():
    async with site() as web_site:

        async def silent(_: web.Request) -> web.StreamResponse:
            await asyncio.Event().wait()
            raise AssertionError

        web_site.handlers["/a.png"] = silent
        assert await refusal(web_site.images(seconds=0.2), web_site.url()) == UNREACHED
        async with asyncio.timeout(10):
            await web_site.left.wait()


async def test_an_answer_that_breaks_off_is_no_image():
    async with site() as web_site:

        async def broken(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(PNG)
            request.transport.abort()
            return response

        web_site.handlers["/a.png"] = broken
        assert await refusal(web_site.images(), web_site.url()) == UNREACHED


async def test_the_images_of_a_request_share_a_bound_in_bytes():
    async with site() as web_site:
        web_site.serve("/a.png", PNG)
        images = web_site.images(max_bytes=2 * len(PNG))
        link = linked(web_site.url(), PATH)
        assert len(await images.fetch([link, link])) == 2
        with pytest.raises(BadRequest, match="may have 28 bytes together, and these have more"):
            await images.fetch([link, link, link])


async def test_an_endless_image_is_left_at_the_bound():
    async with site() as web_site:

        async def endless(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(PNG * 1000)

        web_site.handlers["/a.png"] = endless
        assert "may have 100000 bytes" in await refusal(web_site.images(max_bytes=100_000), web_site.url())


@pytest.mark.parametrize(
    ("response", "says"),
    [
        ({"status": 404}, "the image's server answers with status 404"),
        ({"status": 302}, "the image's server answers with status 302"),
        ({"body": b"<html>"}, "there is no PNG, JPEG, WebP or GIF image there"),
        ({"body": b""}, "there is no PNG, JPEG, WebP or GIF image there"),
        (
            {"body": zlib.compress(PNG), "headers": {"Content-Encoding": "deflate"}},
            "there is no PNG, JPEG, WebP or GIF image there",
        ),
    ],
)
async def test_an_answer_without_an_image_is_refused(response, says):
    async with site() as web_site:
        web_site.serve("/a.png", **response)
        assert await refusal(web_site.images(), web_site.url()) == f"{PATH}: {says}."


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://images.test:81/a.png", "images are fetched from these ports alone: 80, 443"),
        ("http://images.test:0/a.png", "images are fetched from these ports alone: 80, 443"),
        ("http://me:secret@images.test/a.png", "must not carry a user's name or password"),
        ("http://@images.test/a.png", "must not carry a user's name or password"),
        ("http://images.test:eighty/", "is not a URL"),
        ("http://[::1/", "is not a URL"),
        ("http:///a.png", "must be an http or https URL"),
        ("http://images.test\\@10.0.0.7/", "must be an http or https URL"),
        ("http://images.test/\n", "must be an http or https URL"),
        ("https://images.test/" + "a" * MAX_URL_CHARS, "a URL of more than 8192 characters is not followed"),
    ],
)
async def test_a_url_that_is_no_place_for_images_is_refused_before_anything_is_fetched(url, says):
    def lookup(host: str) -> list[str]:
        raise AssertionError(host)

    images = WebImages(FetchBounds(), lookup=lookup)
    assert await refusal(images, url) == f"{PATH}: {says}."


@pytest.mark.parametrize("url", ["http://images.test/a.png", "https://images.test:443/?a=b", "HTTPS://1.1.1.1:80"])
def test_plain_urls_have_nothing_wrong(url):
    assert complaint(url, (80, 443)) is None


@given(st.text())
@example("user@host")
@example("host:80/a@b")
@example("[::1]:80")
def test_a_url_with_nothing_wrong_has_a_host_no_user_and_a_port_that_is_allowed(text):
    url = f"http://{text}"
    if complaint(url, (80,)) is None:
        parts = urlsplit(url)
        assert (parts.username, parts.port or 80) == (None, 80)
        assert parts.hostname


@given(st.binary(max_size=32))
def test_other_bytes_are_no_image(data):
    starts = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"RIFF")
    assert media_type(data) is None or data.startswith(starts)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "image/png"),
        (JPEG, "image/jpeg"),
        (b"GIF89a...", "image/gif"),
        (b"GIF87a...", "image/gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\x10\0\0\0WAVEfmt ", None),
        (b"<svg>", None),
    ],
)
def test_an_image_is_known_by_its_first_bytes(data, kind):
    assert media_type(data) == kind
