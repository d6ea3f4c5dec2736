"""A tiny vision-language model with random weights, as a folder that optimum-intel would export: LLaVA's parts.

Its decoder and its tokenizer are those of the tiny llama in the fixtures; its eye is one convolution. What it says
means nothing, but it depends on every token and on every image.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import openvino as ov
import openvino_genai as genai
from openvino import opset15 as ops

from lowcloud.engines.local.gguf_file import read_gguf
from lowcloud.engines.local.graph import build_decoder
from lowcloud.engines.local.tokenizer import load_text_assets
from lowcloud.engines.local.weights import GgufWeights, decoder_shape

PATCH, SIDE = 14, 56
IMAGE_TOKENS = (SIDE // PATCH) ** 2
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tiny_vlm(gguf: Path, folder: Path) -> None:
    """Write the model into an empty folder; about a second."""
    decoder, table = _decoder(gguf)
    hidden = table.shape[1]
    parts = {"language": decoder, "text_embeddings": _text_embeddings(table), "vision_embeddings": _vision(hidden)}
    for name, model in parts.items():
        ov.save_model(model, folder / f"openvino_{name}_model.xml", compress_to_fp16=False)
    copy = shutil.copy(gguf, folder)
    genai.Tokenizer(copy, enable_save_ov_model=True)  # writes the tokenizer's IR beside the file
    Path(copy).unlink()
    assets = load_text_assets(gguf)
    assets.tokenizer.save(folder / "tokenizer.json")
    (folder / "chat_template.jinja").write_text(CHATML)
    text = {"max_position_embeddings": assets.context_length, "hidden_size": hidden}
    config = {"model_type": "llava", "hidden_size": hidden, "text_config": text, "vision_config": {"patch_size": PATCH}}
    _write(folder / "config.json", config | {"eos_token_id": list(assets.stop_ids)})
    _write(folder / "generation_config.json", {"eos_token_id": assets.stop_ids[0]})
    sizes = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}, "patch_size": PATCH}
    _write(folder / "preprocessor_config.json", sizes | {"image_mean": [0.5] * 3, "image_std": [0.5] * 3})


def _decoder(gguf: Path) -> tuple[ov.Model, np.ndarray]:
    """The decoder with embeddings in the place of ids, and the table that it would have looked these up in."""
    file = read_gguf(gguf)
    shape = decoder_shape(file)
    weights = GgufWeights(file, shape)
    model = build_decoder(shape, weights.source(), tied="output.weight" not in file.tensors)
    ids = model.input("input_ids").get_node()
    int8 = weights.source().matrix("token_embd.weight")
    table = int8.values.astype(np.float32) * int8.scales
    embeds = ops.parameter([-1, -1, table.shape[1]], ov.Type.f32, name="inputs_embeds")
    embeds.output(0).set_names({"inputs_embeds"})
    gathers = [op for op in model.get_ops() if op.get_type_name() == "Gather"]
    lookup = next(op for op in gathers if op.output(0).partial_shape.rank == 3)
    for use in lookup.output(0).get_target_inputs():
        use.replace_source_output(embeds.output(0))
    column = ops.squeeze(ops.slice(embeds, _i64([0]), _i64([1]), _i64([1]), _i64([2])), _i64([2]))
    for use in ids.output(0).get_target_inputs():  # those that ask for its shape
        use.replace_source_output(ops.convert(column, "i64").output(0))
    others = [each for each in model.get_parameters() if each.get_friendly_name() != ids.get_friendly_name()]
    return ov.Model(model.get_results(), model.get_sinks(), [*others, embeds], "language"), table


def _text_embeddings(table: np.ndarray) -> ov.Model:
    ids = ops.parameter([-1, -1], ov.Type.i64, name="input")
    rows = ops.gather(ops.constant(table), ids, _i64(0))
    rows.output(0).set_names({"inputs_embeds"})
    return ov.Model([ops.result(rows)], [ids], "text_embeddings")


def _vision(hidden: int) -> ov.Model:
    values = ops.parameter([-1, 3, -1, -1], ov.Type.f32, name="pixel_values")
    values.output(0).set_names({"pixel_values"})
    kernel = np.random.default_rng(0).normal(0, 1, (hidden, 3, PATCH, PATCH)).astype(np.float32)
    patches = ops.convolution(values, ops.constant(kernel), [PATCH, PATCH], [0, 0], [0, 0], [1, 1])
    states = ops.transpose(ops.reshape(patches, _i64([0, hidden, -1]), True), _i64([0, 2, 1]))
    states.output(0).set_names({"last_hidden_state"})
    return ov.Model([ops.result(states)], [values], "vision_embeddings")


def _i64(value: object) -> ov.Node:
    return ops.constant(np.array(value, np.int64))


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))
