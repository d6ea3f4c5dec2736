"""Settings: three sources, later ones win; a wrong one is refused by name."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.settings import Limits, Settings, SettingsError, is_loopback, keys, load


def write(folder: Path, text: str) -> Path:
    path = folder / "lowcloud.toml"
    path.write_text(text)
    return path


def refusal(folder: Path, text: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load(write(folder, text), environ or {})
    return str(caught.value).removeprefix(f"{folder}/lowcloud.toml: ")


def test_nothing_needs_to_be_set():
    settings = load(None, {})
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8780)
    assert settings.server.max_body_bytes == 10 * 2**20
    assert settings.storage.url() == f"sqlite:///{settings.storage.data_dir}/lowcloud.db"


def test_flags_win_over_variables_which_win_over_the_file(tmp_path):
    config = write(tmp_path, "[server]\nport = 1\nhost = 'a'\nheartbeat_s = 3")
    environ = {"LOWCLOUD_SERVER__PORT": "2", "LOWCLOUD_SERVER__HOST": "b", "HOME": "/root"}
    server = load(config, environ, {"server": {"port": 3, "host": None}}).server
    assert (server.port, server.host, server.heartbeat_s) == (3, "b", 3.0)


def test_variables_hold_lists_sizes_truths_and_tables():
    environ = {
        "LOWCLOUD_SERVER__ALLOWED_HOSTS": "ai.example, ai.test",
        "LOWCLOUD_SERVER__MAX_BODY_BYTES": "2 MiB",
        "LOWCLOUD_EMBEDDINGS__ACCEPT_TOKEN_IDS": "true",
        "LOWCLOUD_MAP": '{"*": "@local/x"}',
    }
    settings = load(None, environ)
    assert settings.server.allowed_hosts == ("ai.example", "ai.test")
    assert settings.server.max_body_bytes == 2 * 2**20
    assert settings.embeddings.accept_token_ids
    assert settings.map == {"*": "@local/x"}


@pytest.mark.parametrize(
    ("text", "variable", "rates"),
    [
        ("300", "300", {"*": 300}),
        ('{ text-generation = 300, "*" = 3_000 }', "text-generation=300, *=3000", {"text-generation": 300, "*": 3_000}),
    ],
)
def test_requests_a_minute_are_one_number_or_a_table_by_task(tmp_path, text, variable, rates):
    config = write(tmp_path, f"[limits]\nneurons_per_day = 10_000\nrequests_per_minute = {text}")
    assert load(config, {}).limits == Limits(neurons_per_day=10_000, requests_per_minute=rates)
    environ = {"LOWCLOUD_LIMITS__REQUESTS_PER_MINUTE": variable, "LOWCLOUD_LIMITS__NEURONS_PER_DAY": "0.5"}
    assert load(None, environ).limits == Limits(neurons_per_day=0.5, requests_per_minute=rates)


def test_a_list_in_the_file_is_a_list(tmp_path):
    assert load(write(tmp_path, "[server]\ncors_origins = ['https://a.test']"), {}).server.cors_origins == (
        "https://a.test",
    )


def test_the_variables_of_the_command_line_are_no_settings():
    assert load(None, {"LOWCLOUD_TOKEN": "x", "LOWCLOUD_URL": "y", "LOWCLOUD_CONFIG": "z"}) == load(None, {})


def test_relative_paths_are_relative_to_the_file(tmp_path):
    (tmp_path / "model").mkdir()
    text = "[storage]\ndata_dir = 'state'\n[models.'@local/m']\npath = 'model'"
    settings = load(write(tmp_path, text), {})
    assert settings.storage.data_dir == tmp_path / "state"
    assert settings.models["@local/m"].path == tmp_path / "model"


def test_a_home_folder_is_expanded(tmp_path):
    settings = load(write(tmp_path, "[storage]\ndata_dir = '~/state'"), {})
    assert settings.storage.data_dir == Path.home() / "state"


def test_the_xdg_folders_are_the_defaults(monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    settings = load(None, {})
    assert settings.storage.data_dir == Path("/data/lowcloud")
    assert settings.local.cache_dir == Path.home() / ".cache" / "lowcloud"


def test_a_database_of_ones_own_is_used(tmp_path):
    settings = load(write(tmp_path, "[storage]\ndatabase_url = 'sqlite:////tmp/x.db'"), {})
    assert settings.storage.url() == "sqlite:////tmp/x.db"


def test_an_upstream_has_no_slash_at_its_end_and_its_token_is_not_shown(tmp_path):
    text = "[models.'@a']\nupstream = 'http://127.0.0.1:8081/v1/'\nupstream_token = 'secret'"
    settings = load(write(tmp_path, text), {})
    assert settings.models["@a"].upstream == "http://127.0.0.1:8081/v1"
    assert "secret" not in repr(settings)


def test_a_models_own_table_wins_over_local(tmp_path):
    text = "[local]\nthreads = 2\nmax_seqs = 8\n[models.'@local/m']\npath = '.'\nmax_seqs = 4\nkv_precision = 'u8'"
    settings = load(write(tmp_path, text), {})
    own = settings.local_for("@local/m")
    assert (own.threads, own.max_seqs, own.kv_precision) == (2, 4, "u8")
    assert settings.local_for("@local/other") == settings.local


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[server]\nprot = 1", "server.prot: unknown key; did you mean server.port?"),
        ("[server]\ndata_dir = 'x'", "server.data_dir: unknown key; did you mean storage.data_dir?"),
        ("[server]\nimage_url_ports = [0]", "server.image_url_ports.0: Input should be greater than or equal to 1"),
        ("[limits]\nneurons_per_day = 0", "limits.neurons_per_day: Input should be greater than 0"),
        (
            "[limits.requests_per_minute]\ntext-generation = 0",
            "limits.requests_per_minute.text-generation: Input should be greater than or equal to 1",
        ),
        (
            "[limits]\nrequests_per_minute = 'many'",
            "limits.requests_per_minute.*: Input should be a valid integer, unable to parse string as an integer",
        ),
        ("[srver]\nport = 1", "srver: unknown key; did you mean server?"),
        ("[zzz]", "zzz: unknown key"),
        ("[models.'@a']\npath = '.'\nprelod = true", "models.@a.prelod: unknown key; did you mean models.@a.preload?"),
        ("[models.'@a']\npath = '/none/here'", "models.@a.path: there is nothing at /none/here"),
        ("[models.'@a']\nkind = 'text'", "models.@a.path: required, or upstream for a remote model"),
        (
            "[models.'@a']\nupstream = 'ftp://x'",
            "models.@a.upstream: must be an http or https URL, such as http://127.0.0.1:8081/v1",
        ),
        (
            "[models.'@a']\nupstream = 'http://me:secret@x/v1'",
            "models.@a.upstream: must be a plain base URL; a token belongs to upstream_token_env",
        ),
        (
            "[models.'@a']\npath = '.'\nkind = 'embedding'\ndialect = 'hermes'",
            "models.@a.dialect: is a text model's, and this one is of kind embedding",
        ),
        (
            "[models.'@a']\nupstream = 'http://x/v1'\ndialect = 'hermes'",
            "models.@a.dialect: is a local model's, and this one is not",
        ),
        (
            "[models.'@a']\nupstream = 'http://x/v1'\nthreads = 2",
            "models.@a.threads: is a local model's, and this one is not",
        ),
        (
            "[models.'@a']\nupstream = 'http://x/v1'\npath = '.'",
            "models.@a.path: is a local model's, and this one is not",
        ),
        (
            "[models.'@a']\npath = '.'\nupstream_model = 'm'",
            "models.@a.upstream_model: is a remote model's, and this one is not",
        ),
        (
            "[models.'@a']\nupstream = 'http://x/v1'\nupstream_token = 't'\nupstream_token_env = 'T'",
            "models.@a.upstream_token: upstream_token_env is set too; one of them",
        ),
        ("[server]\nport = 'x'", "server.port: Input should be a valid integer, unable to parse string as an integer"),
        ("[server]\nport = 65536", "server.port: Input should be less than or equal to 65535"),
        ("[local]\nprefill_tokens = 33", "local.prefill_tokens: Input should be a multiple of 32"),
        ("[server]\nheartbeat_s = nan", "server.heartbeat_s: Input should be a finite number"),
        ("server = 3", "server: Input should be a valid dictionary or instance of Server"),
        (
            "[server]\nhost = '0.0.0.0'\ninsecure_loopback = true",
            "server.insecure_loopback: 0.0.0.0 is not a loopback address, so tokens are required",
        ),
    ],
)
def test_a_wrong_setting_is_refused_by_its_key(tmp_path, text, complaint):
    assert refusal(tmp_path, text) == complaint


def test_every_wrong_setting_is_named_at_once(tmp_path):
    lines = refusal(tmp_path, "[server]\nport = -1\n[logs]\nlevel = 'loud'").splitlines()
    assert [line.split(": ")[-2] for line in lines] == ["server.port", "logs.level"]


def test_a_wrong_variable_is_refused_by_its_name_and_key(tmp_path):
    complaint = refusal(tmp_path, "", {"LOWCLOUD_SERVER__PORT": "x"})
    assert complaint.startswith("LOWCLOUD_SERVER__PORT: server.port: ")


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////tmp/x.db",
        "postgresql://lowcloud:p%40ss@db.example.com:5432/lowcloud?sslmode=verify-full",
        "postgresql+psycopg://lowcloud@[::1]/lowcloud",
        "postgresql:///lowcloud?host=/run/postgresql",
        "postgresql://u:@localhost/x",
    ],
)
def test_a_database_is_sqlites_or_postgresqls(url):
    settings = load(None, {"LOWCLOUD_STORAGE__DATABASE_URL": url})
    assert settings.storage.url() == url
    assert "p%40ss" not in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:secret@h/x",
        "postgresql://u:secret@h",
        "postgresql://u:secret@h/",
        "postgresql://u:sec@ret@h/x",
        "postgresql://u:sec/ret@h/x",
        "postgresql://u:1/secret@h/x",
        "postgresql://u:sec?ret@h/x",
        "postgresql://u:sec#ret@h/x",
        "postgresql://u:secret@h/x#y",
        "sqlite:///x?mode=secret",
        "secret",
    ],
)
def test_any_other_database_is_refused_without_a_word_of_its_password(tmp_path, url):
    assert refusal(tmp_path, "", {"LOWCLOUD_STORAGE__DATABASE_URL": url}) == (
        "LOWCLOUD_STORAGE__DATABASE_URL: storage.database_url: must be sqlite:///PATH or "
        "postgresql://USER:PASSWORD@HOST/DATABASE, special characters percent-encoded"
    )


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        (
            "LOWCLOUD_SERVER_PORT",
            "1",
            "LOWCLOUD_SERVER_PORT: unknown variable; did you mean LOWCLOUD_SERVER__PORT?",
        ),
        ("LOWCLOUD_MAP", "[1]", "LOWCLOUD_MAP: must be a JSON object"),
        ("LOWCLOUD_MODELS", "{", "LOWCLOUD_MODELS: must be a JSON object"),
    ],
)
def test_a_variable_that_means_nothing_is_refused(tmp_path, variable, value, complaint):
    assert refusal(tmp_path, "", {variable: value}) == complaint


def test_a_section_that_is_no_table_is_refused_under_a_variable_too(tmp_path):
    assert refusal(tmp_path, "server = 1", {"LOWCLOUD_SERVER__PORT": "1"}) == "server: must be a table"


def test_a_file_that_is_missing_or_no_toml_is_refused_by_its_name(tmp_path):
    with pytest.raises(SettingsError, match=r"none\.toml: No such file or directory"):
        load(tmp_path / "none.toml", {})
    assert refusal(tmp_path, "[server").startswith("not TOML: ")


@given(st.sampled_from([key for key in keys() if ".ID" not in key]))
def test_every_key_can_be_set_by_a_variable(key):
    section, name = key.split(".")
    default = getattr(getattr(Settings(), section), name)
    items = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    value = "" if default in (None, {}) else items
    settings = load(None, {f"LOWCLOUD_{section}__{name}".upper(): value})
    assert getattr(getattr(settings, section), name) == default


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("listen = ':8781'", "binding.listen: must be unix:/PATH or HOST:PORT"),
        ("listen = 'a.example'", "binding.listen: must be unix:/PATH or HOST:PORT"),
        ("listen = '0.0.0.0:0'", "binding.listen: must be unix:/PATH or HOST:PORT"),
        ("listen = '0.0.0.0:65536'", "binding.listen: must be unix:/PATH or HOST:PORT"),
        ("listen = 'unix:a.sock'", "binding.listen: must be unix:/PATH or HOST:PORT"),
        (
            "listen = '[::]:8781'\nenabled = 'never'",
            "binding.listen: binding.enabled is never, so nothing would be answered there",
        ),
        ("account = 'mine'", "binding.account: String should match pattern '^([0-9a-f]{32})?$'"),
        ("secret = 'x'", "binding.secret: unknown key"),
        ("record = 'a'\nreplay = 'b'", "binding.record: binding.replay is set too; one of them"),
    ],
)
def test_a_binding_is_answered_at_an_address_on_an_account(tmp_path, text, complaint):
    assert refusal(tmp_path, f"[binding]\n{text}").startswith(complaint)


def test_bindings_are_answered_in_dev_and_where_there_is_a_listener_for_them(tmp_path):
    cases = {"": (True, False), "listen = 'unix:/a'": (True, True), "listen = '[::]:1'": (True, True)}
    cases |= {"enabled = 'always'": (True, True), "enabled = 'never'": (False, False)}
    for text, expected in cases.items():
        binding = load(write(tmp_path, f"[binding]\n{text}"), {"LOWCLOUD_BINDING_SECRET": "x"}).binding
        assert (binding.is_on(dev=True), binding.is_on(dev=False)) == expected


@pytest.mark.parametrize(
    ("host", "answer"),
    [("localhost", True), ("127.0.0.9", True), ("::1", True), ("[::1]", True), ("0.0.0.0", False), ("a.test", False)],
)
def test_loopback_is_what_only_this_machine_reaches(host, answer):
    assert is_loopback(host) is answer


def test_providers_can_be_elsewhere(tmp_path):
    found = load(write(tmp_path, "[gateway.base_urls]\nanthropic = 'https://a.test/x/'"), {}).gateway
    assert found.base_urls == {"anthropic": "https://a.test/x"}
    variable = {"LOWCLOUD_GATEWAY__BASE_URLS": "openai=http://127.0.0.1:1/v1, groq = https://g.test"}
    assert load(None, variable).gateway.base_urls == {"openai": "http://127.0.0.1:1/v1", "groq": "https://g.test"}


@pytest.mark.parametrize("url", ["ftp://a.test", "https://user:key@a.test", "https://a.test?key=1", "a.test"])
def test_a_providers_place_is_a_plain_url_and_no_message_repeats_it(tmp_path, url):
    told = refusal(tmp_path, f"[gateway.base_urls]\nopenai = '{url}'")
    assert told.startswith("gateway.base_urls.openai: must be")
    assert url not in told
