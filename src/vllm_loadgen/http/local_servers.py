"""The processes of a server on this machine, whose CPU and memory count as the engine's."""

import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

import psutil


def on_this_machine(urls: Sequence[str]) -> list[str]:
    """The URLs whose host has an address of this machine."""
    own = {one.address.split("%")[0] for each in psutil.net_if_addrs().values() for one in each}

    def is_here(address: str) -> bool:
        return address in own or ipaddress.ip_address(address).is_loopback

    return [url for url in urls if any(map(is_here, _addresses(url)))]


def _addresses(url: str) -> list[str]:
    """What the host of a URL resolves to; nothing if it does not."""
    try:
        found = socket.getaddrinfo(urlsplit(url).hostname, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [str(address[0]).split("%")[0] for *_, address in found]


def listeners(urls: Sequence[str]) -> list[psutil.Process] | None:
    """The processes that listen on the ports of URLs of this machine.

    If a proxy listens there, the servers behind it are not found.

    Returns:
        None if one of the ports has no process that this user may see, as with a server of
        another user or in a container.
    """
    ports = {_port(url) for url in urls}
    pids: dict[int, set[int]] = {port: set() for port in ports}
    try:
        for found in psutil.net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr.port in ports and found.pid:
                pids[found.laddr.port].add(found.pid)
        if not all(pids.values()):
            return None
        return [psutil.Process(pid) for pid in sorted(set().union(*pids.values()))]
    except (psutil.Error, OSError):
        return None


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)
