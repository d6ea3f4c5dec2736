"""How many tokens a request may have, before an engine has counted them: a quarter of its characters. Pure.

Embedders, rerankers and classifiers count while they work, and what waits for them is bounded in tokens too.
"""

from lowcloud.core.messages import Text
from lowcloud.core.requests import Classify, Embed, Rerank

_CHARACTERS_A_TOKEN = 4


def rough_tokens(request: Embed | Rerank | Classify) -> int:
    """Token ids count as they are; a reranker reads the query with each document."""
    if isinstance(request, Embed):
        return sum(_of(item.text) if isinstance(item, Text) else len(item.ids) for item in request.inputs)
    if isinstance(request, Rerank):
        return sum(map(_of, request.documents)) + len(request.documents) * _of(request.query)
    return sum(map(_of, request.inputs))


def _of(text: str) -> int:
    return 1 + len(text) // _CHARACTERS_A_TOKEN
