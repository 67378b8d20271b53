"""Connections over lines that take their time."""

import asyncio
from pathlib import Path

from orderer_world import STATUS, World, normal

ONE_WAY_SECONDS = 0.08
"""As between two continents: a TLS handshake takes several times as long."""


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        await asyncio.sleep(ONE_WAY_SECONDS)
        writer.write(data)
        await writer.drain()
    writer.close()


def test_a_far_nodes_handshake_is_waited_for(world: World, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world.orderer(tmp_path) as (node, _):
            lines: list[asyncio.StreamWriter] = []

            async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", node.port)
                lines.extend((writer, far_writer))
                await asyncio.gather(_carry(reader, far_writer), _carry(far_reader, writer))

            server = await asyncio.start_server(connect, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            async with world.client(port) as client:
                envelope = normal(world.signer()).SerializeToString()
                (answer,) = await client.broadcast([envelope])
                assert answer.status == STATUS.SUCCESS
            server.close()
            for line in lines:
                line.close()
                await line.wait_closed()

    asyncio.run(scenario())
