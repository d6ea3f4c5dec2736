"""Every provider: where it is, where its key stands, and in which form it answers. Pure.

Source: Cloudflare docs, AI Gateway › Providers, for the slugs and what of a provider's URL they stand for; each
provider's own reference for hosts, headers and its OpenAI-compatible base. Read 2026-11.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal, TypeAlias
from urllib.parse import unquote

from lowcloud.core.errors import BadRequest
from lowcloud.gateway.call import MAX_NAME_CHARS, OURS, Call, Headers
from lowcloud.gateway.errors import InvalidProvider
from lowcloud.storage.provider_keys import CUSTOM

MAX_PATH_CHARS = 4096
_MAX_LAYERS = 3  # of percent signs around one another
UsageForm: TypeAlias = Literal["openai", "anthropic", "google", "cohere", "none"]


@dataclass(frozen=True, slots=True)
class Credential:
    """Where a provider's key stands: after ``scheme`` in ``header``; clients may send it as ``parameter`` too."""

    header: str = "authorization"
    scheme: str = "Bearer"
    parameter: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Paths that begin with ``pattern`` are at ``base_url``, which has the pattern's groups by name."""

    pattern: re.Pattern[str]
    base_url: str


@dataclass(frozen=True, slots=True)
class Provider:
    """``base_url`` has no slash at its end; it is for the paths that none of ``places`` takes, '' for none of them.
    ``version`` goes before a path that names none.

    ``openai_base`` is where ``chat/completions`` and ``embeddings`` are in its paths, as '' or 'v1/'; None for one that
    doesn't speak OpenAI's form. ``form`` says how it tells its usage.
    """

    slug: str
    base_url: str
    form: UsageForm
    credential: Credential = field(default_factory=Credential)
    openai_base: str | None = None
    version: str = ""
    places: tuple[Place, ...] = ()
    is_custom: bool = False
    is_moved: bool = False  # by the operator, to wherever that may be


@dataclass(frozen=True, slots=True)
class CustomProvider:
    """What an account calls ``custom-{slug}``."""

    slug: str
    base_url: str


_AZURE = Place(
    re.compile(
        r"(?P<resource>[A-Za-z0-9][A-Za-z0-9-]{0,63})/(?P<deployment>[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63})(?:/|\Z)"
    ),
    "https://{resource}.openai.azure.com/openai/deployments/{deployment}",
)
_BEDROCK = Place(
    re.compile(r"(?P<service>bedrock(?:-agent)?-runtime)/(?P<region>[a-z]{2}(?:-[a-z]{2,9}){1,2}-[0-9])(?:/|\Z)"),
    "https://{service}.{region}.amazonaws.com",
)
_VERTEX = "(?=v1(?:beta1)?/projects/[^/]{1,64}/locations/"
_VERTEX_GLOBAL = Place(re.compile(_VERTEX + "global/)"), "https://aiplatform.googleapis.com")
_VERTEX_REGION = Place(
    re.compile(_VERTEX + "(?P<region>[a-z]{2,20}-[a-z]{2,20}[0-9]{1,2})/)"),
    "https://{region}-aiplatform.googleapis.com",
)
_BASETEN_MODEL = Place(
    re.compile(r"model/(?P<model>[A-Za-z0-9]{1,32})(?:/|\Z)"), "https://model-{model}.api.baseten.co/production/predict"
)
_FAL_HOST = Place(re.compile(r"(?P<host>(?:[a-z0-9-]{1,32}\.){1,2}fal\.(?:run|ai))(?:/|\Z)"), "https://{host}")
_X_API_KEY = Credential("x-api-key", "")
_TABLE = (
    Provider(OURS, "", "openai", openai_base="v1/"),
    Provider("openai", "https://api.openai.com/v1", "openai", openai_base=""),
    Provider("anthropic", "https://api.anthropic.com", "anthropic", _X_API_KEY),
    Provider("azure-openai", "", "openai", Credential("api-key", ""), places=(_AZURE,)),
    Provider("aws-bedrock", "", "none", places=(_BEDROCK,)),
    Provider(
        "google-ai-studio",
        "https://generativelanguage.googleapis.com",
        "google",
        Credential("x-goog-api-key", "", "key"),
    ),
    Provider("google-vertex-ai", "", "google", places=(_VERTEX_GLOBAL, _VERTEX_REGION)),
    Provider("huggingface", "https://router.huggingface.co/hf-inference/models", "none"),
    Provider("replicate", "https://api.replicate.com/v1", "none"),
    Provider("groq", "https://api.groq.com/openai/v1", "openai", openai_base=""),
    Provider("cohere", "https://api.cohere.com", "cohere", openai_base="compatibility/v1/", version="v1/"),
    Provider("mistral", "https://api.mistral.ai", "openai", openai_base="v1/"),
    Provider("grok", "https://api.x.ai", "openai", openai_base="v1/", version="v1/"),
    Provider("openrouter", "https://openrouter.ai/api", "openai", openai_base="v1/", version="v1/"),
    Provider("deepseek", "https://api.deepseek.com", "openai", openai_base=""),
    Provider("cerebras", "https://api.cerebras.ai/v1", "openai", openai_base=""),
    Provider("cartesia", "https://api.cartesia.ai", "none", _X_API_KEY),
    Provider("elevenlabs", "https://api.elevenlabs.io", "none", Credential("xi-api-key", "")),
    Provider("perplexity-ai", "https://api.perplexity.ai", "openai", openai_base=""),
    Provider("fireworks", "https://api.fireworks.ai/inference/v1", "openai", openai_base=""),
    Provider(
        "baseten",
        "https://inference.baseten.co",
        "openai",
        openai_base="v1/",
        version="v1/",
        places=(_BASETEN_MODEL,),
    ),
    Provider("parallel", "https://api.parallel.ai", "openai", _X_API_KEY, openai_base=""),
    Provider("deepgram", "https://api.deepgram.com", "none", Credential(scheme="Token")),
    Provider("fal", "https://fal.run", "none", Credential(scheme="Key"), places=(_FAL_HOST,)),
    Provider("ideogram", "https://api.ideogram.ai", "none", Credential("api-key", "")),
    Provider("adobe-firefly", "https://firefly-api.adobe.io", "none"),
)
PROVIDERS: Mapping[str, Provider] = {each.slug: each for each in _TABLE}


def moved(base_urls: Mapping[str, str]) -> Mapping[str, Provider]:
    """The table, with providers of these slugs at other base URLs. Raises KeyError for a slug that isn't in it, and
    for our own models', which are nowhere else.

    A moved one has one base for all its paths, as in front of a proxy.
    """
    others = {
        slug: replace(PROVIDERS[slug], base_url=url.rstrip("/"), places=(), is_moved=True)
        for slug, url in base_urls.items()
    }
    if OURS in others:
        raise KeyError(OURS)
    return {**PROVIDERS, **others}


def provider_of(slug: str, custom: Mapping[str, CustomProvider], table: Mapping[str, Provider] = PROVIDERS) -> Provider:
    """``custom`` is by slug, without ``custom-``. Raises InvalidProvider."""
    found = table.get(slug)
    if found is not None:
        return found
    own = custom.get(slug.removeprefix(CUSTOM)) if slug.startswith(CUSTOM) else None
    if own is None:
        raise InvalidProvider()
    return _custom_one(slug, own.base_url.rstrip("/"))


@lru_cache(maxsize=256)
def _custom_one(slug: str, base_url: str) -> Provider:
    openai_base = "" if _VERSIONED.search(base_url) else "v1/"
    return Provider(slug, base_url, "openai", openai_base=openai_base, is_custom=True)


def url_of(provider: Provider, path: str, query: str) -> str:
    """Where a call goes, as it is to be sent: nothing in it is quoted again. ``path`` stays below the base.

    Raises BadRequest for a path that may lead elsewhere, or that lacks what the provider's address is made from.
    """
    path = path.lstrip("/")
    if len(path) > MAX_PATH_CHARS or not _is_plain(path):
        raise BadRequest("The path of a call to a provider must not lead out of it.", param="path")
    if not _QUERY.fullmatch(query):
        raise BadRequest("The query of a call has characters that must be percent-encoded.", param="query")
    base, rest = _placed(provider, path)
    url = f"{base}/{rest}" if rest else base
    return f"{url}?{query}" if query else url


def aimed(call: Call) -> Call:
    """The call as fal's own client means it, which sends a proxy the whole URL in a header: its host goes before the
    path, unless it is fal.run. Raises BadRequest for a URL that isn't fal's. Other providers' calls stay as they are.
    """
    url = call.header(FAL_TARGET) if call.provider == "fal" else None
    if url is None:
        return call
    found = _FAL_URL.fullmatch(url)
    if found is None:
        raise BadRequest(f"{FAL_TARGET}: a URL at https://fal.run or another host of fal is needed.", param=FAL_TARGET)
    headers = tuple(each for each in call.headers if each[0] != FAL_TARGET)
    return call._replace(
        path=(found["host"] + "/" if found["host"] else "") + found["path"],
        query=found["query"] or "",
        headers=headers,
    )


FAL_TARGET = "x-fal-target-url"
_FAL_URL = re.compile(
    r"https://(?:fal\.run|(?P<host>(?:[a-z0-9-]{1,32}\.){1,2}fal\.(?:run|ai)))/(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?"
)


def brings_key(provider: Provider, headers: Headers, query: str) -> bool:
    """Whether a client sends a key for the provider, where its own clients or those of another one put it."""
    where = provider.credential
    if any(name in _KEY_HEADERS and _without_scheme(value) for name, value in headers):
        return True
    return bool(where.parameter and _parameter(query, where.parameter))


def credentials_of(headers: Headers) -> tuple[str, ...]:
    """All that may decide who asks, and so what is answered: the headers whose names say that they are a key, or are
    too long to be read."""
    return tuple(sorted(f"{name}: {value}" for name, value in headers if len(name) > MAX_NAME_CHARS or _says_who(name)))


def with_key(provider: Provider, headers: Headers, key: str) -> Headers:
    """The headers with ``key``, and without any that the client sent for it."""
    where = provider.credential
    value = f"{where.scheme} {key}" if where.scheme else key
    return (*(each for each in headers if each[0] not in _KEY_HEADERS), (where.header, value))


_PATH, _QUERY = re.compile(r'[!"$->@-[\]-~]*'), re.compile(r'[!"$-[\]-~]*')  # printable, without ? # \ and without # \
_GOES_UP = re.compile(r"(?:^|[/\\;])\.\.?(?:[/\\;]|\Z)")
_CONTROL = re.compile(r"[\x00-\x1f\\\x7f]")
_SCHEMES = frozenset({"bearer", "token", "key", "api-key"})
_KEY_HEADERS = frozenset({"authorization", "x-api-key", "api-key", *(each.credential.header for each in _TABLE)})
_WHO = re.compile("auth|key|token|secret|credential|passw|session|signature")
_VERSIONED = re.compile(r"/v[0-9]+\Z")


def _placed(provider: Provider, path: str) -> tuple[str, str]:
    """The base, and the rest of the path below it."""
    for place in provider.places:
        found = place.pattern.match(path)
        if found is not None:
            return place.base_url.format(**found.groupdict()), path[found.end() :]
    if not provider.base_url:
        raise BadRequest(f"This path of {provider.slug} doesn't say where it leads.", param="path")
    has_version = re.match(r"(?:v[0-9]|compatibility/)", path) is not None
    return provider.base_url, path if has_version else provider.version + path


@lru_cache(maxsize=256)  # most calls go where others went
def _is_plain(path: str) -> bool:
    """Whether no reader, however often it decodes, finds a segment that goes up, a query or a fragment."""
    if not _PATH.fullmatch(path):
        return False
    for _ in range(_MAX_LAYERS):
        if _GOES_UP.search(path):
            return False
        decoded = unquote(path)
        if decoded == path:
            return not _CONTROL.search(path)
        path = decoded
    return False


def _without_scheme(value: str) -> str:
    scheme, _, rest = value.partition(" ")
    return rest.strip() if scheme.lower() in _SCHEMES else value.strip()


@lru_cache(maxsize=256)
def _says_who(header: str) -> bool:
    return _WHO.search(header) is not None and header not in ("idempotency-key", "x-idempotency-key")


def _parameter(query: str, name: str) -> str:
    pairs = (pair.partition("=") for pair in query.split("&"))
    return next((unquote(value) for key, _, value in pairs if key == name), "")
