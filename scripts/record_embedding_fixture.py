"""Records tests/fixtures/minilm_embeddings.json: what torch says all-MiniLM-L6-v2's vectors are.

    python scripts/record_embedding_fixture.py FOLDER

FOLDER is the model in the layout of sentence-transformers. Run it with a Python that has sentence-transformers and
torch; nothing else needs them. Vectors are float32 in base64 (little-endian), ``tokens`` counts the special ones.
"""

import base64
import json
import sys
from pathlib import Path

import sentence_transformers
import torch
from sentence_transformers import SentenceTransformer

OUT = Path(__file__).parent.parent / "tests" / "fixtures" / "minilm_embeddings.json"
LIMIT = 256
TEXTS = [
    "I love matcha",
    "hello",
    "a",
    "",
    "42",
    "The quick brown fox jumps over the lazy dog.",
    "How do I reset my password?",
    "Where can I change the secret that I log in with?",
    "It was raining in the valley, and the bus was late again.",
    "Photosynthesis converts light energy into chemical energy stored in glucose.",
    "The derivative of sin(x) with respect to x is cos(x); its integral is -cos(x) + C.",
    "def fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\n",
    '{"name": "Ada", "born": 1815, "tags": ["math", "engines"]}',
    "SELECT id, name FROM users WHERE created_at > '2024-01-01' ORDER BY name;",
    "https://example.com/a/b?c=d&e=%20f#g",
    "Füße, naïve café, Ångström, İstanbul, œuvre",
    "Zażółć gęślą jaźń",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "東京は日本の首都です。",
    "我喜欢抹茶拿铁和热牛奶",
    "안녕하세요, 만나서 반갑습니다",
    "مرحبا بالعالم، كيف حالك اليوم؟",
    "नमस्ते दुनिया, आप कैसे हैं?",
    "שלום עולם",
    "🙂 🚀🚀 👩‍👩‍👧 ok",
    "\t tabs \n\n and   spaces \u00a0 and a zero\u200bwidth space ",
    "Pneumonoultramicroscopicsilicovolcanoconiosis " * 3,
    "x" * 150,
    "!!! ??? ... --- *** ((())) [[ ]] {} <> @ # $ % ^ & ~",
    "MiXeD CaSe ANd numb3rs 1234567890 3.14159 1e-9",
    "one two three four five six seven eight nine ten " * 6,
    "The committee met on Tuesday and decided, after a long debate, to postpone the vote until spring. " * 7,
    "word " * (LIMIT - 2),
]


def main() -> None:
    """Write the fixture."""
    torch.set_num_threads(2)
    model = SentenceTransformer(sys.argv[1], device="cpu")
    assert model.max_seq_length == LIMIT  # noqa: S101
    counts = [len(model.tokenizer(text)["input_ids"]) for text in TEXTS]
    assert max(counts) == LIMIT, counts  # noqa: S101
    # One at a time: padding changes torch's last digits.
    vectors = [model.encode(text, normalize_embeddings=True, convert_to_numpy=True) for text in TEXTS]
    recorded = {
        "model": "sentence-transformers/all-MiniLM-L6-v2",
        "made_by": f"sentence-transformers {sentence_transformers.__version__}, torch {torch.__version__}, float32",
        "inputs": [
            {"text": text, "tokens": count, "vector": base64.b64encode(vector.astype("<f4").tobytes()).decode()}
            for text, count, vector in zip(TEXTS, counts, vectors, strict=True)
        ],
    }
    OUT.write_text(json.dumps(recorded, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"{len(TEXTS)} texts of {min(counts)} to {max(counts)} tokens in {OUT.name}")


if __name__ == "__main__":
    main()
