"""On the real model a row's numbers don't depend on how many rows of its pass give logits, one or more."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lowcloud.engines.local.ir_model import read_facts
from lowcloud.engines.local.paged_model import PagedModel
from lowcloud.engines.local.sequence import Row
from lowcloud.engines.local.spec import WorkerSpec

pytestmark = pytest.mark.live

IDS = [int(i) for i in np.random.default_rng(1).integers(3, 49_152, 41)]
PROMPT = Row(IDS[:38], 0, [0, 1], wants_logits=True)
OTHERS = [Row(IDS[n : n + 9], 0, [2 + n], wants_logits=True) for n in range(2)]
TOKEN = Row(IDS[38:39], 38, [0, 1], wants_logits=True)
OTHER_TOKENS = [Row(IDS[n : n + 1], 9, [2 + n], wants_logits=True) for n in range(2)]


@pytest.fixture(scope="module")
def model(converted: Path) -> PagedModel:
    spec = WorkerSpec("text", str(converted), str(converted.parent), kv_cache_bytes=64 * 2**20)
    return PagedModel(read_facts(converted), spec)


def logits(model: PagedModel, *rows: Row) -> NDArray[np.float32]:
    return model.forward(rows).copy()


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize(("row", "others"), [(PROMPT, OTHERS), (TOKEN, OTHER_TOKENS)], ids=["prompt", "token"])
def test_a_rows_logits_are_the_same_alone_and_beside_others(model: PagedModel, row: Row, others: list[Row], n: int):
    for each in (PROMPT, *OTHERS):
        model.forward([each])
    alone = logits(model, row)
    assert alone.shape == (1, model.n_vocab)
    first, *rest = logits(model, row, *others[:n])
    *_, last = logits(model, *others[:n], row)
    assert len(rest) == n
    assert np.array_equal(first, alone[0])
    assert np.array_equal(last, alone[0])


def test_rows_that_want_no_logits_give_none(model: PagedModel):
    assert logits(model, Row(PROMPT.tokens, 0, PROMPT.blocks, wants_logits=False)).shape == (0, model.n_vocab)
