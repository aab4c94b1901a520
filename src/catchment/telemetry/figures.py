"""What a process counts, in its own memory: plain numbers, for a request has a few microseconds and no more.

A `Family` is one metric by its name in Prometheus. Counters and histograms only ever grow. One thread writes a figure;
others may read it at any time, and then see it a moment old.
"""

from bisect import bisect_left
from typing import Literal, NamedTuple

Labels = tuple[str, ...]

# Upper bounds of buckets. Seconds reach from an answer without any disk to a client's patience.
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
COUNTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


class Family(NamedTuple):
    """One metric: its name, what it is, a sentence, the names of its labels; of a histogram, its buckets' bounds."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels = ()
    bounds: tuple[float, ...] = ()


class Histogram:
    """How often values fell into each bucket, and their sum. The last bucket is for what is over all bounds."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Counts one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, counts: list[int], total: float) -> None:
        """Counts what another one has counted, which has the same bounds."""
        for index, count in enumerate(counts):
            self.counts[index] += count
        self.sum += total


class Counter:
    """A number for each combination of labels."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: dict[Labels, float] = {}

    def add(self, labels: Labels, amount: float = 1) -> None:
        """Counts on."""
        self.values[labels] = self.values.get(labels, 0) + amount
