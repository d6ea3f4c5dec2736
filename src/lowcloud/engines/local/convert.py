"""GGUF file -> OpenVINO IR folder, once, in a process of its own.

``prepare`` gives the folder, converting where it isn't there yet; the process that converts is
``python -m lowcloud.engines.local.convert SOURCE CACHE``. The folder appears by one rename, so it is whole or not
there; a file lock keeps two processes from the same work. Its name holds the content's hash and both versions.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from lowcloud.core.errors import LowcloudError, ModelUnusable
from lowcloud.engines.local.gguf_file import read_gguf
from lowcloud.engines.local.spec import CONVERT_S
from lowcloud.engines.local.tokenizer import (
    OWN_FILE,
    TEMPLATE_FILE,
    TOKENIZER_FILE,
    TOOL_TEMPLATE_FILE,
    OwnFile,
    load_text_assets,
)

CONVERTER_VERSION = 2  # raise it whenever the same file would give another folder
MODEL_FILE = "openvino_model.xml"
_REFUSED = 3  # exit status: stderr ends with a line for people


def prepare(source: Path, cache_dir: Path, *, timeout_s: float = CONVERT_S) -> Path:
    """The IR folder of ``source``: itself when it is one, else made of the GGUF file and kept in ``cache_dir``.

    Blocking; about 2 s for each 100 million parameters. Raises ModelUnusable with the reason.
    """
    if source.is_dir():
        return source
    folder = _folder_of(source, cache_dir)
    if not folder.exists():
        _convert_apart(source, cache_dir, timeout_s)
    return folder


def is_prepared(source: Path, cache_dir: Path) -> bool:
    """Whether ``prepare`` has nothing to do. Blocking. Raises ModelUnusable."""
    return source.is_dir() or _folder_of(source, cache_dir).exists()


def convert(source: Path, cache_dir: Path) -> Path:
    """Like ``prepare`` for a GGUF file, in this process, which native code may end and which keeps some memory."""
    folder = _folder_of(source, cache_dir)
    with _locked(folder):
        if not folder.exists():
            for stale in folder.parent.glob(folder.name + ".part-*"):  # of a process that was killed
                shutil.rmtree(stale, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=folder.name + ".part-") as part:
                whole = Path(part) / "ir"
                whole.mkdir()
                _write(source, whole)
                whole.rename(folder)
    return folder


def _convert_apart(source: Path, cache_dir: Path, timeout_s: float) -> None:
    command = [sys.executable, "-P", "-m", "lowcloud.engines.local.convert", str(source), str(cache_dir)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise ModelUnusable(f"Converting {source.name} took longer than {timeout_s:g} s.") from error
    if done.returncode == _REFUSED:
        *cause, message = done.stderr.strip().splitlines()
        sys.stderr.write("".join(f"{line}\n" for line in cause))
        raise ModelUnusable(message)
    if done.returncode != 0:
        sys.stderr.write(done.stderr)  # into our log: it may name paths, which callers don't see
        raise ModelUnusable(f"Converting {source.name} failed with status {done.returncode}; the log says more.")


def _folder_of(source: Path, cache_dir: Path) -> Path:
    if not source.is_file():
        raise ModelUnusable(f"There is no file {source.name}.")
    parts = (source.stem, _content_hash(source, cache_dir)[:16], f"c{CONVERTER_VERSION}", f"ov{version('openvino')}")
    return cache_dir / "ir" / "-".join(parts)


def _content_hash(source: Path, cache_dir: Path) -> str:
    """sha256 of the file, remembered by its path, size and times: a large file isn't read at every start."""
    stat = source.stat()
    identity = f"{source.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{stat.st_ctime_ns}|{stat.st_ino}"
    note = cache_dir / "hashes" / hashlib.sha256(identity.encode()).hexdigest()
    if note.exists():
        return note.read_text("ascii")
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    note.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=note.parent, delete=False) as part:
        part.write(digest)
    Path(part.name).rename(note)
    return digest


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the caller's own bound (the time-out of ``prepare``) ends the wait."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / (folder.name + ".lock")).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(source: Path, folder: Path) -> None:
    import openvino as ov  # noqa: PLC0415  (0.3 s and 60 MB that only the converting process needs)

    from lowcloud.engines.local.graph import build_decoder  # noqa: PLC0415
    from lowcloud.engines.local.weights import GgufWeights, decoder_shape  # noqa: PLC0415

    assets = load_text_assets(source)
    file = read_gguf(source)
    shape = decoder_shape(file)
    weights = GgufWeights(file, shape)
    model = build_decoder(shape, weights.source(), tied="output.weight" not in file.tensors)
    if unused := weights.unused():
        raise ModelUnusable(f"{source.name}: nothing here knows the tensors {', '.join(unused[:5])}.")
    ov.save_model(model, folder / MODEL_FILE, compress_to_fp16=False)
    assets.tokenizer.save(folder / TOKENIZER_FILE)
    for name, template in ((TEMPLATE_FILE, assets.chat_template), (TOOL_TEMPLATE_FILE, assets.tool_template)):
        if template is not None:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(template, "utf-8")
    own = OwnFile(
        context_length=assets.context_length,
        stop_ids=assets.stop_ids,
        weights=assets.weights,
        bos_token=assets.bos_token,
        eos_token=assets.eos_token,
    )
    (folder / OWN_FILE).write_text(own.model_dump_json(indent=2), "utf-8")


def main(arguments: list[str]) -> int:
    """Convert and print the folder. Status 3: refused; stderr has what led to it and, as its last line, the reason."""
    source, cache_dir = map(Path, arguments)
    try:
        sys.stdout.write(f"{prepare(source, cache_dir) if source.is_dir() else convert(source, cache_dir)}\n")
    except LowcloudError as error:
        if error.__cause__:
            traceback.print_exception(error.__cause__)
        sys.stderr.write(f"{error}\n")
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
