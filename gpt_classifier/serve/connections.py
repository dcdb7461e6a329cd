"""Closes connections that keep the service waiting for a request: too long, or too many of them."""

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from gpt_classifier.serve.limits import Limits

SHARE = 2  # one in so many of the allowed connections may wait for a whole request


class Unfinished:
    """The connections without a whole request, in the order in which they began to wait.

    Args:
        limit: Their maximum number, beyond which the one that has waited longest is closed. Whoever opens many and
            sends nothing, or sends slowly, so takes the place of his own, while requests that come whole wait for none.
        seconds: Maximum time for the headers of a request.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit, self.seconds = max(1, limit), seconds
        self._waiting: dict[Any, asyncio.TimerHandle] = {}

    def add(self, connection: Any) -> None:
        if connection in self._waiting:
            return
        later = asyncio.get_running_loop().call_later
        self._waiting[connection] = later(self.seconds, connection.headers_are_late)
        if len(self._waiting) > self.limit:
            next(iter(self._waiting)).give_up()

    def remove(self, connection: Any) -> None:
        if (timer := self._waiting.pop(connection, None)) is not None:
            timer.cancel()


def limited_connections(limits: Limits) -> type[asyncio.Protocol]:
    """A protocol for uvicorn, which itself gives headers any time and counts all connections alike."""
    unfinished = Unfinished(limits.connections // SHARE, limits.seconds)

    class Connection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._sort()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._sort()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._sort()

        def connection_lost(self, exc: Exception | None) -> None:
            unfinished.remove(self)
            super().connection_lost(exc)

        def headers_are_late(self) -> None:
            if self._is_between_requests():  # for the rest of a request there is another limit, with an answer
                self.give_up()

        def give_up(self) -> None:
            unfinished.remove(self)
            self.transport.close()

        def _is_between_requests(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _sort(self) -> None:
            if self.transport.is_closing() or not (self._is_between_requests() or self.cycle.more_body):
                unfinished.remove(self)
            else:
                unfinished.add(self)

    return Connection
