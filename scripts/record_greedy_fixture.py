"""Records transformers' greedy answers with the very weights that a converted folder holds.

    python scripts/record_greedy_fixture.py MODEL.gguf IR_FOLDER

Needs torch (CPU), transformers, gguf and tokenizers, in an environment of its own. IR_FOLDER is what
``python -m lowcloud.engines.local.convert MODEL.gguf CACHE`` printed. Writes tests/fixtures/greedy_torch.json: for each
of ten prompts its ids, the 32 tokens that float32 torch chooses, and the least lead in logits of a chosen token.
"""

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch
from gguf import GGUFReader
from tokenizers import Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

FIXTURES = Path(__file__).parent.parent / "tests" / "fixtures"
MODEL = "openvino_model.xml"
N_TOKENS = 32
PROMPTS = [
    "The capital of France is",
    "Once upon a time there was a small robot who",
    "def fibonacci(n):\n",
    "Water boils at 100 degrees Celsius because",
    "1, 2, 3, 5, 8, 13,",
    "<|im_start|>user\nMake some robot noises<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nWhat is 12 times 12?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>system\nYou are a pirate.<|im_end|>\n<|im_start|>user\nWhere is the gold?<|im_end|>\n"
    "<|im_start|>assistant\n",
    "Dear Sir or Madam,\n\nI am writing to complain about",
    "Die Hauptstadt von Deutschland ist",
]
NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def constants(folder: Path) -> dict[str, np.ndarray]:
    """The named constants of the IR: int8 matrices dequantised by their scales, norms as they are."""
    blob = np.memmap(folder / "openvino_model.bin", np.uint8, "r")
    kinds = {"i8": np.int8, "f32": np.float32}
    found: dict[str, np.ndarray] = {}
    for layer in ElementTree.parse(folder / MODEL).iter("layer"):  # noqa: S314 (our own file)
        data = layer.find("data")
        if layer.get("type") != "Const" or not layer.get("name").endswith((".weight", ".scale")):
            continue
        start, size = int(data.get("offset")), int(data.get("size"))
        shape = [int(n) for n in data.get("shape").split(",")]
        found[layer.get("name")] = blob[start : start + size].view(kinds[data.get("element_type")]).reshape(shape)
    scaled = {name: value * found[name[:-6] + "scale"] for name, value in found.items() if value.dtype == np.int8}
    return {name: scaled.get(name, value.ravel()) for name, value in found.items() if name.endswith(".weight")}


def torch_name(name: str) -> str:
    if name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if name == "output_norm.weight":
        return "model.norm.weight"
    _, layer, part, _ = name.split(".")
    return f"model.layers.{layer}.{NAMES[part]}.weight"


def load(gguf: str, folder: Path) -> LlamaForCausalLM:
    fields = GGUFReader(gguf).fields

    def value(key: str) -> float:
        return fields["llama." + key].contents()

    config = LlamaConfig(
        vocab_size=value("vocab_size"),
        hidden_size=value("embedding_length"),
        intermediate_size=value("feed_forward_length"),
        num_hidden_layers=value("block_count"),
        num_attention_heads=value("attention.head_count"),
        num_key_value_heads=value("attention.head_count_kv"),
        max_position_embeddings=value("context_length"),
        rms_norm_eps=value("attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": value("rope.freq_base")},
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).eval().float()
    state = {torch_name(name): torch.from_numpy(np.array(v, np.float32)) for name, v in constants(folder).items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    if set(missing) - {"lm_head.weight"} or unexpected:
        sys.exit(f"the folder isn't this model: {missing} {unexpected}")
    model.tie_weights()
    return model


def greedy(model: LlamaForCausalLM, ids: list[int]) -> tuple[list[int], float]:
    chosen: list[int] = []
    lead = float("inf")
    with torch.no_grad():
        for _ in range(N_TOKENS):
            logits = model(torch.tensor([ids + chosen])).logits[0, -1]
            best = torch.topk(logits, 2)
            lead = min(lead, float(best.values[0] - best.values[1]))
            chosen.append(int(best.indices[0]))
    return chosen, lead


def main(gguf: str, folder: Path) -> None:
    model = load(gguf, folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    cases = []
    for prompt in PROMPTS:
        ids = tokenizer.encode(prompt, add_special_tokens=False).ids
        tokens, lead = greedy(model, ids)
        print(f"{lead:.4f} {prompt[:30]!r} -> {tokenizer.decode(tokens)!r}")
        cases.append({"prompt": prompt, "ids": ids, "tokens": tokens, "least_lead": round(lead, 5)})
    (FIXTURES / "greedy_torch.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
