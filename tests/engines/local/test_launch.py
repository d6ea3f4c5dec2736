"""Which form of a model serves, by what the self-test says of each."""

from dataclasses import replace

import pytest

from lowcloud.engines.local.launch import judged
from lowcloud.engines.local.selftest import Verdict
from lowcloud.engines.local.spec import WorkerSpec

SPEC = WorkerSpec("text", "/models/m", "/cache")
GOOD, BAD = Verdict(True, "near"), Verdict(False, "other numbers in company")


def judge(spec, kv, **verdicts):
    """What serves, and how the KV caches were kept of which the self-test was asked."""
    asked = []

    def said(spec):
        asked.append(spec.kv_precision)
        return verdicts[spec.kv_precision]

    return judged(spec, kv, said), asked


def test_what_passes_serves():
    assert judge(SPEC, "bf16", auto=GOOD) == ((SPEC, GOOD), ["auto"])


def test_a_processor_whose_own_kernels_fail_keeps_the_cache_in_f32():
    assert judge(SPEC, "bf16", auto=BAD, f32=GOOD) == ((replace(SPEC, kv_precision="f32"), GOOD), ["auto", "f32"])


def test_where_f32_fails_too_the_first_reason_is_told():
    other = Verdict(False, "another reason")
    assert judge(SPEC, "bf16", auto=BAD, f32=other) == ((SPEC, BAD), ["auto", "f32"])


@pytest.mark.parametrize(("asked", "kv"), [("bf16", "bf16"), ("u8", "u8"), ("f32", "f32"), ("auto", "f32")])
def test_what_was_asked_for_and_what_is_f32_already_has_no_second_try(asked, kv):
    spec = replace(SPEC, kv_precision=asked)
    assert judge(spec, kv, **{asked: BAD}) == ((spec, BAD), [asked])


def test_nothing_is_tested_where_the_settings_ask_for_an_unpaged_model():
    spec = replace(SPEC, paged="never")
    (serves, verdict), asked = judge(spec, "bf16")
    assert (serves, verdict.passed, asked) == (spec, False, [])
