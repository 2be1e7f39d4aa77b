"""The peer of a clip's delivery: an HTTPS server that takes a PUT and keeps it.

A process of its own under uvicorn, as the service is. ``/object/…`` brings the bytes to the
service's own object store the way ingest does: streamed to disk and hashed meanwhile, put,
read back by checksum. ``/file/…`` syncs them to a file and is done.
"""

import asyncio
import hashlib
import os
import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from doorstep_cloud.store.objects import ObjectStore, connect_objects

ACCESS_NAME = "BENCH_STORE_ACCESS"
SECRET_NAME = "BENCH_STORE_SECRET"


def create_app(folder: Path, store: ObjectStore) -> Starlette:
    """Return the server, which keeps what is under way in ``folder``."""

    async def take(request: Request) -> tuple[Path, bytes]:
        path = folder / request.path_params["name"]
        digest = hashlib.sha256()
        with path.open("wb") as file:
            async for piece in request.stream():
                digest.update(piece)
                file.write(piece)
            if request.url.path.startswith("/file/"):
                file.flush()
                os.fsync(file.fileno())
        return path, digest.digest()

    async def put_object(request: Request) -> PlainTextResponse:
        path, digest = await take(request)
        key = f"benchmarks/{path.name}"
        await asyncio.to_thread(store.put_if_absent, key, path, digest)
        stored = await asyncio.to_thread(store.sha256_of, key)
        path.unlink()
        return PlainTextResponse(stored.hex(), status_code=201)

    async def put_file(request: Request) -> PlainTextResponse:
        _, digest = await take(request)
        return PlainTextResponse(digest.hex(), status_code=201)

    return Starlette(
        routes=[
            Route("/object/{name}", put_object, methods=["PUT"]),
            Route("/file/{name}", put_file, methods=["PUT"]),
        ]
    )


def main(options: list[str]) -> None:
    """Serve until killed.

    Args:
        options: Port, certificate, its key, a folder, the store's endpoint and bucket.
    """
    port, certificate, key, folder, endpoint, bucket = options
    store = connect_objects(
        endpoint=endpoint,
        bucket=bucket,
        access_key=os.environ[ACCESS_NAME],
        secret_key=os.environ[SECRET_NAME],
        connections=4,
    )
    uvicorn.run(
        create_app(Path(folder), store),
        host="127.0.0.1",
        port=int(port),
        ssl_certfile=certificate,
        ssl_keyfile=key,
        log_level="warning",
    )


if __name__ == "__main__":
    main(sys.argv[1:])
