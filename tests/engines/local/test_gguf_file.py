"""GGUF files are read as the gguf package reads them, and a broken one is refused, never half read."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.core.errors import ModelUnusable
from lowcloud.engines.local.gguf_file import read_gguf
from lowcloud.engines.local.weights import dequantised

FIXTURES = Path(__file__).parents[2] / "fixtures"
TINY = FIXTURES / "tiny-llama.gguf"
KINDS = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL"]


def test_metadata_and_tensor_places_equal_those_of_the_gguf_package() -> None:
    ours, theirs = read_gguf(TINY), GGUFReader(TINY)
    expected = {k: f.contents() for k, f in theirs.fields.items() if not k.startswith("GGUF.")}
    assert dict(ours.metadata) == expected
    places = {t.name: (tuple(t.shape.tolist()[::-1]), int(t.tensor_type), t.data_offset) for t in theirs.tensors}
    assert {name: (p.shape, p.kind, p.offset) for name, p in ours.tensors.items()} == places


def test_every_kind_of_metadata_value_is_read(tmp_path: Path) -> None:
    path = tmp_path / "kinds.gguf"
    writer = GGUFWriter(path, "llama")
    for width in (8, 16, 32, 64):
        getattr(writer, f"add_uint{width}")(f"u{width}", 2**width - 1)
        getattr(writer, f"add_int{width}")(f"i{width}", -(2 ** (width - 1)))
    writer.add_float32("f32", 0.5)
    writer.add_float64("f64", 1e300)
    writer.add_bool("yes", True)
    writer.add_array("texts", ["a", "ü", "中"])
    writer.add_array("numbers", [1, -2, 3])
    _finish(writer)
    file = read_gguf(path)
    assert dict(file.metadata) == {k: f.contents() for k, f in GGUFReader(path).fields.items() if "GGUF." not in k}
    assert file.texts("texts") == ["a", "ü", "中"] and file.integers("numbers") == [1, -2, 3]
    assert file.texts("missing") == [] and file.integers("f32") == []


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_of_every_quantisation_are_dequantised_as_the_gguf_package_does(kind: str, tmp_path: Path) -> None:
    quantisation = GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[quantisation]
    raw = np.random.default_rng(1).integers(0, 60, (6, 512 // block * size), np.uint8)
    path = tmp_path / "tensor.gguf"
    writer = GGUFWriter(path, "llama")
    values = raw.view(np.float32) if kind == "F32" else raw.view(np.float16) if kind == "F16" else raw
    writer.add_tensor("w", values, raw_dtype=quantisation)
    _finish(writer)
    file = read_gguf(path)
    expected = gguf.quants.dequantize(raw, quantisation).reshape(6, 512)
    assert file.tensors["w"].shape == (6, 512)
    np.testing.assert_array_equal(dequantised(file, file.tensors["w"]), expected)


@given(st.integers(min_value=0, max_value=30_000))
def test_a_header_cut_short_anywhere_is_refused(length: int) -> None:
    whole = TINY.read_bytes()
    header_end = min(place.offset for place in read_gguf(TINY).tensors.values())
    with _file(whole[: min(length, header_end - 40)]) as path, pytest.raises(ModelUnusable):
        read_gguf(path)


def test_a_string_or_an_array_that_runs_past_the_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.gguf"
    start = b"GGUF" + _little((3, 4), (0, 8), (1, 8))
    path.write_bytes(start + _little((99, 8)) + b"key")
    with pytest.raises(ModelUnusable, match="a string runs past the end"):
        read_gguf(path)
    path.write_bytes(start + _little((3, 8)) + b"key" + _little((9, 4), (4, 4), (2**60, 8)))
    with pytest.raises(ModelUnusable, match="longer than the file"):
        read_gguf(path)


def _little(*numbers: tuple[int, int]) -> bytes:
    return b"".join(value.to_bytes(size, "little") for value, size in numbers)


@given(st.integers(min_value=4, max_value=8_000), st.integers(min_value=0, max_value=255))
def test_a_changed_byte_of_the_header_is_read_or_refused_and_nothing_else(at: int, byte: int) -> None:
    data = bytearray(TINY.read_bytes()[:20_000])
    data[at] = byte
    with _file(bytes(data)) as path:
        try:
            read_gguf(path)
        except ModelUnusable as error:
            assert path.name in str(error)


def test_files_that_arent_gguf_are_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.gguf").touch()
    (tmp_path / "text.gguf").write_text("a text that is long enough for a header, and isn't one")
    (tmp_path / "v1.gguf").write_bytes(b"GGUF" + (1).to_bytes(4, "little") + bytes(40))
    for name, why in [
        ("empty", "is empty"),
        ("text", "doesn't begin with GGUF"),
        ("v1", "version 1"),
        ("none", "No such"),
    ]:
        with pytest.raises(ModelUnusable, match=why):
            read_gguf(tmp_path / f"{name}.gguf")


def test_an_alignment_or_a_rank_out_of_range_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "align.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_uint32("general.alignment", 0)
    _finish(writer)
    with pytest.raises(ModelUnusable, match="alignment"):
        read_gguf(path)
    at = (data := TINY.read_bytes()).index(b"output_norm.weight") + len("output_norm.weight")
    path.write_bytes(data[:at] + (9).to_bytes(4, "little") + data[at + 4 :])
    with pytest.raises(ModelUnusable, match="9 dimensions"):
        read_gguf(path)


def test_a_key_that_is_missing_or_of_another_type_is_named() -> None:
    file = read_gguf(TINY)
    for ask in (file.text, file.number, file.integer):
        with pytest.raises(ModelUnusable, match=r"no\.key"):
            ask("no.key")
    with pytest.raises(ModelUnusable, match="context_length"):
        file.text("llama.context_length")
    with pytest.raises(ModelUnusable, match=r"general\.architecture"):
        file.number("general.architecture")
    assert file.text("no.key", "x") == "x" and file.integer("no.key", 3) == 3


@contextmanager
def _file(data: bytes) -> Iterator[Path]:
    """A file of these bytes; hypothesis can't use a function's tmp_path."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cut.gguf"
        path.write_bytes(data)
        yield path


def _finish(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
