"""Run a server in a network namespace of its own, joined to loopback by unix sockets alone.

Argo's controller and server listen on every interface and cannot be told otherwise. In a
namespace with nothing but a loopback, "every interface" reaches nobody. A unix socket is a file
and so crosses the wall: one forwarder stands on each side of it.

    python forward.py LISTEN=TARGET... [-- COMMAND...]

LISTEN and TARGET are each a loopback port or the path of a unix socket.
"""

import asyncio
import fcntl
import socket
import struct
import subprocess
import sys

# The kernel kills what follows when the thread that started it ends, however it ends.
DIE_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL", "--"]


def namespace_command() -> list[str] | None:
    """Return the command prefix that runs a command in a network namespace, or None."""
    for prefix in (["unshare", "-n"], ["unshare", "-r", "-n"]):
        try:
            if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
                return [*prefix, *DIE_WITH_PARENT]  # again: a user namespace clears it
        except FileNotFoundError:
            return None
    return None


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        up = struct.pack("16sh14x", b"lo", 0x1 | 0x40)  # IFF_UP | IFF_RUNNING
        fcntl.ioctl(any_socket, 0x8914, up)  # SIOCSIFFLAGS


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()


async def _forward(listen: str, target: str) -> None:
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if target.isdigit():
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(target))
            else:
                far_reader, far_writer = await asyncio.open_unix_connection(target)
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
            far_writer.close()
        except OSError:
            pass  # The caller sees its connection closed, as from any server that is not up.
        writer.close()

    if listen.isdigit():
        await asyncio.start_server(carry, "127.0.0.1", int(listen))
    else:
        await asyncio.start_unix_server(carry, listen)


async def _main(arguments: list[str]) -> int:
    at = arguments.index("--") if "--" in arguments else len(arguments)
    pairs, command = arguments[:at], arguments[at + 1 :]
    if command:
        _loopback_up()
    for pair in pairs:
        await _forward(*pair.split("=", 1))
    if not command:
        await asyncio.Event().wait()
    child = await asyncio.create_subprocess_exec(*DIE_WITH_PARENT, *command)
    return await child.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(_main(sys.argv[1:])))
