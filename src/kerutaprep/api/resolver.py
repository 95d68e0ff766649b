"""Name look-ups that nobody has to wait for: a resolver that hangs delays neither a time-out nor the end of a run."""

from __future__ import annotations

import socket
from functools import partial

import anyio
import anyio.to_thread
from aiohttp.abc import AbstractResolver, ResolveResult


class Resolver(AbstractResolver):
    """The system's resolver, in a thread that is left alone where the look-up takes too long.

    aiohttp's own works in threads that the event loop waits for at its end.

    Args:
        timeout: seconds for one look-up.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Look a name up (getaddrinfo(3)).

        Raises:
            OSError: it has no address, is none, or nobody answered in time.
        """
        look_up = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        try:
            with anyio.fail_after(self._timeout):
                found = await anyio.to_thread.run_sync(look_up, abandon_on_cancel=True)
        except TimeoutError:
            raise OSError(f"no answer for {host} in {self._timeout:g} s") from None
        except UnicodeError as error:  # a label of more than 63 characters
            raise OSError(f"{host} can't be the name of a host") from error
        return [
            ResolveResult(
                hostname=host,
                host=socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0],
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Nothing is held."""
