"""Calls of ``env.AI`` that are recorded, and answered from the record: ``lowcloud run --record`` and ``--replay``."""

import json
from dataclasses import replace

import anyio
import pytest
from worker_binding import BINDING, SETTINGS, Request, direct, envelope, said, sent, thrown

from lowcloud.core.errors import EngineFailed
from lowcloud.http.binding.player import empty, tape
from lowcloud.http.binding.tape import FILE, Asked, Recorded, Tape, asked_of, from_lines, recorded, to_line

pytestmark = pytest.mark.anyio
LLAMA = "@cf/meta/llama-3.1-8b-instruct"
SAY = {"prompt": "hello there"}


def run(inputs: object = SAY, model: str = LLAMA, form=direct, headers=None, **options: object) -> Request:
    said = {"cf-consn-model-id": model, "content-type": "application/json", **(headers or {})}
    return form("POST", "/run?version=3", {"inputs": inputs, "options": options}, said)


@pytest.fixture
def recording(make_world, tmp_path):
    """A server that writes down what its binding is asked."""
    empty(tmp_path)
    return make_world(settings=replace(SETTINGS, binding=replace(BINDING, record=tmp_path)))


@pytest.fixture
def replaying(make_world, tmp_path):
    """A function: a server that answers from what was written there."""

    def made():
        return make_world(settings=replace(SETTINGS, binding=replace(BINDING, replay=tape(tmp_path))))

    return made


def asked(body: bytes, path: str = "/run", model: str = LLAMA) -> Asked:
    headers = [(b"cf-consn-model-id", model.encode())]
    return asked_of({"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}, body)


@pytest.mark.parametrize("form", [direct, envelope])
@pytest.mark.parametrize("inputs", [SAY, {**SAY, "stream": True}], ids=["whole", "streamed"])
async def test_a_call_is_answered_again_byte_for_byte_and_without_the_model(recording, replaying, form, inputs):
    async with recording as world:
        first = await sent(world, run(inputs, form=form))
    async with replaying() as world:
        again = await sent(world, run(inputs, form=form))
        assert world.chat.requests == []
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["lowcloud-stand-in"] == first.headers["lowcloud-stand-in"]


async def test_a_stream_keeps_its_pieces(recording, tmp_path):
    async with recording as world:
        await sent(world, run({**SAY, "stream": True}))
    (line,) = tape(tmp_path).lines
    assert b'data: {"response":"one"}\n\n' in line.pieces
    assert len(line.pieces) > 3


async def test_an_error_is_recorded_as_the_worker_sees_it(recording, replaying):
    async with recording as world:
        world.chat.stage.fail("start", EngineFailed("The model's process ended."))
        first = await sent(world, run())
        unknown = await sent(world, run(model="@cf/nobody/nothing"))
    async with replaying() as world:
        assert thrown(await sent(world, run())) == thrown(first)
        again = await sent(world, run(model="@cf/nobody/nothing"))
        assert (again.status, thrown(again)) == (unknown.status, thrown(unknown))


async def test_models_and_everything_else_that_the_class_asks_are_recorded(recording, replaying):
    models = direct("GET", "/ai-api/models/search?search=bge")
    async with recording as world:
        first = await sent(world, models)
    async with replaying() as world:
        assert (await sent(world, models)).body == first.body


async def test_a_call_is_known_whatever_the_order_of_its_keys_and_its_extra_headers(recording, replaying):
    async with recording as world:
        first = await sent(world, run({"prompt": "a", "max_tokens": 2}, headers={"x-mine": "1"}, tags=["b"]))
    async with replaying() as world:
        again = await sent(world, run({"max_tokens": 2, "prompt": "a"}, headers={"x-mine": "2"}, tags=["b"]))
        assert again.body == first.body


async def test_a_call_that_was_not_recorded_is_an_error_that_shows_the_nearest(recording, replaying):
    async with recording as world:
        await sent(world, run({"prompt": "What is tea?"}))
        await sent(world, run({"prompt": "Something quite different"}))
    async with replaying() as world:
        name, message = thrown(await sent(world, run({"prompt": "What is coffee?"})))
        assert name == "InferenceUpstreamError"
        assert "this call was not recorded: POST /run?version=3 of @cf/meta/llama-3.1-8b-instruct" in message
        assert '"prompt":"What is tea?"' in message
        assert "was not recorded" in said(await sent(world, direct("GET", "/ai-api/models/search")))


async def test_equal_calls_are_answered_in_their_order_and_from_the_first_again(tmp_path):
    same, other = asked(b"1"), asked(b"2")
    lines = [Recorded(key, 200, (), (text,)) for key, text in [(same, b"a"), (other, b"x"), (same, b"b")]]
    played = Tape(lines)
    assert [played.next(same).pieces[0] for _ in range(3)] == [b"a", b"b", b"a"]
    assert played.next(other).pieces == (b"x",)
    assert played.next(asked(b"3")) is None


async def test_a_call_that_the_worker_leaves_is_not_recorded(recording, tmp_path):
    async with recording as world:
        world.chat.stage.hold("token:1")
        request = run({**SAY, "stream": True})
        exchange = world.exchange(request.method, request.path, request.body, request.headers)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(exchange.run)
            await world.chat.stage.reached("token:1")
            exchange.leave()
        world.chat.stage.open("token:1")
        await sent(world, run())
    assert [json.loads(line.asked.body)["inputs"] for line in tape(tmp_path).lines] == [SAY]


async def test_what_wrangler_asks_before_it_opens_a_session_is_no_call(recording, replaying, tmp_path):
    path = "/client/v4/accounts/mine/workers/subdomain"
    bears = {"authorization": f"Bearer {BINDING.secret}"}
    async with recording as world:
        assert (await world.ask("GET", path, None, bears)).status == 200
    assert tape(tmp_path).lines == []
    async with replaying() as world:
        assert (await world.ask("GET", path, None, bears)).status == 200


async def test_secrets_are_left_out():
    body = json.dumps(
        [{"provider": "openai", "headers": {"Authorization": "Bearer t0ken", "x-api-key": "k3y", "a": "b"}}]
    )
    answer = [(b"set-cookie", b"c00kie"), (b"x-auth-key", b"k3y"), (b"content-length", b"1"), (b"cf-aig-step", b"0")]
    line = to_line(recorded(asked(body.encode()), 200, answer, [b"x"]))
    assert not any(secret in line for secret in ("t0ken", "k3y", "c00kie"))
    assert json.loads(line)["headers"] == {"cf-aig-step": "0"}
    assert json.loads(json.loads(line)["body"]) == [{"headers": {"a": "b"}, "provider": "openai"}]


@pytest.mark.parametrize("piece", [b"text \xc3\xa9", b"\xff\x00png", b"a\nb"])
@pytest.mark.parametrize("body", [b'{"b":1,"a":"\xc3\xa9"}', b"\xff\xd8", b""])
async def test_a_line_holds_any_bytes(piece, body):
    line = recorded(asked(body), 201, [(b"content-type", b"image/png")], [piece, piece])
    text = to_line(line)
    assert "\n" not in text
    assert from_lines(f"{text}\n").lines == [line]


@pytest.mark.parametrize("line", ["{", "[]", '{"method": "POST"}', to_line(recorded(asked(b""), 200, [], [])) + "x"])
async def test_a_file_that_is_no_record_is_refused_by_its_line(tmp_path, line):
    good = to_line(recorded(asked(b"1"), 200, [], []))
    (tmp_path / FILE).write_text(f"{good}\n{line}\n")
    with pytest.raises(ValueError, match="line 2"):
        tape(tmp_path)


async def test_two_calls_at_once_are_two_lines(recording, tmp_path):
    async with recording as world, anyio.create_task_group() as tasks:
        for prompt in "ab":
            tasks.start_soon(sent, world, run({"prompt": prompt}))
    assert {json.loads(line.asked.body)["inputs"]["prompt"] for line in tape(tmp_path).lines} == {"a", "b"}
