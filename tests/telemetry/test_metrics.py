"""The numbers that ``/metrics`` shows."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lowcloud.telemetry.metrics import Metrics


@pytest.fixture
def metrics():
    return Metrics()


def value(metrics, name, **labels):
    samples = [
        sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return samples[0] if samples else None


def test_a_request_is_counted_by_route_method_and_status(metrics):
    metrics.request("/v1/models", "GET", 200, 0.2)
    labels = {"route": "/v1/models", "method": "GET"}
    assert value(metrics, "lowcloud_requests_total", **labels, status="200") == 1
    assert value(metrics, "lowcloud_request_seconds_sum", **labels) == pytest.approx(0.2)


def test_a_method_that_is_not_https_makes_no_series_of_its_own(metrics):
    metrics.request("/", "BREW", 405, 0.1)
    metrics.request("/", "STIR", 405, 0.1)
    assert value(metrics, "lowcloud_requests_total", method="other") == 2


def test_latencies_are_histograms_a_model(metrics):
    metrics.ttft("@m", 0.3)
    metrics.inter_token("@m", 0.02)
    assert value(metrics, "lowcloud_ttft_seconds_bucket", model="@m", le="0.3") == 1
    assert value(metrics, "lowcloud_ttft_seconds_bucket", model="@m", le="0.2") == 0
    assert value(metrics, "lowcloud_inter_token_seconds_bucket", model="@m", le="0.02") == 1


def test_tokens_and_cache_hits_add_up(metrics):
    metrics.tokens("@m", prompt=10, cached=8, completion=3)
    metrics.tokens("@m", prompt=5, cached=0, completion=1)
    kinds = ("prompt", "cached", "completion")
    assert [value(metrics, f"lowcloud_{kind}_tokens_total", model="@m") for kind in kinds] == [15, 8, 4]


def test_runs_are_counted_by_task_and_outcome_and_their_neurons_by_model(metrics):
    metrics.run("@m", "Text Generation", "done", 1.5)
    metrics.run("@n", "Text Generation", "done", 0.25)
    metrics.run("@n", "Text Embeddings", "client_gone", 0.5)
    assert value(metrics, "lowcloud_runs_total", task="Text Generation", outcome="done") == 2
    assert value(metrics, "lowcloud_runs_total", task="Text Embeddings", outcome="client_gone") == 1
    assert [value(metrics, "lowcloud_neurons_total", model=model) for model in ("@m", "@n")] == [1.5, 0.75]


def test_refused_requests_are_counted_by_limit(metrics):
    metrics.refused("neurons_per_day")
    assert value(metrics, "lowcloud_refused_requests_total", limit="neurons_per_day") == 1


def test_the_queue_is_what_it_is_now(metrics):
    metrics.queue("@m", requests=4, tokens=400)
    metrics.queue("@m", requests=1, tokens=10)
    assert value(metrics, "lowcloud_queued_requests", model="@m") == 1
    assert value(metrics, "lowcloud_queued_tokens", model="@m") == 10


def test_a_step_shows_sequences_and_kv_use(metrics):
    metrics.step("@m", running=3, waiting=2, kv_used=7, kv_blocks=24, swapped=1, preemptions=0)
    names = ("running_sequences", "waiting_sequences", "swapped_sequences", "kv_used_blocks", "kv_blocks")
    assert [value(metrics, f"lowcloud_{name}", model="@m") for name in names] == [3, 2, 1, 7, 24]


def test_preemptions_go_on_over_a_restart_of_the_worker(metrics):
    for seen in (2, 5, 0, 1):
        metrics.step("@m", running=0, waiting=0, kv_used=0, kv_blocks=0, swapped=0, preemptions=seen)
    assert value(metrics, "lowcloud_preemptions_total", model="@m") == 6


def test_restarts_are_counted(metrics):
    metrics.restart("@m")
    assert value(metrics, "lowcloud_worker_restarts_total", model="@m") == 1


def test_two_servers_share_no_numbers(metrics):
    metrics.restart("@m")
    assert value(Metrics(), "lowcloud_worker_restarts_total", model="@m") is None


def test_jobs_are_measured_by_kind(metrics):
    metrics.queued_jobs("batch", 7)
    metrics.running_jobs("batch", 2)
    metrics.job("batch", "done")
    names = ("queued_jobs", "running_jobs", "jobs_total")
    assert [value(metrics, f"lowcloud_{name}", kind="batch") for name in names] == [7, 2, 1]
