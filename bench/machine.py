"""Names the machine that the figures come from."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def describe() -> str:
    """CPU, cores, memory and the versions that matter, in two lines."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    cpu = next(
        (line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")),
        platform.machine(),
    )
    flags = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16") if f" {flag} " in info]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"machine: {cpu}, {os.cpu_count()} cores, {memory:.0f} GiB, {' '.join(flags) or 'no vector flags known'}\n"
        f"versions: {platform.python_implementation()} {platform.python_version()}, {_versions()}"
    )


def _versions() -> str:
    shown = []
    for name in ("lowcloud", "openvino", "openvino-genai", "tokenizers", "numpy", "uvicorn"):
        try:
            shown.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(shown)
