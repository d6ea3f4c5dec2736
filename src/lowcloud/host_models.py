"""The engine of each model, with what runs it. The libraries that engines need are an extra, and a server whose models
nobody asks for holds none in memory: so they are imported where they are needed.
"""

import secrets
from datetime import datetime

import anyio

from lowcloud.inventory import RemoteModel, spec_of
from lowcloud.models.store import LocalModel
from lowcloud.serving.pool import Hosted
from lowcloud.settings import Settings
from lowcloud.telemetry.metrics import Metrics

TEXT_THREADS = 4  # a model's rendering and tokenising; the loop's own core goes on


def host_local(settings: Settings, model: LocalModel, metrics: Metrics) -> Hosted:
    """The engine of one model, and its worker. Blocking: it reads the tokenizer. Raises ModelUnusable.

    The libraries that engines need are an extra, and a server whose models nobody asks for holds none in memory: so
    they are imported here.
    """
    from lowcloud.engines.local.process import WorkerProcess  # noqa: PLC0415

    worker = WorkerProcess(spec_of(settings, model), model.id, metrics)
    if model.kind == "embedding":
        from lowcloud.engines.local.embedder import LocalEmbedder, describe  # noqa: PLC0415

        return Hosted(LocalEmbedder(model.card, describe(model.source), worker), worker)

    from lowcloud.engines.local.convert import is_prepared  # noqa: PLC0415
    from lowcloud.engines.local.engine import LocalEngine, Surroundings  # noqa: PLC0415
    from lowcloud.engines.local.tokenizer import load_text_assets  # noqa: PLC0415
    from lowcloud.engines.local.vision_engine import VisionEngine  # noqa: PLC0415

    around = Surroundings(
        anyio.CapacityLimiter(TEXT_THREADS), lambda: secrets.randbits(63), lambda: datetime.now().astimezone()
    )
    engine_of = VisionEngine if model.card.vision else LocalEngine
    own = settings.models.get(model.id)
    dialect = own.dialect if own else ""
    engine = engine_of(model.card, load_text_assets(model.source), worker, around, dialect=dialect)
    is_converted = is_prepared(model.source, settings.local.cache_dir)
    return Hosted(engine, worker, load_wait_s=None if is_converted else settings.serving.convert_wait_s)


def host_remote(model: RemoteModel) -> Hosted:
    """The engine of one remote model, and its connections. The HTTP client is imported here, as above."""
    from lowcloud.engines.remote.embedder import RemoteEmbedder  # noqa: PLC0415
    from lowcloud.engines.remote.engine import RemoteEngine  # noqa: PLC0415
    from lowcloud.engines.remote.reranker import RemoteReranker  # noqa: PLC0415
    from lowcloud.engines.remote.runtime import RemoteRuntime  # noqa: PLC0415

    runtime = RemoteRuntime(model.upstream)
    engine_of = {"text": RemoteEngine, "embedding": RemoteEmbedder, "rerank": RemoteReranker}[model.kind]
    return Hosted(engine_of(model.card, runtime), runtime)
