"""Closes connections that keep the service waiting for a request: too long, or too many of them."""

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from gpt_classifier.serve.limits import Limits


def limited_connections(limits: Limits) -> type[asyncio.Protocol]:
    """A protocol for uvicorn, which itself gives headers any time and counts all connections alike.

    The headers of a request have ``limits.seconds``. Half of the allowed connections may wait for a whole request;
    beyond, the one that has waited longest is closed. Whoever opens many and sends nothing, or sends slowly, so takes
    the place of his own, while requests that come whole wait for none.
    """
    maximum = max(1, limits.connections // 2)
    waiting: dict[Any, asyncio.TimerHandle] = {}  # without a whole request, in the order in which they began to wait

    class Connection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._update()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._update()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._update()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def _update(self) -> None:
            if self.transport.is_closing() or not (self._is_between_requests() or self.cycle.more_body):
                self._stop_waiting()
            elif self not in waiting:
                waiting[self] = asyncio.get_running_loop().call_later(limits.seconds, self._check_headers)
                if len(waiting) > maximum:
                    next(iter(waiting))._close()

        def _check_headers(self) -> None:
            if self._is_between_requests():  # for the rest of a request there is another limit, with a response
                self._close()

        def _is_between_requests(self) -> bool:
            return self.cycle is None or self.cycle.response_complete

        def _stop_waiting(self) -> None:
            if (timer := waiting.pop(self, None)) is not None:
                timer.cancel()

        def _close(self) -> None:
            self._stop_waiting()
            self.transport.close()

    return Connection
