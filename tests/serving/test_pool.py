"""The pool: what runs for models starts when it is needed, once, and ends with the pool."""

import threading
from collections.abc import Callable

import anyio
import anyio.to_thread
import pytest
import structlog
from structlog.testing import capture_logs

from lowcloud.core.errors import EngineFailed, LowcloudError, ModelNotFound, ModelUnusable, Unavailable
from lowcloud.engines.scripted import ScriptedEngine, ScriptedRuntime
from lowcloud.models.card import Card, Task
from lowcloud.serving.pool import Hosted, Pool

pytestmark = pytest.mark.anyio
CARD = Card(id="m", task=Task.TEXT_GENERATION, owned_by="me")


class EndingRuntime(ScriptedRuntime):
    """A runtime whose ``run`` ends, or fails, when the test says so, before it was ever ready."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.end = anyio.Event()
        self._how = error

    async def run(self) -> None:
        await self.end.wait()
        if self._how is not None:
            raise self._how


def one(runtime: ScriptedRuntime | None, load_wait_s: float | None = None) -> Callable[[], Hosted]:
    engine = ScriptedEngine(CARD)
    return lambda: Hosted(engine, runtime, load_wait_s)


async def lease(pool: Pool) -> None:
    async with pool.lease("m") as engine:
        assert engine.card is CARD


async def test_a_runtime_starts_at_the_first_lease_and_once():
    runtime = ScriptedRuntime()
    async with Pool({"m": one(runtime)}, load_wait_s=30) as pool:
        await pool.engine("m")
        assert runtime.starts == 0
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(lease, pool)
        assert (runtime.starts, runtime.state) == (1, "ready")


async def test_what_a_runtime_logs_is_not_of_the_request_that_started_it():
    class TalkingRuntime(ScriptedRuntime):
        bound = None

        async def run(self) -> None:
            self.bound = structlog.contextvars.get_contextvars()
            await super().run()

    runtime = TalkingRuntime()
    async with Pool({"m": one(runtime)}, load_wait_s=30) as pool:
        with structlog.contextvars.bound_contextvars(request_id="r1"):
            await lease(pool)
            assert structlog.contextvars.get_contextvars() == {"request_id": "r1"}
    assert runtime.bound == {}


async def test_a_factory_is_called_once_and_off_the_loop():
    threads: list[int] = []

    def build() -> Hosted:
        threads.append(threading.get_ident())
        return Hosted(ScriptedEngine(CARD))

    async with Pool({"m": build}, load_wait_s=30) as pool, anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(pool.engine, "m")
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


async def test_a_preloaded_model_starts_at_once_and_readiness_waits_for_it():
    runtime = ScriptedRuntime()
    runtime.stage.hold("load")
    pool = Pool({"m": one(runtime), "other": one(None)}, load_wait_s=30, preload=["m"])
    assert not pool.is_ready()
    async with pool:
        await runtime.stage.reached("load")
        assert not pool.is_ready()
        runtime.stage.open("load")
        await runtime.ready()
        assert pool.is_ready()
    assert not pool.is_ready()


async def test_without_preloaded_models_an_open_pool_is_ready():
    async with Pool({"m": one(ScriptedRuntime())}, load_wait_s=30) as pool:
        assert pool.is_ready()


async def test_a_preload_that_fails_leaves_the_pool_up_and_not_ready():
    runtime = ScriptedRuntime()
    runtime.stage.fail("load", Unavailable("no memory", retry_after_s=3))
    async with Pool({"m": one(runtime)}, load_wait_s=30, preload=["m"]) as pool:
        await runtime.stage.reached("retry")
        assert not pool.is_ready()


async def test_a_lease_past_the_load_wait_is_unavailable_with_a_time_to_retry():
    runtime = ScriptedRuntime()
    runtime.stage.hold("load")
    async with Pool({"m": one(runtime)}, load_wait_s=0.01) as pool:
        with pytest.raises(Unavailable, match=r"still loading after 0\.01 s") as refused:
            await lease(pool)
        assert refused.value.retry_after_s == 10
        assert runtime.state == "starting"


async def test_a_model_that_converts_first_may_take_longer_than_the_others():
    runtime = ScriptedRuntime()
    runtime.stage.hold("load")
    async with Pool({"m": one(runtime, load_wait_s=0.01)}, load_wait_s=3600) as pool:
        with pytest.raises(Unavailable, match=r"0\.01 s"):
            await lease(pool)


async def test_building_an_engine_counts_as_loading():
    go = threading.Event()

    def build() -> Hosted:
        assert go.wait(10)
        return Hosted(ScriptedEngine(CARD))

    async with Pool({"m": build}, load_wait_s=0.01) as pool:
        with pytest.raises(Unavailable, match="still loading"):
            await lease(pool)
        assert pool.status()[0].state == "starting"
        go.set()


async def test_why_an_engine_cannot_be_built_is_logged_with_what_a_library_said_of_it():
    def build() -> Hosted:
        raise ModelUnusable("x.json can't be read; the log says more.") from ValueError("line 3 of /srv/models/x.json")

    with capture_logs() as lines:
        async with Pool({"m": build}, load_wait_s=30) as pool:
            with pytest.raises(ModelUnusable, match=r"^x\.json can't be read; the log says more\.$") as refused:
                await pool.engine("m")
    assert refused.value.retry_after_s == 10
    (line,) = [line for line in lines if line["event"] == "model can't be built"]
    assert (line["model"], line["reason"]) == ("m", "x.json can't be read; the log says more.")
    assert "line 3 of" in str(line["exc_info"])


async def test_a_model_in_backoff_is_unavailable_until_it_is_up_again():
    runtime = ScriptedRuntime()
    runtime.stage.fail("load", Unavailable("starts again in 4 s", retry_after_s=4))
    async with Pool({"m": one(runtime)}, load_wait_s=30) as pool:
        with pytest.raises(Unavailable, match="starts again") as refused:
            await lease(pool)
        assert refused.value.retry_after_s == 4
        assert pool.status()[0].state == "backoff"
        runtime.stage.fail("load", None)
        runtime.stage.hold("load")
        runtime.stage.open("retry")
        await runtime.stage.reached("load", 2)
        runtime.stage.open("load")
        await lease(pool)


async def test_a_client_that_leaves_while_a_model_loads_does_not_stop_the_load():
    runtime = ScriptedRuntime()
    runtime.stage.hold("load")
    async with Pool({"m": one(runtime)}, load_wait_s=30) as pool:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lease, pool)
            await runtime.stage.reached("load")
            tasks.cancel_scope.cancel()
        assert runtime.state == "starting"
        runtime.stage.open("load")
        await lease(pool)
        assert runtime.starts == 1


@pytest.mark.parametrize("error", [None, RuntimeError("a bug")])
async def test_a_runtime_that_ends_wakes_those_who_wait_and_the_next_lease_builds_anew(error: Exception | None):
    first, second = EndingRuntime(error), ScriptedRuntime()
    runtimes = iter([first, second])
    async with Pool({"m": lambda: Hosted(ScriptedEngine(CARD), next(runtimes))}, load_wait_s=3600) as pool:
        errors: list[Exception] = []

        async def wait() -> None:
            try:
                await lease(pool)
            except Unavailable as caught:
                errors.append(caught)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            first.end.set()
        assert [str(caught) for caught in errors] == ["The model could not be started."] * 2
        async with pool.lease("m"):
            assert second.state == "ready"


@pytest.mark.parametrize(
    ("raised", "seen", "message"),
    [
        (RuntimeError("/secret/path"), Unavailable, "The model could not be started."),
        (EngineFailed("not a model that is known"), EngineFailed, "not a model that is known"),
    ],
)
async def test_an_engine_that_cannot_be_built_is_tried_again_at_the_next_use(
    raised: Exception, seen: type[LowcloudError], message: str
):
    results: list[Exception | Hosted] = [raised, Hosted(ScriptedEngine(CARD))]

    def build() -> Hosted:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    async with Pool({"m": build}, load_wait_s=30) as pool:
        with pytest.raises(seen) as refused:
            await pool.engine("m")
        assert str(refused.value) == message
        await lease(pool)


async def test_leaving_the_pool_ends_what_runs_and_wakes_those_who_wait():
    runtime = ScriptedRuntime()
    runtime.stage.hold("load")
    errors: list[Unavailable] = []
    pool = Pool({"m": one(runtime), "other": one(None)}, load_wait_s=3600)

    async def wait() -> None:
        try:
            await lease(pool)
        except Unavailable as caught:
            errors.append(caught)

    async with anyio.create_task_group() as tasks:
        async with pool:
            tasks.start_soon(wait)
            await runtime.stage.reached("load")
        assert runtime.state == "stopped"
    assert len(errors) == 1
    with pytest.raises(Unavailable, match="stopping"):
        await pool.engine("other")


async def test_an_id_without_an_engine_is_not_found():
    async with Pool({}, load_wait_s=30) as pool:
        with pytest.raises(ModelNotFound):
            await pool.engine("m")


async def test_the_status_says_what_each_model_does():
    runtime = ScriptedRuntime(note="bf16, 2 threads")
    async with Pool({"m": one(runtime), "plain": one(None)}, load_wait_s=30) as pool:
        assert [(model.id, model.state, model.note) for model in pool.status()] == [
            ("m", "stopped", "not asked for yet"),
            ("plain", "stopped", "not asked for yet"),
        ]
        await lease(pool)
        await pool.engine("plain")
        assert [(model.state, model.note, model.preload) for model in pool.status()] == [
            ("ready", "bf16, 2 threads", False),
            ("ready", "", False),
        ]


async def test_leaving_the_pool_does_not_wait_for_an_engine_that_is_being_built():
    entered, go, built = threading.Event(), threading.Event(), threading.Event()

    def build() -> Hosted:
        entered.set()
        go.wait(10)
        built.set()
        return Hosted(ScriptedEngine(CARD))

    async with Pool({"m": build}, load_wait_s=30, preload=["m"]):
        await anyio.to_thread.run_sync(entered.wait, 10)
    assert not built.is_set()
    go.set()
