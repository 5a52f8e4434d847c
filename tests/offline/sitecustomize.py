"""No network for this process: only this machine can be reached, and whoever tries more is written down.

Python imports a module of this name at its start, so that with this folder on ``PYTHONPATH`` the rule holds
in every Python process that a test starts. An audit hook sees each address before the system does, and
nothing can remove it. Code that reaches past Python's own sockets is not seen: gloo and libpq, in our case,
whose addresses the tests choose themselves.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import sys
import traceback

LOG = "SERTRANSFER_TEST_NETWORK_LOG"
"""Environment variable that names the file of attempts; without it nothing is refused."""

_INTERNET = (socket.AF_INET, socket.AF_INET6)
_LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
_SENDING = ("socket.connect", "socket.sendto", "socket.sendmsg")


def is_here(host: object) -> bool:
    """Return whether *host*, a name or an address, is this machine."""
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event in _LOOKUPS:
        host = arguments[0]
    elif event in _SENDING:
        connection, address = arguments
        if getattr(connection, "family", None) not in _INTERNET or not isinstance(address, tuple):
            return
        host = address[0]
    else:
        return
    if not is_here(host):
        stack = "".join(traceback.format_stack(limit=12))
        with open(os.environ[LOG], "a", encoding="utf-8") as log:  # noqa: PTH123 (runs at every start)
            log.write(f"{event} {host!r} by {sys.argv[:2]}\n{stack}\n")
        raise OSError(errno.ENETUNREACH, f"tests have no network: {event} {host!r}")


if os.environ.get(LOG):
    sys.addaudithook(_hook)
