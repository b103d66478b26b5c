"""Stands in for torch where the test of allreduce.py runs: only what the script
uses, on lists, without a GPU. Anything else is an AttributeError. It proves the
script's own order and arithmetic, nothing about torch."""

__version__ = "0.fake"
float32, float64, int32, int64 = "float32", "float64", "int32", "int64"

KEPT = 4096  # elements of a large tensor that are really there


class cuda:
    @staticmethod
    def is_available():
        return False


class device:
    def __init__(self, kind, index=0):
        self.type, self.index = kind, index


class Tensor:
    def __init__(self, values):
        self.values = values

    def copy_(self, other):
        self.values = list(other.values)

    def to(self, _):
        return Tensor(list(self.values))

    def remainder_(self, n):
        self.values = [v % n for v in self.values]
        return self

    def mul_(self, x):
        self.values = [v * x for v in self.values]
        return self

    def add_(self, x):
        self.values = [v + x for v in self.values]
        return self

    def __add__(self, x):
        return Tensor([v + x for v in self.values])

    def __ne__(self, other):
        return Tensor([a != b for a, b in zip(self.values, other.values, strict=True)])

    def reshape(self, n):
        assert n == len(self.values)
        return self

    def item(self):
        (value,) = self.values
        return value


def ones(n, device):
    return Tensor([1.0] * min(n, KEPT))


def zeros(n, device):
    return Tensor([0.0] * min(n, KEPT))


def empty_like(other):
    return Tensor([0.0] * len(other.values))


def arange(n, device, dtype):
    return Tensor(list(range(min(n, KEPT))))


def tensor(values, dtype, device):
    return Tensor(list(values))


def count_nonzero(t):
    return Tensor([sum(1 for v in t.values if v)])
