"""What a summary is: numbers, nested as the network is, as data, as text in 80 columns, and as a table of rich."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from funcnn.extras import needs_extra
from funcnn.shown import repeats

if TYPE_CHECKING:
    from rich.table import Table

WIDTH = 80
COLUMNS = ("layer", "output", "params", "forward", "backward", "residuals", "algorithm")
LEAST = {"algorithm": 15, "layer": 16, "output": 9, "params": 6}
"""What may be cut, in this order, down to so many characters."""
NOTE = "forward, backward: multiply-adds; N x: so many in a row, the numbers of one"


class Summary(NamedTuple):
    """The sizes of a layer or of a whole network.

    Attributes:
        name: the layer's; inside `named` behind its name there, "conv1: conv".
        out_shape: of one example.
        parameters: how many numbers there are to learn.
        multiply_adds_forward, multiply_adds_backward: of a batch; what they count, `summary` says.
        residual_bytes: of a batch, what `forward` leaves in memory for `backward`.
        algorithm: which convolution algorithm runs; "y/dx/dw" by name where they are not the same, "" where there is none.
        layers: the same of those that it is made of.
    """

    name: str
    out_shape: tuple[int, ...]
    parameters: int
    multiply_adds_forward: int
    multiply_adds_backward: int
    residual_bytes: int
    algorithm: str
    layers: tuple["Summary", ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """All of it, nested, as `json.dumps` takes it."""
        return self._asdict() | {"layers": [layer.as_dict() for layer in self.layers]}

    def rows(self) -> list[dict[str, Any]]:
        """All of it as a flat list, the network first, as `pandas.DataFrame` takes it; `depth` and `path` say where a layer stands."""
        return list(_rows(self, 0, ""))

    def __str__(self) -> str:
        lines = [COLUMNS, *_cells(self, 1)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for column, least in LEAST.items():
            i, excess = COLUMNS.index(column), sum(widths) + len(COLUMNS) - 1 - WIDTH
            widths[i] -= max(min(excess, widths[i] - least), 0)
        ends = [str.ljust if column in ("layer", "algorithm") else str.rjust for column in COLUMNS]
        text = (" ".join(map(lambda end, cell, width: end(_cut(cell, width), width), ends, line, widths)).rstrip() for line in lines)
        return "\n".join((*text, NOTE))

    def __rich__(self) -> "Table":
        with needs_extra("funcnn.summary, to print it by rich", "experiments"):
            from rich.table import Table
            from rich.text import Text
        table = Table(caption=NOTE)
        for column in COLUMNS:
            table.add_column(column, justify="left" if column in ("layer", "algorithm") else "right", no_wrap=column != "algorithm")
        for line in _cells(self, 1):
            table.add_row(*map(Text, line))
        return table


def _rows(summary: Summary, depth: int, path: str) -> Iterator[dict[str, Any]]:
    yield {"depth": depth, "path": path} | {k: v for k, v in summary._asdict().items() if k != "layers"}
    for i, layer in enumerate(summary.layers):
        yield from _rows(layer, depth + 1, f"{path}/{i} {layer.name}".lstrip("/"))


def _cells(summary: Summary, times: int, depth: int = 0) -> Iterator[tuple[str, ...]]:
    """A line for the layer, of which there are so many in a row, and for those inside; equal ones once."""
    numbers = map(readable, (summary.parameters, summary.multiply_adds_forward, summary.multiply_adds_backward))
    shape = "x".join(map(str, summary.out_shape)) or "()"
    yield (*_label(depth, times, summary.name), shape, *numbers, readable(summary.residual_bytes, 1024), summary.algorithm)
    i, layers = 0, summary.layers
    while i < len(layers):
        period, count = max(repeats(layers[i:]), key=lambda found: (found[1] - 1) * found[0])
        if period > 1:
            yield (*_label(depth + 1, count, ""), *[""] * (len(COLUMNS) - 1))
        for layer in layers[i : i + period]:
            yield from _cells(layer, count if period == 1 else 1, depth + 1 + (period > 1))
        i += period * count


def _label(depth: int, times: int, name: str) -> tuple[str]:
    return (("  " * depth + (f"{times} x " if times > 1 else "") + name).rstrip(),)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def readable(number: int, thousand: int = 1000) -> str:
    """1,234 or 1.23 M; of bytes 1.18 MiB."""
    units = ("", "K", "M", "G", "T", "P") if thousand == 1000 else ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    if number < (10_000 if thousand == 1000 else 1024):
        return f"{number:,} {units[0]}".rstrip()
    value, steps = float(number), 0
    while value >= 999.5 and steps < len(units) - 1:
        value, steps = value / thousand, steps + 1
    return f"{value:.3g} {units[steps]}"
