"""Records what llama.cpp makes of tests/fixtures/quality.txt, for tests/live/test_quality.py.

    python scripts/record_nll_fixture.py MODEL.gguf

Needs numpy and llama-cpp-python, in an environment of its own. Writes tests/fixtures/quality_llama_cpp.npz:

- ids (n,) uint16: llama.cpp's tokens of the text;
- logprobs (n - 1,) float32: ln p of each next token, all positions;
- top_ids, top_logprobs (n - 1, 128) uint16, float16: the likeliest next tokens, best first;
- rows (6,) int64 and row_logprobs (6, vocabulary) float16: whole distributions at a few positions.
"""

import sys
from pathlib import Path

import numpy as np
from llama_cpp import Llama

FIXTURES = Path(__file__).parent.parent / "tests" / "fixtures"
TOP = 128


def main(model: str) -> None:
    llama = Llama(model_path=model, n_ctx=2048, logits_all=True, verbose=False, n_threads=2)
    text = (FIXTURES / "quality.txt").read_bytes()
    ids = llama.tokenize(text, add_bos=False, special=False)
    llama.eval(ids)
    logits = np.array(llama.scores[: len(ids) - 1], np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    logprobs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    chosen = logprobs[np.arange(len(ids) - 1), ids[1:]]
    order = np.argsort(-logprobs, axis=1)[:, :TOP]
    top = np.take_along_axis(logprobs, order, axis=1)
    rows = np.linspace(40, len(ids) - 2, 6).astype(np.int64)
    outside = 1 - np.exp(top).sum(axis=1).mean()
    print(f"{len(ids)} tokens, mean NLL {-chosen.mean():.4f}, mass outside the top {TOP}: {outside:.4f}")
    np.savez_compressed(
        FIXTURES / "quality_llama_cpp.npz",
        ids=np.array(ids, np.uint16),
        logprobs=chosen.astype(np.float32),
        top_ids=order.astype(np.uint16),
        top_logprobs=top.astype(np.float16),
        rows=rows,
        row_logprobs=logprobs[rows].astype(np.float16),
    )


if __name__ == "__main__":
    main(sys.argv[1])
