"""Records llama.cpp's tokens of 2,000 random strings, for tests/live/test_tokenizer_live.py.

    python scripts/record_tokenizer_fixture.py MODEL.gguf

Needs gguf and llama-cpp-python, in an environment of its own. The same vocabulary is read once for each way of cutting
text (``tokenizer.ggml.pre``), from copies of the metadata. Writes tests/fixtures/tokenizer_llama_cpp.json.gz:

- texts: the strings; ids: their tokens as the file says; special_ids: {number of the string: tokens with control
  strings taken for control tokens}, where that differs;
- extra: what was added to the lists of the metadata for ``pre``: SmolLM2's vocabulary has no token of two digits, so
  alone it can't tell how runs of digits are cut;
- pre: {name: one crc32 a string, of its tokens as little-endian uint32}.
"""

import gzip
import json
import random
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter
from llama_cpp import Llama

FIXTURES = Path(__file__).parent.parent / "tests" / "fixtures"
SEED, COUNT = 20261124, 2000
EXTRA_TOKENS = ["12", "34", "1234", "123", "456"]  # no merges make 456: only a rule that takes whole pieces finds it
EXTRA_MERGES = ["1 2", "3 4", "12 34", "12 3"]
EXTRA = {
    "tokenizer.ggml.tokens": EXTRA_TOKENS,
    "tokenizer.ggml.merges": EXTRA_MERGES,
    "tokenizer.ggml.token_type": [1] * len(EXTRA_TOKENS),
}
PRE = ["gpt-2", "starcoder", "refact", "llama-bpe", "llama3", "falcon3", "qwen2", "deepseek-r1-qwen"]
CLASSES = [
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "0123456789",
    " ",
    "  \t",
    "\n\r",
    "\n\n",
    "àéîöüßñçøåÆŒžš",
    "абвгдежзиклмнопрстуфхцчшщыэюя",
    "αβγδεζηθικλμνξοπρστυφχψω",
    "أبتثجحخدذرز",
    "नमस्तेदुनिया",
    "中文字符测试漢字日本語ひらがなカタカナ한국어조선말",
    "😀🎉👍🏽👩‍💻🇩🇪❤️🤖",
    "".join(map(chr, [*range(32), 127, 133, 173])),
    ".,;:!?-_()[]{}<>/\\|@#$%^&*+=~`\"'",
    "²³½Ⅷ٣४",
    "\u00a0\u2003\u3000\u200b\ufeff",
    "e\u0301o\u0308",
]
WORDS = [
    "the",
    " robot",
    "don't",
    "I'LL",
    "we've",
    "1234567",
    "12",
    "123",
    "4561234",
    "http://x.y/z?q=1",
    "def f(x):\n    return x",
    "Straße",
]
CONTROL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<file_sep>", "<|im_start", "|>"]


def random_text(rng: random.Random) -> str:
    pieces = []
    for _ in range(rng.randint(1, 6)):
        if (draw := rng.random()) < 0.2:
            pieces.append(rng.choice(WORDS))
        elif draw < 0.25:
            pieces.append(rng.choice(CONTROL))
        else:
            letters = rng.choice(CLASSES)
            pieces.append("".join(rng.choice(letters) for _ in range(rng.randint(1, 8))))
    return "".join(pieces)


def with_pre(model: str, pre: str, path: str) -> None:
    """Write the model's tokenizer alone, cut another way."""
    writer = GGUFWriter(path, "llama")
    for name, field in GGUFReader(model).fields.items():
        if not name.startswith(("llama.", "tokenizer.")) or name == "tokenizer.chat_template":
            continue
        value = pre if name == "tokenizer.ggml.pre" else field.contents()
        value = value + EXTRA[name] if name in EXTRA else value
        sub = field.types[1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, field.types[0], sub)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def tokens(llama: Llama, texts: list[str], special: bool) -> list[list[int]]:
    return [llama.tokenize(text.encode(), add_bos=False, special=special) for text in texts]


def crc(ids: list[int]) -> int:
    return zlib.crc32(np.array(ids, "<u4").tobytes())


def main(model: str) -> None:
    rng = random.Random(SEED)  # noqa: S311
    texts = [random_text(rng) for _ in range(COUNT)]
    llama = Llama(model_path=model, vocab_only=True, verbose=False)
    ids, special = tokens(llama, texts, False), tokens(llama, texts, True)
    sums = {}
    for pre in PRE:
        with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
            with_pre(model, pre, file.name)
            other = Llama(model_path=file.name, vocab_only=True, verbose=False)
            sums[pre] = [crc(one) for one in tokens(other, texts, False)]
        print(
            pre, sum(crc(one) != s for one, s in zip(ids, sums[pre], strict=True)), "strings differ from the file's own"
        )
    differing = {str(n): special[n] for n in range(COUNT) if special[n] != ids[n]}
    whole = {"texts": texts, "ids": ids, "special_ids": differing, "pre": sums, "extra": EXTRA}
    data = json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()
    (FIXTURES / "tokenizer_llama_cpp.json.gz").write_bytes(gzip.compress(data, mtime=0))
    print(COUNT, "strings,", len(differing), "with control tokens")


if __name__ == "__main__":
    main(sys.argv[1])
