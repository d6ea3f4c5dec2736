"""What ``/metrics`` shows: counts, gauges and histograms in a registry of their own.

``model`` labels are ids of cards that answer, ``route`` labels are path templates: small sets, whatever callers send.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_TTFT_S = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 3, 5, 10, 30, 60, 120)
_INTER_TOKEN_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 1, 2, 5)


class Metrics:
    """The server's numbers; one object a server."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        on_route, on_model = ["route", "method"], ["model"]

        def counter(name: str, about: str, labels: list[str]) -> Counter:
            return Counter(f"lowcloud_{name}", about, labels, registry=registry)

        def gauge(name: str, about: str, labels: list[str] = on_model) -> Gauge:
            return Gauge(f"lowcloud_{name}", about, labels, registry=registry)

        def histogram(name: str, about: str, labels: list[str], buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"lowcloud_{name}", about, labels, registry=registry, buckets=buckets)

        self._requests = counter("requests", "Requests answered.", [*on_route, "status"])
        self._seconds = histogram("request_seconds", "From a request's head to its end.", on_route, _REQUEST_S)
        self._ttft = histogram("ttft_seconds", "From a request to its first token.", on_model, _TTFT_S)
        self._inter_token = histogram(
            "inter_token_seconds", "Between two tokens of a sequence.", on_model, _INTER_TOKEN_S
        )
        self._prompt_tokens = counter("prompt_tokens", "Prompt tokens, cached ones too.", on_model)
        self._cached_tokens = counter("cached_tokens", "Prompt tokens that the prefix cache had.", on_model)
        self._completion_tokens = counter("completion_tokens", "Tokens generated.", on_model)
        self._runs = counter("runs", "Runs of models, however they ended.", ["task", "outcome"])
        self._neurons = counter("neurons", "Neurons used.", on_model)
        self._refused = counter("refused_requests", "Requests over an account's limit.", ["limit"])
        self._queued_requests = gauge("queued_requests", "Requests that wait for the engine.")
        self._queued_tokens = gauge("queued_tokens", "Prompt tokens of the requests that wait.")
        self._running = gauge("running_sequences", "Sequences in the batch.")
        self._waiting = gauge("waiting_sequences", "Sequences that wait for a place in the batch.")
        self._swapped = gauge("swapped_sequences", "Sequences whose blocks are swapped out.")
        self._kv_used = gauge("kv_used_blocks", "KV blocks in use.")
        self._kv_blocks = gauge("kv_blocks", "KV blocks there are.")
        self._preemptions = counter("preemptions", "Times a sequence was swapped out.", on_model)
        self._restarts = counter("worker_restarts", "Times a model's process was started again.", on_model)
        self._queued_jobs = gauge("queued_jobs", "Jobs that wait to be run, for all servers of the database.", ["kind"])
        self._running_jobs = gauge("running_jobs", "Jobs that run in this server.", ["kind"])
        self._jobs = counter("jobs", "Jobs that ended in this server.", ["kind", "outcome"])
        self._logs_lost = counter("gateway_logs_lost", "Logs of the gateway that could not be kept.", ["why"])
        self._preemptions_seen: dict[str, int] = {}
        self._places: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """One request answered; a method that isn't HTTP's counts as ``other``."""
        known = method if method in _METHODS else "other"
        place = (route, known, status)
        if place not in self._places:  # looking labels up takes as long as counting
            self._places[place] = self._requests.labels(route, known, str(status)), self._seconds.labels(route, known)
        requests, durations = self._places[place]
        requests.inc()
        durations.observe(seconds)

    def ttft(self, model: str, seconds: float) -> None:
        """A request's first token came after ``seconds``."""
        self._ttft.labels(model).observe(seconds)

    def inter_token(self, model: str, seconds: float) -> None:
        """A sequence's next token came ``seconds`` after the one before."""
        self._inter_token.labels(model).observe(seconds)

    def tokens(self, model: str, *, prompt: int, cached: int, completion: int) -> None:
        """The usage of one request."""
        self._prompt_tokens.labels(model).inc(prompt)
        self._cached_tokens.labels(model).inc(cached)
        self._completion_tokens.labels(model).inc(completion)

    def run(self, model: str, task: str, outcome: str, neurons: float) -> None:
        """A run ended."""
        self._runs.labels(task, outcome).inc()
        self._neurons.labels(model).inc(neurons)

    def refused(self, limit: str) -> None:
        """A request was refused for what its account has used; ``limit`` is the setting's name."""
        self._refused.labels(limit).inc()

    def queue(self, model: str, *, requests: int, tokens: int) -> None:
        """What waits in front of a model now."""
        self._queued_requests.labels(model).set(requests)
        self._queued_tokens.labels(model).set(tokens)

    def step(  # noqa: PLR0913 - the numbers of one step, each by its name
        self, model: str, *, running: int, waiting: int, kv_used: int, kv_blocks: int, swapped: int, preemptions: int
    ) -> None:
        """The state after a step. ``preemptions`` is the worker's own count so far, which a restart sets back to 0."""
        self._running.labels(model).set(running)
        self._waiting.labels(model).set(waiting)
        self._kv_used.labels(model).set(kv_used)
        self._kv_blocks.labels(model).set(kv_blocks)
        self._swapped.labels(model).set(swapped)
        seen = self._preemptions_seen.get(model, 0)
        self._preemptions.labels(model).inc(preemptions - seen if preemptions >= seen else preemptions)
        self._preemptions_seen[model] = preemptions

    def restart(self, model: str) -> None:
        """A model's process was started again."""
        self._restarts.labels(model).inc()

    def queued_jobs(self, kind: str, jobs: int) -> None:
        """So many jobs of a kind wait."""
        self._queued_jobs.labels(kind).set(jobs)

    def running_jobs(self, kind: str, jobs: int) -> None:
        """So many jobs of a kind run here."""
        self._running_jobs.labels(kind).set(jobs)

    def job(self, kind: str, outcome: str) -> None:
        """A job ended."""
        self._jobs.labels(kind, outcome).inc()

    def logs_lost(self, logs: int) -> None:
        """Logs of the gateway could not be kept."""
        self._logs_lost.labels("spool").inc(logs)

    def render(self) -> bytes:
        """Prometheus' text format, version 0.0.4."""
        return generate_latest(self._registry)
