"""Who reaches the service: the address at which it listens, and the token that it asks for."""

import socket
from ipaddress import ip_address

from gpt_classifier.errors import InputError

TOKEN = "GPT_CLASSIFIER_TOKEN"
HERE = ("localhost", "127.0.0.1", "[::1]")


def check_token(host: str, token: str | None, without: bool) -> str | None:
    """The token to ask for. Raises ``InputError`` for a service that others reach and nobody protects."""
    if token is not None and (without or not token or not token.isascii() or not token.isprintable() or " " in token):
        wrong = "--no-token contradicts it" if without else "expected ASCII characters without spaces"
        raise InputError(f"a token is given, but {wrong}")
    if token is None and not without and not is_local(host):
        raise InputError(
            f"--host {host} lets other machines in: set {TOKEN} to a secret, or say --no-token if everyone may use it"
        )
    return token


def list_hosts(host: str, token: str | None) -> tuple[str, ...]:
    """The names by which the service may be called: without a token, and for this machine only, its own."""
    return (*HERE, host) if token is None and is_local(host) else ("*",)


def is_local(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises ``InputError`` where that cannot be."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "no name of a machine"
        raise InputError(f"cannot listen at {host}, port {port} ({why}): choose another --port or --host") from error
    # Connections inherit it. Without it a response's body waits for the client to acknowledge the header, often 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
