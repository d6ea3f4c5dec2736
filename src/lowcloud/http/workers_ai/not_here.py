"""What of the native API isn't here yet, fine-tunes and Markdown: its lists are empty, the rest is refused by name."""

from starlette.responses import Response
from starlette.types import ASGIApp

from lowcloud.core.errors import LoraUnsupported, Unsupported
from lowcloud.http.call import Call
from lowcloud.http.workers_ai.envelope import enveloped


async def nothing(_call: Call) -> ASGIApp:
    """An empty list."""
    return Response(enveloped(b"[]"), 200, {}, "application/json")


async def adapter(_call: Call) -> ASGIApp:
    """A fine-tune, or its files."""
    raise LoraUnsupported("finetunes: no model here takes an adapter yet.")


async def conversion(_call: Call) -> ASGIApp:
    """Files to convert."""
    raise Unsupported("toMarkdown: there is no converter here yet.")
