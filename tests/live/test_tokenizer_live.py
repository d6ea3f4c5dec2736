"""The bundled model's tokenizer is llama.cpp's, on 2,000 recorded random strings, and so is each way of cutting text.

The fixture is made by scripts/record_tokenizer_fixture.py.
"""

import gzip
import json
import time
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lowcloud.engines.local.gguf_file import GgufFile, read_gguf
from lowcloud.engines.local.gguf_tokenizer import PRE_TOKENIZERS, gguf_tokenizer
from lowcloud.engines.local.tokenizer import Detokenizer, Tokenizer, load_text_assets

pytestmark = pytest.mark.live

RECORDED = json.loads(
    gzip.decompress((Path(__file__).parents[1] / "fixtures" / "tokenizer_llama_cpp.json.gz").read_bytes())
)
TEXTS: list[str] = RECORDED["texts"]


@pytest.fixture(scope="module")
def file(smollm2: Path) -> GgufFile:
    return read_gguf(smollm2)


@pytest.fixture(scope="module")
def tokenizer(file: GgufFile) -> Tokenizer:
    return Tokenizer(gguf_tokenizer(file))


def test_2000_random_strings_have_llama_cpps_tokens(tokenizer: Tokenizer) -> None:
    assert len(TEXTS) == 2000
    different = [
        text for text, ids in zip(TEXTS, RECORDED["ids"], strict=True) if tokenizer.encode(text, specials=False) != ids
    ]
    assert different == []


def test_2000_random_strings_have_llama_cpps_tokens_with_control_tokens_too(tokenizer: Tokenizer) -> None:
    expected = [RECORDED["special_ids"].get(str(number), ids) for number, ids in enumerate(RECORDED["ids"])]
    different = [
        text for text, ids in zip(TEXTS, expected, strict=True) if tokenizer.encode(text, specials=True) != ids
    ]
    assert different == []
    assert len(RECORDED["special_ids"]) > 100


@pytest.mark.parametrize("pre", [name for name in PRE_TOKENIZERS if name != "smollm"])
def test_every_way_of_cutting_text_in_the_table_is_llama_cpps(pre: str, file: GgufFile) -> None:
    extended = {key: [*file.metadata[key], *more] for key, more in RECORDED["extra"].items()}
    changed = replace(file, metadata={**file.metadata, "tokenizer.ggml.pre": pre, **extended})
    tokenizer = Tokenizer(gguf_tokenizer(changed))
    sums = [zlib.crc32(np.array(tokenizer.encode(text, specials=False), "<u4").tobytes()) for text in TEXTS]
    assert [text for text, ours, theirs in zip(TEXTS, sums, RECORDED["pre"][pre], strict=True) if ours != theirs] == []


def test_the_strings_come_back_but_for_control_bytes_that_the_vocabulary_lacks(tokenizer: Tokenizer) -> None:
    held = {tokenizer.token_bytes(token) for token in range(tokenizer.n_vocab)}
    lacking = bytes(byte for byte in range(0x80) if bytes([byte]) not in held)
    assert all(byte < 0x20 or byte == 0x7F for byte in lacking)
    for text, ids in zip(TEXTS, RECORDED["ids"], strict=True):
        detokenizer = Detokenizer(tokenizer)
        back = "".join(map(detokenizer.feed, ids)) + detokenizer.flush()
        assert back.encode() == text.encode().translate(None, lacking)


def test_the_assets_are_read_without_the_weights_in_a_second_of_processor_time(smollm2: Path) -> None:
    start = time.process_time()
    assets = load_text_assets(smollm2)
    assert time.process_time() - start < 1  # 0.25 s when nothing traces the code
    assert assets.context_length == 8192
    assert [assets.tokenizer.token_text(token) for token in assets.stop_ids] == ["<|endoftext|>", "<|im_end|>"]
    assert (assets.bos_token, assets.eos_token) == ("<|im_start|>", "<|im_end|>")
