"""Forward TCP connections and delay what passes, in both directions.

python -m performance.prove.slow_proxy LISTEN_PORT TARGET_PORT MILLISECONDS

It ends when its standard input is closed, as it is when the process that started it ends.
"""

import asyncio
import sys
from contextlib import suppress

import uvloop

from lab.stack.config import HOST

CHUNK = 65536


async def forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float
) -> None:
    """Write what is read, later by a number of seconds, in its order."""
    loop = asyncio.get_running_loop()
    with suppress(ConnectionError):
        while chunk := await reader.read(CHUNK):
            loop.call_later(seconds, writer.write, chunk)
    loop.call_later(seconds, writer.close)


async def serve(listen: int, target: int, seconds: float) -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            api_reader, api_writer = await asyncio.open_connection(HOST, target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            forward(reader, api_writer, seconds), forward(api_reader, writer, seconds)
        )

    async with await asyncio.start_server(connect, HOST, listen):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000))
