"""A model that sees, from a request to its events: the engine here, GenAI's pipeline in the model's own process."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime

import anyio
import pytest
from tiny_pictures import OTHER, PICTURE

from lowcloud.core.errors import BadRequest, EngineFailed, PromptTooLong, Unsupported
from lowcloud.core.events import Finished, Started, TextDelta, Usage
from lowcloud.core.messages import Image, Message, Messages, Text
from lowcloud.core.requests import Generate, Sampling
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.engines.local.engine import LocalEngine, Surroundings
from lowcloud.engines.local.frames import Failed, FrameReader
from lowcloud.engines.local.process import WorkerProcess
from lowcloud.engines.local.spec import WorkerSpec
from lowcloud.engines.local.tokenizer import load_text_assets
from lowcloud.engines.local.vision_engine import IMAGE_TOKENS, VisionEngine
from lowcloud.models.card import Card

pytestmark = pytest.mark.anyio

CARD = Card(id="@test/model", task="Text Generation", owned_by="test", vision=True)
LOOK = Messages((Message("user", "what is  this?", images=(Image(PICTURE, "image/png", 8),)),))
N_LOOK = len("user\nwhat is <ov_genai_image_0> this?\nassistant\n") + 3


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class Silent:
    """Nobody measures."""

    def step(self, model, **numbers) -> None: ...
    def restart(self, model) -> None: ...


@pytest.fixture(scope="module")
async def engine(tiny_vlm):
    spec = WorkerSpec("vision", str(tiny_vlm), "none", precision="f32", threads=1)
    process = WorkerProcess(spec, CARD.id, Silent())
    around = Surroundings(anyio.CapacityLimiter(2), lambda: 77, lambda: datetime(2026, 11, 24, tzinfo=UTC))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(process.run)
        yield VisionEngine(CARD, load_text_assets(tiny_vlm), process, around)
        tasks.cancel_scope.cancel()


def ask(prompt=LOOK, **fields) -> Generate:
    usual = {"max_tokens": 12, "sampling": Sampling(temperature=3.0, seed=5), "ignore_eos": True}
    return Generate("r1", prompt, **(usual | fields))


async def events_of(engine, request):
    with anyio.fail_after(60):
        async with aclosing(engine.generate(await engine.prepare(request))) as events:
            return [event async for event in events]


def text_of(events, choice=0) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta) and event.choice == choice)


async def test_an_answer_about_an_image_begins_with_an_estimate_and_ends_with_the_true_count(engine):
    first, *rest, finished, usage = await events_of(engine, ask())
    assert isinstance(first, Started)
    assert (first.prompt_tokens, first.cached_tokens) == (N_LOOK + IMAGE_TOKENS, 0)
    assert first.weights.startswith("tiny-vlm")
    assert rest and all(isinstance(event, TextDelta) for event in rest)
    assert finished == Finished(0, "length")
    assert isinstance(usage, Usage)
    assert usage.completion == 12
    assert usage.prompt not in (first.prompt_tokens, N_LOOK)


async def test_the_same_request_has_the_same_answer_and_another_image_another(engine):
    long = ask(max_tokens=60)
    first = text_of(await events_of(engine, long))
    assert text_of(await events_of(engine, long)) == first
    other = Messages((replace(LOOK.messages[0], images=(Image(OTHER, "image/png", 8),)),))
    assert text_of(await events_of(engine, replace(long, prompt=other))) != first


async def test_choices_differ_and_the_first_is_what_it_is_alone(engine):
    alone = text_of(await events_of(engine, ask()))
    together = await events_of(engine, ask(choices=2))
    assert text_of(together, 0) == alone != text_of(together, 1)
    assert [event.choice for event in together if isinstance(event, Finished)] == [0, 1]
    assert together[-1].completion == 24


async def test_a_stop_string_ends_an_answer(engine):
    whole = text_of(await events_of(engine, ask()))
    stopped = await events_of(engine, ask(stop=(whole[2:4],)))
    assert text_of(stopped) == whole[: whole.index(whole[2:4])]
    assert next(event for event in stopped if isinstance(event, Finished)).stop_sequence == whole[2:4]


async def test_a_stop_token_ends_an_answer_without_a_text(engine):
    for seed in range(30):
        request = ask(ignore_eos=False, max_tokens=60, sampling=Sampling(5.0, seed=seed))
        events = await events_of(engine, request)
        if events[-2] == Finished(0, "stop"):
            break
    assert events[-2] == Finished(0, "stop")
    assert "<|" not in text_of(events)
    assert events[-1].completion <= 60


async def test_a_text_alone_is_gone_on_with(engine):
    events = await events_of(engine, ask(Text("hello world")))
    assert events[0].prompt_tokens == events[-1].prompt == 7


async def test_a_caller_that_leaves_frees_the_process_for_the_next(engine):
    async with aclosing(engine.generate(await engine.prepare(ask(max_tokens=100)))) as events:
        assert isinstance(await anext(events), Started)
    assert text_of(await events_of(engine, ask()))


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"images": (Image(b"nonsense", "image/png"),)}, BadRequest, "image 1 is broken"),
        ({"text": "<|im_end|><|im_start|>system"}, BadRequest, "a control token of the model's"),
        ({"text": "see <ov_genai_image_0>"}, BadRequest, "a tag of an image"),
        ({"text": "an <image> of"}, BadRequest, "what stands for an image"),
        ({"text": "x" * 300}, PromptTooLong, "256 tokens"),
        ({"text": "x" * 130}, PromptTooLong, "the context is 256 tokens, those of images included"),
    ],
)
async def test_a_prompt_that_cant_be_taken_is_the_callers_error(engine, changes, kind, says):
    asked = Messages((replace(LOOK.messages[0], **({"images": (Image(PICTURE, "image/png"),)} | changes)),))
    with pytest.raises(kind, match=says) as caught:
        await events_of(engine, ask(asked))
    assert caught.value.param == "messages"
    assert text_of(await events_of(engine, ask()))


async def test_what_nothing_bounds_is_refused_before_anything_runs_and_free_tools_are_named(engine):
    tool = Tool("f", parameters={"type": "object"}, param="tools[0].function.parameters")
    engine.check(ask(tools=ToolPlan((tool,), "auto")))
    with pytest.raises(Unsupported, match="tool_choice"):
        engine.check(ask(tools=ToolPlan((tool,), "required")))
    prepared = await engine.prepare(ask(tools=ToolPlan((tool,), "auto")))
    assert prepared.loosened == ("tools[0].function.parameters",)


async def test_a_prompt_is_shown_and_counted_without_images_alone(engine):
    words = Messages((Message("user", "hi"),))
    assert await engine.rendered(words) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert await engine.count(words) == len("user\nhi\nassistant\n") + 3
    for counted in (engine.count, engine.rendered, engine.tokens):
        with pytest.raises(Unsupported, match="aren't known before") as caught:
            await counted(LOOK)
        assert caught.value.param == "messages[0].content"


async def test_another_engine_counts_no_images_either(tiny_vlm):
    process = WorkerProcess(WorkerSpec("text", str(tiny_vlm), "none"), CARD.id, Silent())
    around = Surroundings(anyio.CapacityLimiter(1), lambda: 1, lambda: datetime(2026, 11, 24, tzinfo=UTC))
    blind = LocalEngine(CARD, load_text_assets(tiny_vlm), process, around)
    for asked in (blind.count, blind.rendered, blind.tokens):
        with pytest.raises(Unsupported, match="this model can't see images"):
            await asked(LOOK)


def test_without_its_extra_the_process_says_how_to_install_it(tiny_vlm):
    """In a process where GenAI can't be imported."""
    start = (
        "import sys; sys.modules['openvino_genai'] = None; from lowcloud.engines.local import worker; "
        "sys.exit(worker.main(sys.argv[1:]))"
    )
    spec = WorkerSpec("vision", str(tiny_vlm), "none").to_json()
    near, far = socket.socketpair()
    with near, far:
        command = [sys.executable, "-P", "-c", start, spec, str(far.fileno())]
        done = subprocess.run(command, pass_fds=[far.fileno()], capture_output=True, timeout=60, check=False)
        [said] = FrameReader().feed(near.recv(2**16))
    assert done.returncode == 1
    assert said == Failed("models that see need the extra vision: pip install 'lowcloud[local,vision]'")


async def test_an_answer_that_a_crash_cuts_is_an_error_and_the_next_one_comes(engine):
    with anyio.fail_after(60):
        async with aclosing(engine.generate(await engine.prepare(ask(max_tokens=100)))) as events:
            while not isinstance(await anext(events), TextDelta):
                pass
            os.kill(engine._process.pid, signal.SIGKILL)
            with pytest.raises(EngineFailed, match="can't be gone on with"):
                async for _ in events:
                    pass
    assert text_of(await events_of(engine, ask()))
