"""What callers ask of the gateway, and which of it wins."""

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.gateway.config import DEFAULT, GatewayConfig
from lowcloud.gateway.errors import BadOption
from lowcloud.gateway.options import (
    HEADERS,
    LATER,
    MAX_CHARS,
    MAX_TTL_S,
    MIN_TTL_S,
    CustomCost,
    Options,
    is_ours,
    later_of,
    merged,
    options_of,
    options_of_binding,
    options_of_config,
    over,
    unknown_of,
)

NOTHING = Options()
EVERYTHING = [
    ("cf-aig-cache-ttl", "600"),
    ("cf-aig-skip-cache", "True"),
    ("cf-aig-cache-key", "key"),
    ("cf-aig-collect-log", "false"),
    ("cf-aig-collect-log-payload", "FALSE"),
    ("cf-aig-metadata", '{"user": "ann", "n": 1.5, "paid": true, "none": null}'),
    ("cf-aig-custom-cost", '{"per_token_in": 0.5, "per_token_out": 2}'),
    ("cf-aig-event-id", "event-1"),
    ("cf-aig-request-timeout", "1500"),
    ("cf-aig-max-attempts", "3"),
    ("cf-aig-retry-delay", "250"),
    ("cf-aig-backoff", "linear"),
    ("cf-aig-byok-alias", "team"),
    ("cf-aig-zdr", "true"),
]
READ = Options(
    cache_ttl_s=600,
    skips_cache=True,
    cache_key="key",
    collect_log=False,
    collect_log_payload=False,
    metadata={"user": "ann", "n": 1.5, "paid": True, "none": None},
    custom_cost=CustomCost(per_token_in=0.5, per_token_out=2.0),
    event_id="event-1",
    request_timeout_ms=1_500,
    max_attempts=3,
    retry_delay_ms=250,
    backoff="linear",
    byok_alias="team",
    zdr=True,
)
CONFIG = GatewayConfig("g", cache_ttl_s=120, retry_max_attempts=2, retry_delay_ms=50, retry_backoff="exponential")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=8),
    max_leaves=20,
)
whole_options = st.builds(
    Options,
    cache_ttl_s=st.none() | st.sampled_from([0, 60, 600]),
    skips_cache=st.none() | st.booleans(),
    cache_key=st.none() | st.just("key"),
    collect_log=st.none() | st.booleans(),
    max_attempts=st.none() | st.integers(1, 5),
)
configs = st.builds(
    GatewayConfig,
    st.just("g"),
    cache_ttl_s=st.none() | st.sampled_from([0, 60]),
    collect_logs=st.booleans(),
    retry_max_attempts=st.none() | st.integers(1, 5),
)


def test_every_header_is_read():
    assert options_of(EVERYTHING) == READ
    assert options_of([(name.title(), value) for name, value in EVERYTHING]) == READ
    assert {HEADERS[name] for name, _ in EVERYTHING} == {each.name for each in fields(Options)}


def test_without_headers_of_ours_nothing_is_asked():
    assert options_of([]) == options_of([("accept", "*/*"), ("cf-aig-of-tomorrow", "x")]) == NOTHING


def test_the_old_headers_are_read_where_the_new_ones_are_missing():
    old = [("cf-cache-ttl", "3600"), ("cf-skip-cache", "true")]
    assert options_of(old) == Options(cache_ttl_s=3_600, skips_cache=True)
    assert options_of([*old, ("cf-aig-cache-ttl", "60")]) == Options(cache_ttl_s=60, skips_cache=True)


def test_of_a_header_that_comes_twice_the_first_counts():
    assert options_of([("cf-aig-max-attempts", "2"), ("Cf-Aig-Max-Attempts", "5")]).max_attempts == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("cf-aig-cache-ttl", value) for value in ("", "59", "-1", "1.5", "an hour", "2592001", "9" * 400, "٦٠")],
        *[("cf-aig-skip-cache", value) for value in ("", "1", "yes")],
        *[("cf-aig-cache-key", value) for value in ("", "x" * (MAX_CHARS + 1))],
        ("cf-aig-collect-log", "0"),
        ("cf-aig-collect-log-payload", "no"),
        *[("cf-aig-metadata", value) for value in ("", "ann", "[1]", '{"a": 1', "[" * 100_000)],
        *[("cf-aig-custom-cost", value) for value in ("{}", "1", '{"total_cost": -1}', '{"total_cost": "1"}')],
        *[("cf-aig-custom-cost", f'{{"total_cost": {value}}}') for value in ("true", "NaN", "1e400", "9" * 400)],
        *[("cf-aig-event-id", value) for value in ("", "a\tb", "é", "x" * 201)],
        *[("cf-aig-request-timeout", value) for value in ("0", "86400001")],
        *[("cf-aig-max-attempts", value) for value in ("0", "6", "two")],
        *[("cf-aig-retry-delay", value) for value in ("5001", "-5")],
        *[("cf-aig-backoff", value) for value in ("", "Linear", "quadratic")],
        ("cf-aig-byok-alias", ""),
        ("cf-aig-zdr", "maybe"),
        ("cf-cache-ttl", "59"),
        ("cf-skip-cache", "maybe"),
    ],
)
def test_a_malformed_header_is_refused_by_name(name, value):
    with pytest.raises(BadOption) as caught:
        options_of([(name.upper(), value)])
    assert caught.value.param == name
    assert str(caught.value).startswith(f"{name}: ")


@given(st.lists(st.tuples(st.sampled_from(list(HEADERS)), st.text(max_size=20)), max_size=5))
def test_any_header_is_read_or_refused(headers):
    try:
        options_of(headers)
    except BadOption as error:
        assert error.param in HEADERS


@given(st.integers(-10, 2 * MAX_TTL_S))
def test_a_ttl_is_a_minute_to_a_month_or_off(ttl):
    if ttl == 0 or MIN_TTL_S <= ttl <= MAX_TTL_S:
        assert options_of([("cf-aig-cache-ttl", str(ttl))]).cache_ttl_s == ttl
    else:
        with pytest.raises(BadOption):
            options_of([("cf-aig-cache-ttl", str(ttl))])


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=9))
def test_metadata_is_flat_and_has_five_entries_at_most_and_can_be_written_as_json(value):
    found = options_of_binding({"metadata": value}).metadata
    assert found is not None
    assert len(found) <= 5
    assert all(value[name] is each for name, each in found.items())
    assert not any(isinstance(each, list | dict) for each in found.values())
    json.dumps(found, allow_nan=False, ensure_ascii=False).encode()


def test_nested_entries_of_metadata_are_left_out_and_the_first_five_others_stay():
    value = {"a": {}, "b": 1, "c": [2], "d": "3", "e": None, "f": False, "g": 0.5, "h": 6}
    found = options_of([("cf-aig-metadata", json.dumps(value))]).metadata
    assert found == {"b": 1, "d": "3", "e": None, "f": False, "g": 0.5}


@pytest.mark.parametrize("longest", [{"k": "v" * 1_024}, {"k" * 1_024: None}])
def test_names_and_texts_of_metadata_are_as_long_as_other_texts(longest):
    assert options_of([("cf-aig-metadata", json.dumps(longest))]).metadata == longest
    ((name, value),) = longest.items()
    longer = {name: value + "v"} if value else {name + "k": value}
    with pytest.raises(BadOption, match="1024") as caught:
        options_of([("cf-aig-metadata", json.dumps(longer))])
    assert caught.value.param == "cf-aig-metadata"
    with pytest.raises(BadOption, match=r"\[0\]\.config\.metadata"):
        options_of_config({"metadata": longer}, at="[0].config")
    first = {str(number): number for number in range(5)}
    assert options_of_config({"metadata": first | longer}).metadata == first


def test_metadata_that_could_not_be_written_again_is_left_out():
    assert options_of(
        [("cf-aig-metadata", '{"a": "\\ud800", "b": NaN, "c": 1e999, "\\udfff": 1, "d": 4}')]
    ).metadata == {"d": 4}


def test_a_custom_cost_may_be_of_the_whole_call():
    assert options_of([("cf-aig-custom-cost", '{"total_cost": 0.25}')]).custom_cost == CustomCost(total_cost=0.25)


def test_the_config_of_a_step_is_read():
    config = {"requestTimeout": 1_500, "maxAttempts": 3, "retryDelay": 250, "backoff": "linear", "cacheTtl": 60.0}
    expected = Options(cache_ttl_s=60, request_timeout_ms=1_500, max_attempts=3, retry_delay_ms=250, backoff="linear")
    assert options_of_config(config) == expected
    assert options_of_config({"skipCache": True, "cacheKey": None, "unknown": 1}) == Options(skips_cache=True)


def test_the_options_of_a_binding_are_read():
    gateway = {
        "id": "g",
        "skipCache": False,
        "cacheTtl": 3_600,
        "cacheKey": "key",
        "metadata": {"user": "ann"},
        "collectLog": True,
        "eventId": "event-1",
        "requestTimeoutMs": 1_500,
        "retries": {"maxAttempts": 2, "retryDelayMs": 100, "backoff": "exponential"},
    }
    assert options_of_binding(gateway) == Options(
        cache_ttl_s=3_600,
        skips_cache=False,
        cache_key="key",
        collect_log=True,
        metadata={"user": "ann"},
        event_id="event-1",
        request_timeout_ms=1_500,
        max_attempts=2,
        retry_delay_ms=100,
        backoff="exponential",
    )
    assert options_of_binding({"id": "g", "retries": None}) == NOTHING


@pytest.mark.parametrize(
    ("gateway", "path"),
    [
        ({"cacheTtl": True}, "gateway.cacheTtl"),
        ({"cacheTtl": float("inf")}, "gateway.cacheTtl"),
        ({"skipCache": 1}, "gateway.skipCache"),
        ({"cacheKey": 5}, "gateway.cacheKey"),
        ({"cacheKey": "\ud800"}, "gateway.cacheKey"),
        ({"metadata": []}, "gateway.metadata"),
        ({"retries": 3}, "gateway.retries"),
        ({"retries": {"maxAttempts": 6}}, "gateway.retries.maxAttempts"),
        ({"retries": {"backoff": []}}, "gateway.retries.backoff"),
    ],
)
def test_a_malformed_field_of_a_binding_is_refused_by_its_path(gateway, path):
    with pytest.raises(BadOption) as caught:
        options_of_binding(gateway)
    assert caught.value.param == path


def test_a_malformed_field_of_a_config_is_refused_by_its_path():
    with pytest.raises(BadOption, match=r"^\[1\]\.config\.maxAttempts: ") as caught:
        options_of_config({"maxAttempts": "many"}, at="[1].config")
    assert caught.value.param == "[1].config.maxAttempts"


@given(st.dictionaries(st.sampled_from(["cacheTtl", "metadata", "backoff", "retries", "eventId"]), json_values))
def test_any_json_of_a_binding_is_read_or_refused(gateway):
    try:
        options_of_binding(gateway)
    except BadOption as error:
        assert str(error.param).startswith("gateway.")


def test_headers_that_begin_with_cf_aig_and_the_old_ones_are_ours():
    assert all(is_ours(name) for name in (*HEADERS, *LATER, "CF-AIG-Authorization", "cf-aig-x", "Cf-Cache-Ttl"))
    assert not any(is_ours(name) for name in ("authorization", "x-session-affinity", "cf-ray", "x-cf-aig-a"))


def test_headers_of_what_comes_later_are_listed_and_so_are_unknown_ones():
    headers = [("cf-aig-Allowed-Models", "*"), ("cf-aig-colour", "1"), ("CF-AIG-Colour", "2"), *EVERYTHING]
    headers += [("cf-aig-authorization", "Bearer x"), ("cf-aig-gateway-id", "g"), ("accept", "*/*")]
    assert later_of(headers) == ["cf-aig-allowed-models"]
    assert unknown_of(headers) == ["cf-aig-colour"]


@given(whole_options, whole_options, configs)
def test_a_step_wins_over_its_request_and_a_request_over_the_gateway(step, request, config):
    settled = merged(step, request, config)

    def winner(*values):
        return next((value for value in values if value is not None), None)

    assert settled.cache_key == winner(step.cache_key, request.cache_key)
    assert settled.collect_log == winner(step.collect_log, request.collect_log, config.collect_logs)
    assert settled.max_attempts == winner(step.max_attempts, request.max_attempts, config.retry_max_attempts, 1)
    if winner(step.skips_cache, request.skips_cache):
        assert settled.cache_ttl_s == 0
    else:
        default = 300 if settled.cache_key else 0
        assert settled.cache_ttl_s == winner(step.cache_ttl_s, request.cache_ttl_s, config.cache_ttl_s or default)


@given(whole_options, whole_options, whole_options)
def test_what_is_asked_over_another_is_so_in_any_grouping(first, second, third):
    assert over(over(first, second), third) == over(first, over(second, third))
    assert over(first, NOTHING) == over(NOTHING, first) == first


def test_what_nobody_asks_for_is_the_gateways_own():
    settled = merged(NOTHING, NOTHING, CONFIG)
    assert (settled.cache_ttl_s, settled.max_attempts, settled.retry_delay_ms) == (120, 2, 50)
    assert (settled.backoff, settled.zdr, settled.byok_alias) == ("exponential", False, None)


def test_all_that_is_asked_counts():
    asked = replace(READ, skips_cache=False, zdr=False)
    settled = merged(NOTHING, asked, replace(CONFIG, zdr=True))
    assert all(getattr(settled, name) == getattr(asked, name) for name in settled._fields)


@pytest.mark.parametrize("asked", [Options(cache_ttl_s=600, zdr=True), Options(cache_key="k", zdr=True), NOTHING])
def test_where_no_bodies_are_kept_the_cache_keeps_none(asked):
    settled = merged(asked, NOTHING, replace(CONFIG, zdr=asked == NOTHING))
    assert (settled.zdr, settled.cache_ttl_s) == (True, 0)


@pytest.mark.parametrize(
    ("asked", "config", "ttl_s"),
    [
        (Options(), DEFAULT, 0),
        (Options(cache_key="k"), DEFAULT, 300),
        (Options(cache_key="k"), CONFIG, 120),
        (Options(cache_key="k", cache_ttl_s=0), CONFIG, 0),
        (Options(cache_key="k", cache_ttl_s=60, skips_cache=True), CONFIG, 0),
        (Options(skips_cache=False), DEFAULT, 0),
    ],
)
def test_a_custom_key_alone_turns_the_cache_on_for_five_minutes_and_to_skip_it_wins(asked, config, ttl_s):
    assert merged(NOTHING, asked, config).cache_ttl_s == ttl_s
