"""Engines without a server, each in a process of its own: one JSON job a line in, one JSON result a line out.

    python bench/drivers.py raw GGUF CACHE      our loop in process, without detokenising
    python bench/drivers.py genai GGUF CACHE    GenAI's ContinuousBatchingPipeline.generate(), one closed batch
    python bench/drivers.py xllamacpp GGUF PORT xllamacpp's server (run with a Python that has it); takes no jobs

A job is ``{"prompts": [[token id, ...], ...], "max_tokens": n}``; all start at once, greedily, past end tokens. The
result is ``{"wall_s", "first_s"}``: until the last token, and until the first.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

THREADS = 2


def raw(gguf: str, cache: str) -> Callable[[list[list[int]], int], dict]:
    """Our loop."""
    from lowcloud.engines.local.frames import Submit
    from lowcloud.engines.local.launch import launch
    from lowcloud.engines.local.loop import Loop
    from lowcloud.engines.local.spec import WorkerSpec

    launched = launch(WorkerSpec("text", gguf, cache, threads=THREADS))
    loop = Loop(launched.model, launched.settings)
    numbers = iter(range(10**9))

    def run(prompts: list[list[int]], max_tokens: int) -> dict:
        begin, first = time.perf_counter(), None
        for ids in prompts:
            loop.submit(Submit(next(numbers), ids, [], max_tokens, [], 0.0, 1.0, 0, 0.0, 1.0, 0.0, 0.0, [], 0, 0, -1))
        while loop.is_busy:
            step = loop.step()
            if first is None and step.outputs:
                first = time.perf_counter() - begin
        return {"wall_s": time.perf_counter() - begin, "first_s": first}

    return run


def genai(gguf: str, cache: str) -> Callable[[list[list[int]], int], dict]:
    """GenAI's pipeline, on the same file."""
    import numpy as np
    import openvino as ov
    import openvino_genai as g

    link = Path(cache) / "genai" / Path(gguf).name
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(gguf)
    scheduler = g.SchedulerConfig()
    scheduler.cache_size, scheduler.max_num_seqs, scheduler.enable_prefix_caching = 2, 64, True
    pipeline = g.ContinuousBatchingPipeline(str(link), scheduler, "CPU", {"INFERENCE_NUM_THREADS": THREADS})

    def run(prompts: list[list[int]], max_tokens: int) -> dict:
        config = g.GenerationConfig(max_new_tokens=max_tokens, do_sample=False, ignore_eos=True)
        tensors = [ov.Tensor(np.array([ids], np.int64)) for ids in prompts]
        begin = time.perf_counter()
        pipeline.generate(tensors, [config] * len(tensors))
        wall = time.perf_counter() - begin
        return {"wall_s": wall, "first_s": wall if max_tokens == 1 else None}

    return run


def xllamacpp(gguf: str, port: str) -> None:
    """llama.cpp's server, with as many slots as we run streams."""
    import xllamacpp as x

    params = x.CommonParams()
    params.model.path = gguf
    params.port, params.n_parallel, params.n_ctx = int(port), 64, 64 * 1024
    params.kv_unified = True
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    server = x.Server(params)
    print(server.listening_address, flush=True)
    while True:
        time.sleep(3600)


def main() -> None:
    """Serve jobs until standard input ends."""
    kind, gguf, where = sys.argv[1:4]
    if kind == "xllamacpp":
        xllamacpp(gguf, where)
    run = {"raw": raw, "genai": genai}[kind](gguf, where)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(run(job["prompts"], job["max_tokens"])), flush=True)


if __name__ == "__main__":
    main()
