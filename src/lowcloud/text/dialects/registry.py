"""Which dialect a model speaks: named by its settings, or recognised from its chat template."""

from lowcloud.text.dialects import (
    deepseek,
    deepseek_dsml,
    gemma3,
    gemma4,
    generic,
    glm,
    granite,
    harmony,
    hermes,
    kimi,
    kimi_k3,
    llama,
    llama_pythonic,
    mistral,
    phi4,
    qwen3_xml,
)
from lowcloud.text.dialects.dialect import Dialect

# The first that recognises a template counts, so what looks like a part of another stands before it.
DIALECTS: tuple[Dialect, ...] = (
    qwen3_xml.DIALECT,
    glm.GLM_45,
    glm.GLM_47,
    deepseek.DEEPSEEK_V3,
    deepseek.DEEPSEEK_V31,
    deepseek_dsml.DEEPSEEK_V41,
    deepseek_dsml.DEEPSEEK_V4,
    deepseek_dsml.DEEPSEEK_V32,
    hermes.DIALECT,
    kimi.DIALECT,
    llama.DIALECT,
    llama_pythonic.DIALECT,
    mistral.MARKED_CALLS,
    mistral.LISTED_CALLS,
    granite.DIALECT,
    phi4.DIALECT,
    harmony.DIALECT,
    kimi_k3.DIALECT,
    gemma4.DIALECT,
    gemma3.DIALECT,
    generic.DIALECT,
)
NAMES = tuple(dialect.name for dialect in DIALECTS)


def recognised(template: str) -> Dialect | None:
    """The dialect of a chat template."""
    return next((dialect for dialect in DIALECTS if dialect.recognises(template)), None)


def fallback() -> Dialect:
    """The dialect of a template that no dialect recognises."""
    return generic.DIALECT


def named(name: str) -> Dialect:
    """The dialect of this name. Raises KeyError."""
    return {dialect.name: dialect for dialect in DIALECTS}[name]
