"""Every row is trained on once an epoch and evaluated once, on however many processes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_classifier.data.samplers import EvaluationBatches, TrainingBatches
from gpt_classifier.errors import InputError

LENGTHS = np.random.default_rng(0).integers(1, 100, size=1000)


def training_batches(n=1000, batch_size=8, seed=123, epoch=0, rank=0, world_size=1, pool=1):
    return TrainingBatches(LENGTHS[:n], batch_size, seed, lambda: epoch, rank, world_size, pool)


def rows_of(batches):
    return [row for batch in batches for row in batch]


@given(
    n=st.integers(1, 70),
    batch_size=st.integers(1, 9),
    world_size=st.integers(1, 5),
    pool=st.sampled_from([1, 3]),
    epoch=st.integers(0, 3),
)
def test_an_epoch_has_every_row_once_and_equally_many_batches_on_every_process(n, batch_size, world_size, pool, epoch):
    ranks = [
        training_batches(n, batch_size, epoch=epoch, rank=rank, world_size=world_size, pool=pool)
        for rank in range(world_size)
    ]
    seen = rows_of(batch for rank in ranks for batch in rank)
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(range(n))
    assert n - len(seen) < world_size  # what is left over cannot be shared out
    assert {len(list(rank)) for rank in ranks} == {len(ranks[0])}
    assert {len(rank) for rank in ranks} == {len(ranks[0])}
    assert all(1 <= len(batch) <= batch_size for rank in ranks for batch in rank)


@pytest.mark.parametrize("pool", [1, 50])
def test_the_order_follows_from_seed_and_epoch_alone(pool):
    first = list(training_batches(pool=pool))
    assert list(training_batches(pool=pool)) == first
    assert list(training_batches(pool=pool, epoch=1)) != first
    assert list(training_batches(pool=pool, seed=124)) != first


def test_the_epoch_is_asked_when_iteration_starts():
    epochs = iter([0, 1, 0])
    batches = TrainingBatches(LENGTHS, 8, 123, lambda: next(epochs))
    first, second, third = list(batches), list(batches), list(batches)
    assert first == third != second


def padding(batches):
    return sum(int(max(LENGTHS[batch]) * len(batch) - LENGTHS[batch].sum()) for batch in batches)


@pytest.mark.parametrize("world_size", [1, 3])
def test_grouping_by_length_saves_most_of_the_padding(world_size):
    apart, together = (
        sum(padding(training_batches(rank=rank, world_size=world_size, pool=pool)) for rank in range(world_size))
        for pool in (1, 50)
    )
    assert together < apart / 4


@given(data=st.data(), n=st.integers(1, 40), world_size=st.integers(1, 5))
def test_every_row_is_evaluated_once_and_no_process_is_without_a_batch(data, n, world_size):
    cuts = sorted(data.draw(st.sets(st.integers(1, n - 1))) if n > 1 else [])
    batches = [list(range(start, end)) for start, end in zip([0, *cuts], [*cuts, n], strict=True)]
    if n < world_size:
        with pytest.raises(InputError, match=rf"{n} rows .* {world_size} processes"):
            EvaluationBatches(batches, 0, world_size)
        return
    ranks = [EvaluationBatches(batches, rank, world_size) for rank in range(world_size)]
    assert sorted(rows_of(batch for rank in ranks for batch in rank)) == list(range(n))
    assert all(len(rank) == len(list(rank)) > 0 for rank in ranks)
    assert all(rank for rank in map(rows_of, ranks))


def test_one_process_evaluates_the_batches_as_they_are():
    batches = [[3, 1], [0], [2, 4, 5]]
    assert list(EvaluationBatches(batches)) == batches
