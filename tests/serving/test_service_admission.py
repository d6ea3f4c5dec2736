"""Background and batch requests: they run when no live one waits, and take nothing away from those that are live."""

from contextlib import aclosing
from dataclasses import replace

import anyio
import pytest
from caller import CALLER

from lowcloud.core.errors import RequestTimeout, Unavailable
from lowcloud.core.messages import Text
from lowcloud.core.requests import Embed
from lowcloud.models.catalogue import CHAT_STAND_IN, EMBEDDING_STAND_IN
from lowcloud.serving.admission import Bounds
from lowcloud.serving.service import Limits

pytestmark = pytest.mark.anyio
BATCH, BACKGROUND = replace(CALLER, admission="batch"), replace(CALLER, admission="background")


async def generate(r, request, caller=CALLER, name=""):
    async with aclosing(r.service.generate(CHAT_STAND_IN, replace(request, id=name), caller)) as events:
        async for _event in events:
            pass


async def embed(r, caller, name):
    await r.service.embed(EMBEDDING_STAND_IN, Embed(name, (Text("tea"),)), caller)


async def test_live_requests_go_first_then_background_then_batch(rig, hello):
    async with rig() as r, anyio.create_task_group() as tasks:
        r.chat.stage.hold("start")
        tasks.start_soon(generate, r, hello, CALLER, "first")
        await r.chat.stage.reached("start")
        for caller, name in [(BATCH, "batch"), (BACKGROUND, "background"), (CALLER, "second")]:
            tasks.start_soon(generate, r, hello, caller, name)
            await anyio.wait_all_tasks_blocked()
        assert [request.id for request in r.chat.requests] == ["first", "second"]
        r.chat.stage.open("start")
    assert [request.id for request in r.chat.requests] == ["first", "second", "background", "batch"]
    assert r.chat.ranks == [0, 0, 1, 2]
    assert r.meter.queues[-1][1:] == (0, 0)


async def test_a_batch_goes_at_once_where_nobody_waits_though_others_run(rig, hello):
    async with rig() as r, anyio.create_task_group() as tasks:
        r.chat.stage.hold("token:0")
        tasks.start_soon(generate, r, hello, CALLER, "live")
        await r.chat.stage.reached("token:0")
        tasks.start_soon(generate, r, hello, BATCH, "batch")
        await r.chat.stage.reached("token:0", times=2)
        r.chat.stage.open("token:0")


async def test_embeddings_of_a_batch_wait_for_live_ones(rig):
    async with rig() as r, anyio.create_task_group() as tasks:
        r.embedder.stage.hold("embed")
        tasks.start_soon(embed, r, CALLER, "live")
        await r.embedder.stage.reached("embed")
        tasks.start_soon(embed, r, BATCH, "batch")
        await anyio.wait_all_tasks_blocked()
        assert [request.id for request in r.embedder.requests] == ["live"]
        r.embedder.stage.open("embed")
    assert [(request.id, request.rank) for request in r.embedder.requests] == [("live", 0), ("batch", 2)]


async def test_a_batch_takes_none_of_the_live_queues_places(rig, hello):
    async with rig(limits=Limits(Bounds(requests=1, tokens=100))) as r, anyio.create_task_group() as tasks:
        r.chat.stage.hold("start")
        tasks.start_soon(generate, r, hello, BATCH, "batch")
        await r.chat.stage.reached("start")
        tasks.start_soon(generate, r, hello, CALLER, "live")
        await r.chat.stage.reached("start", times=2)
        r.chat.stage.open("start")
    assert r.chat.finished == ["batch", "live"]


async def test_what_is_not_live_has_a_time_of_its_own_which_bounds_its_wait_too(rig, hello):
    async with rig(limits=Limits(job_deadline_s=0.01)) as r, anyio.create_task_group() as tasks:
        r.chat.stage.hold("start")
        tasks.start_soon(generate, r, hello, CALLER, "live")
        await r.chat.stage.reached("start")
        with pytest.raises(RequestTimeout, match=r"0\.01 s"):
            await generate(r, hello, BATCH, "batch")
        assert r.meter.queues[-1][1:] == (1, 4)
        r.chat.stage.open("start")
    assert r.chat.finished == ["live"]


async def test_a_wait_ends_when_the_server_does(rig, hello):
    async def refused(r):
        with pytest.raises(Unavailable, match="stopping"):
            await generate(r, hello, BATCH, "batch")

    async with rig() as r, anyio.create_task_group() as tasks:
        r.chat.stage.hold("start")
        tasks.start_soon(refused, r)
        tasks.start_soon(refused, r)
        await r.chat.stage.reached("start", times=2)
        r.service.cut()
