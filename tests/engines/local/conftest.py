"""A worker process without a model, and a tokenizer whose ids are bytes."""

import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from lowcloud.engines.local.backoff import Backoff
from lowcloud.engines.local.process import Supervision, WorkerProcess
from lowcloud.engines.local.spec import WorkerSpec
from lowcloud.engines.local.vocabulary import Tokenizer

FAKE_WORKER = Path(__file__).with_name("fake_worker.py")


class Numbers:
    """What a worker's process measures, to look at and to wait for."""

    def __init__(self) -> None:
        self.restarts = 0
        self.steps = 0
        self.running = 0
        self.kv_blocks = 0
        self.cancels = 0
        self._changed = anyio.Event()

    def step(self, model, *, running, waiting, kv_used, kv_blocks, swapped, preemptions) -> None:
        assert (model, waiting, kv_used, swapped) == ("@test/model", 0, running, 0)
        self.kv_blocks = kv_blocks
        self.steps += 1
        self.running, self.cancels = running, preemptions
        self._note()

    def restart(self, model) -> None:
        self.restarts += 1
        self._note()

    def _note(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def until(self, is_so: Callable[["Numbers"], bool]) -> None:
        with anyio.fail_after(20):
            while not is_so(self):
                await self._changed.wait()


@dataclass(frozen=True)
class Fake:
    """A process of the fake worker, not running yet."""

    process: WorkerProcess
    numbers: Numbers

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.process.run)
                yield
                tasks.cancel_scope.cancel()


@pytest.fixture
def fake(tmp_path) -> Callable[..., Fake]:
    """``fake(*plan, say=..., spec fields...)``: each dict of the plan says what one life does, as in fake_worker.py."""

    def make(*plan, say=None, kind="text", first_s=0.0, load_timeout_s=60.0, grace_s=2.0, command=None, context=0):
        options = {"lives": str(tmp_path / "lives"), "plan": plan or [{}], "say": say}
        how = Supervision(
            command=command or (sys.executable, str(FAKE_WORKER), json.dumps(options)),
            backoff=Backoff(first_s=first_s, most_s=max(30.0, first_s)),
            load_timeout_s=load_timeout_s,
            grace_s=grace_s,
        )
        numbers = Numbers()
        spec = WorkerSpec(kind, source="none", cache_dir="none", context_length=context)
        return Fake(WorkerProcess(spec, "@test/model", numbers, supervision=how), numbers)

    return make


@pytest.fixture(scope="session")
def byte_tokenizer() -> Tokenizer:
    """Ids 0 to 255 are bytes; 256 is <|im_start|>, 257 <|im_end|>."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    vocab = {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}
    inner = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in ("<|im_start|>", "<|im_end|>")]
    )
    return Tokenizer(inner)


@pytest.fixture(scope="session")
def tiny_vlm(tmp_path_factory) -> Path:
    """The folder of a model that sees."""
    from tiny_vlm import build_tiny_vlm

    folder = tmp_path_factory.mktemp("tiny-vlm")
    build_tiny_vlm(Path(__file__).parents[2] / "fixtures" / "tiny-llama.gguf", folder)
    return folder
