"""Classifies the texts of concurrent requests together: one worker, one call of the classifier for all that waits."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

from gpt_classifier.inference.classifier import Prediction, TextClassifier
from gpt_classifier.inference.trace import Trace

Result = list[Prediction] | Exception


class QueueFull(Exception):
    """More texts wait than the queue may hold: try again later."""


class _Job(NamedTuple):
    texts: list[str]
    predictions: asyncio.Future[list[Prediction]]


class Batcher:
    """Collects the texts that wait while the classifier works, and has it classify them in one call.

    Nothing is waited for: a text that comes while the classifier is idle is classified at once, alone. What needs more
    than one call is divided, and others take turns with it.

    Args:
        classifier: It is called by one thread, so that calls do not compete for the processor.
        batch: Maximum number of texts in one call.
        capacity: Maximum number of texts that wait or are being classified.
        observe: Is told the number of texts of each call.
    """

    def __init__(
        self, classifier: TextClassifier, batch: int, capacity: int, observe: Callable[[int], object] = lambda _: None
    ) -> None:
        self.classifier, self.batch, self.capacity, self.observe = classifier, batch, capacity, observe
        self.waiting = 0  # texts without a prediction yet
        self._jobs: deque[_Job] = deque()
        self._worker: asyncio.Task[None] | None = None  # there is one while there are jobs
        self._thread = ThreadPoolExecutor(1, "classifier")

    async def predict(self, texts: list[str]) -> list[Prediction]:
        """Raises :class:`QueueFull`, or what the classifier raises for these texts."""
        with self._admitted(len(texts)):
            predictions: list[Prediction] = []
            for start in range(0, len(texts), self.batch):
                predictions += await self._enqueued(texts[start : start + self.batch])
            return predictions

    async def trace(self, text: str) -> Trace:
        """Raises as :meth:`predict`; a trace is always one call."""
        with self._admitted(1):
            return await asyncio.get_running_loop().run_in_executor(self._thread, self.classifier.trace, text)

    async def close(self) -> None:
        """Answers what still waits, then ends."""
        if self._worker is not None:
            await self._worker
        self._thread.shutdown()

    @contextmanager
    def _admitted(self, texts: int) -> Iterator[None]:
        if self.waiting + texts > self.capacity:
            raise QueueFull
        self.waiting += texts
        try:
            yield
        finally:
            self.waiting -= texts

    def _enqueued(self, texts: list[str]) -> asyncio.Future[list[Prediction]]:
        job = _Job(texts, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return job.predictions

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._jobs:
            together = [job for job in self._next() if not job.predictions.done()]  # others were cancelled
            self.observe(sum(len(job.texts) for job in together))
            groups = [job.texts for job in together]
            results = await loop.run_in_executor(self._thread, classify_groups, self.classifier, groups)
            for job, result in zip(together, results, strict=True):
                if job.predictions.cancelled():  # nobody waits any more
                    continue
                if isinstance(result, Exception):
                    job.predictions.set_exception(result)
                else:
                    job.predictions.set_result(result)

    def _next(self) -> Iterator[_Job]:
        """The jobs that have waited longest, as many as one call takes."""
        room = self.batch
        while self._jobs and len(self._jobs[0].texts) <= room:
            room -= len(self._jobs[0].texts)
            yield self._jobs.popleft()


def classify_groups(classifier: TextClassifier, groups: list[list[str]]) -> list[Result]:
    """The predictions for each group of texts, from one call; if it fails, from a call for each group."""
    try:
        predictions = iter(classifier.predict([text for texts in groups for text in texts]))
        return [list(islice(predictions, len(texts))) for texts in groups]
    except Exception as error:
        if len(groups) == 1:
            return [error]
        return [result for texts in groups for result in classify_groups(classifier, [texts])]
