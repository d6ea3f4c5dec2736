"""A bare pass-through: Starlette and aiohttp on uvicorn, nothing but bytes. What this stack can do at best."""

import sys

import aiohttp
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

UPSTREAM = f"http://127.0.0.1:{sys.argv[2]}"
sessions: list[aiohttp.ClientSession] = []


async def passed(request: Request) -> StreamingResponse:
    """The upstream's answer as it comes."""
    if not sessions:
        sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False))
    headers = {"content-type": "application/json", "authorization": request.headers.get("authorization", "")}
    reply = await sessions[0].post(UPSTREAM + request.url.path, data=await request.body(), headers=headers)

    async def pieces():
        async for piece in reply.content.iter_any():
            yield piece

    kept = {name: value for name, value in reply.headers.items() if name.lower() in ("content-type", "content-length")}
    return StreamingResponse(pieces(), reply.status, kept)


async def health(_request: Request) -> PlainTextResponse:
    """It listens."""
    return PlainTextResponse("ok")


routes = [Route("/healthz", health), Route("/{path:path}", passed, methods=["POST"])]
uvicorn.run(Starlette(routes=routes), port=int(sys.argv[1]), log_level="error", access_log=False, loop="uvloop")
