"""The sections of ``lowcloud.toml``, and what each key may be."""

import ipaddress
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

_SQLITE = r"sqlite:///[^:?]+"
_POSTGRES = r"postgresql(\+psycopg)?://([^@/?#]*@)?([\w.-]*|\[[\da-fA-F:.]+\])(:\d+)?/[^@/?#]+(\?[^#]*)?"
_DATABASE = re.compile(f"({_SQLITE}|{_POSTGRES})?")
_LISTENER = re.compile(r"(unix:/[^\0]+|(\[[\da-fA-F:.]+\]|[\w.-]+):(?P<port>[1-9]\d{0,4}))?")

Precision: TypeAlias = Literal["auto", "f32"]
KvPrecision: TypeAlias = Literal["auto", "bf16", "f32", "u8"]
Paged: TypeAlias = Literal["auto", "never"]


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _parts(value: object) -> object:
    """A comma-separated string as a list, so that a variable can hold one."""
    return _split(value) if isinstance(value, str) else value


def _path(value: object) -> object:
    return Path(value).expanduser() if isinstance(value, str) and value else value


def _or_none(value: object) -> object:
    """An empty variable as None."""
    return None if value == "" else value


def _rates(value: object) -> object:
    """One number, or ``text-generation=300, *=1000`` in a variable, as a table by task."""
    if isinstance(value, str) and (not value or "=" in value):
        pairs = (part.partition("=") for part in _split(value))
        return {name.strip(): number.strip() for name, _, number in pairs}
    return value if isinstance(value, dict) else {"*": value}


def _pairs(value: object) -> object:
    """``openai=https://a.example/v1, anthropic=https://b.example`` in a variable, as a table."""
    if not isinstance(value, str):
        return value
    pairs = (part.partition("=") for part in _split(value))
    return {name.strip(): url.strip() for name, _, url in pairs}


def _base_of(url: str, hint: str = "") -> str:
    """A server's base, without a slash at its end. Raises ValueError, which doesn't repeat the URL."""
    parts = urlsplit(url)
    if parts.port == 0 or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https URL, such as http://127.0.0.1:8081/v1")
    if "@" in parts.netloc or parts.query or parts.fragment or not url.isascii() or not url.isprintable():
        raise ValueError(f"must be a plain base URL{hint}")
    return url.rstrip("/")


BaseUrls: TypeAlias = Annotated[dict[str, Annotated[str, AfterValidator(_base_of)]], BeforeValidator(_pairs)]
Names: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_parts)]
Folder: TypeAlias = Annotated[Path, BeforeValidator(_path)]
Ports: TypeAlias = Annotated[tuple[Annotated[int, Field(ge=1, le=65_535)], ...], BeforeValidator(_parts)]
Seconds: TypeAlias = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Size: TypeAlias = Annotated[ByteSize, Field(ge=0)]
Rates: TypeAlias = Annotated[dict[str, Annotated[int, Field(ge=1)]], BeforeValidator(_rates)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Server(_Section):
    """Where it listens, who may call, and the bounds of one HTTP request."""

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(8780, ge=0, le=65_535)
    allowed_hosts: Names = ()
    cors_origins: Names = ()
    insecure_loopback: bool = False
    max_body_bytes: Size = ByteSize(10 * 2**20)
    discard_bytes: Size = ByteSize(64 * 2**20)
    body_timeout_s: Seconds = 30.0
    write_timeout_s: Seconds = 60.0
    heartbeat_s: Seconds = 10.0
    shutdown_grace_s: Seconds = 30.0
    image_urls: bool = False
    image_url_ports: Ports = (80, 443)

    @model_validator(mode="after")
    def _lifted_on_loopback_only(self) -> "Server":
        if self.insecure_loopback and not is_loopback(self.host):
            raise ValueError(f"insecure_loopback: {self.host} is not a loopback address, so tokens are required")
        return self


class Storage(_Section):
    """Where state lives."""

    data_dir: Folder = Field(default_factory=lambda: _xdg("XDG_DATA_HOME", ".local/share"))
    database_url: SecretStr = SecretStr("")
    migrate_at_start: bool = True
    stored_completions: int = Field(1_000, ge=1, le=1_000_000)
    stored_bytes: Size = ByteSize(256 * 2**20)
    stored_days: int = Field(30, ge=1, le=36_500)
    usage_days: int = Field(400, ge=1, le=36_500)

    @field_validator("database_url")
    @classmethod
    def _is_known(cls, url: SecretStr) -> SecretStr:
        if not _DATABASE.fullmatch(url.get_secret_value()):  # no message repeats it, or part of its password
            raise ValueError(
                "must be sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE, special characters percent-encoded"
            )
        return url

    def url(self) -> str:
        """The database: ``database_url``, or the data folder's own file. It may hold a password."""
        return self.database_url.get_secret_value() or f"sqlite:///{self.data_dir / 'lowcloud.db'}"


class Serving(_Section):
    """Waiting in front of models."""

    load_wait_s: Seconds = 120.0
    convert_wait_s: Seconds = 600.0
    request_deadline_s: Seconds = 600.0
    max_queued_requests: int = Field(256, ge=1)
    max_queued_tokens: int = Field(262_144, ge=1)
    stand_ins: Literal["auto", "always", "never"] = "auto"


class Jobs(_Section):
    """What is queued to be run later."""

    concurrency: int = Field(8, ge=1, le=1024)
    deadline_s: Seconds = 3_600.0
    lease_s: float = Field(30.0, ge=1, le=3_600, allow_inf_nan=False)
    kept_hours: int = Field(48, ge=1, le=8_760)
    account_requests: int = Field(10_000, ge=1)
    account_bytes: Size = ByteSize(2**30)


class Responses(_Section):
    """The Responses API. ``tokens_that_ignore``: ids of tokens for which unsupported tools are left out."""

    kept_days: int = Field(30, ge=1, le=3_650)
    account_bytes: Size = ByteSize(2**30)
    conversation_items: int = Field(10_000, ge=1)
    ignore_unsupported_tools: bool = False
    tokens_that_ignore: Names = ()


class Gateway(_Section):
    """The AI Gateway. ``allowed_hosts``: hosts in this network that custom providers may be at; ``base_urls``: where
    providers are, by slug, in the place of where we know them; ``prices``: a file in the place of ours."""

    allow_unauthenticated: bool = False
    allowed_hosts: Names = ()
    base_urls: BaseUrls = Field(default_factory=dict)
    connections: int = Field(1024, ge=1, le=65_535)
    redis_url: str = Field("", pattern=r"^((rediss?|valkeys?)://\S+|unix:/\S+)?$")
    cache_memory_bytes: Size = ByteSize(64 * 2**20)
    cache_bytes: Size = ByteSize(2**30)
    spool_bytes: Size = ByteSize(512 * 2**20)
    log_days: int = Field(30, ge=1, le=3_650)
    prices: Annotated[Folder | None, BeforeValidator(_or_none)] = None


class Local(_Section):
    """The local engine. A model's own table may set these again, all but ``cache_dir``."""

    cache_dir: Folder = Field(default_factory=lambda: _xdg("XDG_CACHE_HOME", ".cache"))
    kv_cache_bytes: Size = ByteSize(0)
    swap_bytes: Size = ByteSize(2**30)
    kv_precision: KvPrecision = "auto"
    precision: Precision = "auto"
    paged: Paged = "auto"
    prefix_cache: bool = True
    threads: int = Field(0, ge=0, le=1024)
    max_seqs: int = Field(64, ge=1, le=1024)
    prefill_tokens: int = Field(256, ge=32, le=8192, multiple_of=32)
    speculation: bool = False
    encode_tokens: int = Field(2048, ge=1)
    encode_wait_s: float = Field(0.002, ge=0, le=1, allow_inf_nan=False)


class Embeddings(_Section):
    """What ``/embeddings`` accepts."""

    accept_token_ids: bool = False


class Limits(_Section):
    """What an account may use; None, and a task that isn't named: no limit. ``*`` is every task that isn't named."""

    neurons_per_day: Annotated[float | None, BeforeValidator(_or_none)] = Field(None, gt=0, allow_inf_nan=False)
    requests_per_minute: Rates = {}


class Binding(_Section):
    """The ``env.AI`` of Workers. ``listen``: ``unix:/PATH`` or ``HOST:PORT``, a listener for bindings alone.

    ``account``: whose account their calls run on; empty: that of ``dev``. ``record``: the folder that calls are written
    to; ``replay``: the one that they are answered from.
    """

    enabled: Literal["auto", "always", "never"] = "auto"
    listen: str = ""
    account: str = Field("", pattern="^([0-9a-f]{32})?$")
    record: Annotated[Folder | None, BeforeValidator(_or_none)] = None
    replay: Annotated[Folder | None, BeforeValidator(_or_none)] = None

    @field_validator("listen")
    @classmethod
    def _is_an_address(cls, address: str) -> str:
        found = _LISTENER.fullmatch(address)
        if not found or int(found["port"] or 0) > 65_535:
            raise ValueError("must be unix:/PATH or HOST:PORT")
        return address

    @model_validator(mode="after")
    def _listens_if_enabled(self) -> "Binding":
        if self.listen and self.enabled == "never":
            raise ValueError("listen: binding.enabled is never, so nothing would be answered there")
        if self.record and self.replay:
            raise ValueError("record: binding.replay is set too; one of them")
        return self

    def is_on(self, *, dev: bool) -> bool:
        """``auto``: in ``lowcloud dev``, and where there is a listener for them."""
        return self.enabled == "always" or (self.enabled == "auto" and (dev or bool(self.listen)))


class Logs(_Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class ModelDefaults(_Section):
    """Sampling and length when a caller names none."""

    temperature: float | None = Field(None, ge=0, le=5)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, gt=0)
    max_tokens: int | None = Field(None, ge=1)


class Model(_Section):
    """One model: local, with a ``path``, or remote, with an ``upstream``.

    What is None is ``local``'s, or what the model's files say.
    """

    path: Folder | None = None
    upstream: str | None = None
    upstream_model: str = ""
    upstream_token: SecretStr | None = None
    upstream_token_env: str = ""
    upstream_connect_s: Seconds = 10.0
    upstream_first_byte_s: Seconds = 300.0
    upstream_between_bytes_s: Seconds = 60.0
    upstream_connections: int = Field(64, ge=1, le=4096)
    upstream_length_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    upstream_guided: bool = False
    upstream_tools: Literal["native", "words"] = "native"
    kind: Literal["text", "embedding", "rerank"] = "text"
    preload: bool = False
    ignore_unsupported_tools: bool = False
    dialect: str = ""
    description: str = ""
    context_length: int = Field(0, ge=0)
    dimensions: int | None = Field(None, ge=1)
    matryoshka: tuple[int, ...] = ()
    defaults: ModelDefaults = ModelDefaults()
    kv_cache_bytes: Size | None = None
    swap_bytes: Size | None = None
    kv_precision: KvPrecision | None = None
    precision: Precision | None = None
    paged: Paged | None = None
    prefix_cache: bool | None = None
    threads: int | None = Field(None, ge=0, le=1024)
    max_seqs: int | None = Field(None, ge=1, le=1024)
    prefill_tokens: int | None = Field(None, ge=32, le=8192, multiple_of=32)
    speculation: bool | None = None
    encode_tokens: int | None = Field(None, ge=1)
    encode_wait_s: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)

    @field_validator("upstream")
    @classmethod
    def _base(cls, url: str | None) -> str | None:
        return None if url is None else _base_of(url, "; a token belongs to upstream_token_env")

    @model_validator(mode="after")
    def _is_local_or_remote(self) -> "Model":
        if self.upstream is None and self.path is None:
            raise ValueError("path: required, or upstream for a remote model")
        if self.path is not None and not self.path.exists():
            raise ValueError(f"path: there is nothing at {self.path}")
        foreign = (
            {"path", "dialect", *Local.model_fields}
            if self.upstream
            else {key for key in UPSTREAM if key != "upstream"}
        )
        for key in sorted(self.model_fields_set & foreign):
            raise ValueError(f"{key}: is a {'local' if self.upstream else 'remote'} model's, and this one is not")
        if self.dialect and self.kind != "text":
            raise ValueError(f"dialect: is a text model's, and this one is of kind {self.kind}")
        if self.upstream_token and self.upstream_token_env:
            raise ValueError("upstream_token: upstream_token_env is set too; one of them")
        return self


UPSTREAM = tuple(key for key in Model.model_fields if key.startswith("upstream"))


class Settings(_Section):
    """All settings. ``models`` and ``map`` go by model id; ``map`` also knows ``*``, any other id."""

    server: Server = Server()
    storage: Storage = Field(default_factory=Storage)
    serving: Serving = Serving()
    jobs: Jobs = Jobs()
    responses: Responses = Responses()
    gateway: Gateway = Gateway()
    local: Local = Field(default_factory=Local)
    embeddings: Embeddings = Embeddings()
    limits: Limits = Limits()
    binding: Binding = Binding()
    logs: Logs = Logs()
    models: dict[Annotated[str, Field(min_length=1)], Model] = {}
    map: dict[Annotated[str, Field(min_length=1)], Annotated[str, Field(min_length=1)]] = {}

    def local_for(self, model_id: str) -> Local:
        """``local`` with what the table of ``model_id``, if it has one, sets again."""
        model = self.models.get(model_id)
        if model is None:
            return self.local
        again = model.model_dump(include=set(Local.model_fields), exclude_none=True)
        return self.local.model_copy(update=again)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def keys() -> tuple[str, ...]:
    """Every setting as ``section.key``; those of a model as ``models.ID.key``."""
    return tuple(_keys(Settings, ""))


def _keys(section: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        kind = Model if name == "models" else field.annotation
        path = f"{prefix}{name}"
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _keys(kind, f"{path}.ID." if kind is Model else f"{path}.")
        else:
            yield f"{path}.ID" if name == "map" else path


def _xdg(variable: str, default: str) -> Path:
    root = os.environ.get(variable, "")
    return (Path(root) if root.startswith("/") else Path.home() / default) / "lowcloud"
