"""Makes a tiny random model of each architecture and records llama.cpp's logits of it, for tests/engines/local.

    python scripts/record_tiny_fixture.py

Needs numpy, gguf and llama-cpp-python, in an environment of its own. Writes tests/fixtures/tiny-llama.gguf and likewise
for qwen2 and qwen3 (float32; every row is whole numbers up to 127 times one scale, so that int8 holds it exactly) and
tiny_llama_cpp.npz with ``ids`` (40,) and, for each model, its logits (40, vocabulary) float32.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType
from llama_cpp import Llama

FIXTURES = Path(__file__).parent.parent / "tests" / "fixtures"
HIDDEN, FFN, HEAD_DIM, N_LAYERS = 32, 64, 16, 2
CONTROL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
MERGES = ["h e", "l l", "o Ġ", "he ll", "Ġ w", "r o", "b o", "ro bo"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Tiny:
    arch: str
    n_heads: int
    n_kv_heads: int
    tied: bool = False
    bias: bool = False
    head_norms: bool = False
    rope_factors: bool = False
    extra: dict[str, float] = field(default_factory=dict)


MODELS = [
    Tiny("llama", n_heads=2, n_kv_heads=1, tied=True, rope_factors=True),
    Tiny("qwen2", n_heads=2, n_kv_heads=2, bias=True),
    Tiny("qwen3", n_heads=4, n_kv_heads=2, head_norms=True),
]


def vocabulary() -> tuple[list[str], list[int]]:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = [chr(b) for b in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    merged = [merge.replace(" ", "") for merge in MERGES]
    tokens = [*alphabet, *merged, *CONTROL]
    types = [TokenType.NORMAL] * (len(tokens) - len(CONTROL)) + [TokenType.CONTROL] * len(CONTROL)
    return tokens, [int(kind) for kind in types]


def matrix(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Rows of whole numbers up to 127, one of them 127, times a power of two."""
    values = np.clip(np.rint(rng.normal(0, 50, (rows, columns))), -127, 127)
    values[:, rng.integers(columns)] = 127
    scales = 2.0 ** rng.integers(-9, -6, (rows, 1))
    return (values * scales).astype(np.float32)


def write(tiny: Tiny, path: Path) -> None:
    rng = np.random.default_rng(7)
    tokens, types = vocabulary()
    writer = GGUFWriter(str(path), tiny.arch)
    writer.add_context_length(256)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FFN)
    writer.add_block_count(N_LAYERS)
    writer.add_head_count(tiny.n_heads)
    writer.add_head_count_kv(tiny.n_kv_heads)
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(tokens.index("<|im_start|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_chat_template(TEMPLATE)
    for name, values in tensors(tiny, rng, len(tokens)):
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tensors(tiny: Tiny, rng: np.random.Generator, n_vocab: int) -> list[tuple[str, np.ndarray]]:
    def gain(size: int) -> np.ndarray:
        return rng.uniform(0.5, 1.5, size).astype(np.float32)

    found = [("token_embd.weight", matrix(rng, n_vocab, HIDDEN)), ("output_norm.weight", gain(HIDDEN))]
    if not tiny.tied:
        found.append(("output.weight", matrix(rng, n_vocab, HIDDEN)))
    if tiny.rope_factors:
        found.append(("rope_freqs.weight", np.linspace(1, 4, HEAD_DIM // 2).astype(np.float32)))
    wide, narrow = tiny.n_heads * HEAD_DIM, tiny.n_kv_heads * HEAD_DIM
    for layer in range(N_LAYERS):
        at = f"blk.{layer}."
        found += [(at + name, gain(HIDDEN)) for name in ("attn_norm.weight", "ffn_norm.weight")]
        sizes = {
            "attn_q": (wide, HIDDEN),
            "attn_k": (narrow, HIDDEN),
            "attn_v": (narrow, HIDDEN),
            "attn_output": (HIDDEN, wide),
        }
        sizes |= {"ffn_gate": (FFN, HIDDEN), "ffn_up": (FFN, HIDDEN), "ffn_down": (HIDDEN, FFN)}
        found += [(f"{at}{name}.weight", matrix(rng, *size)) for name, size in sizes.items()]
        if tiny.bias:
            found += [(f"{at}attn_{n}.bias", gain(s) - 1) for n, s in (("q", wide), ("k", narrow), ("v", narrow))]
        if tiny.head_norms:
            found += [(f"{at}attn_{n}_norm.weight", gain(HEAD_DIM)) for n in "qk"]
    return found


def main() -> None:
    ids = np.random.default_rng(3).integers(0, len(vocabulary()[0]), 40)
    recorded = {"ids": ids}
    for tiny in MODELS:
        path = FIXTURES / f"tiny-{tiny.arch}.gguf"
        write(tiny, path)
        llama = Llama(model_path=str(path), n_ctx=256, logits_all=True, verbose=False, type_k=0, type_v=0)  # float32
        llama.eval(ids.tolist())
        recorded[tiny.arch] = np.array(llama.scores[: len(ids)], np.float32)
        print(tiny.arch, path.stat().st_size, "bytes; logits", recorded[tiny.arch].std())
    np.savez_compressed(FIXTURES / "tiny_llama_cpp.npz", **recorded)


if __name__ == "__main__":
    main()
