"""Runs the service of a model until it is told to end."""

import signal
import sys

from gpt_classifier.inference.classifier import TextClassifier
from gpt_classifier.serve.access import allowed_hosts, listen
from gpt_classifier.serve.api import server, service
from gpt_classifier.serve.limits import Limits


def serve(
    model: str, host: str, port: int, token: str | None, limits: Limits, *, device: str, int8: bool, base: str | None
) -> None:
    """Loads the model, says where it listens, and answers until SIGINT or SIGTERM.

    Raises ``InputError`` for what cannot be served.
    """
    listening = listen(host, port)
    classifier = TextClassifier.load(model, device, int8, base)
    # uvicorn handles these signals while it runs and sends them again after its graceful end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
    print(f"{address} classifies with {model}: {', '.join(classifier.classes_)}; Ctrl-C ends", flush=True)
    try:
        server(service(classifier, limits, token, allowed_hosts(host, token)), limits).run([listening])
    except KeyboardInterrupt:
        return
