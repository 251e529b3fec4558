"""What a check has found: rows of numbers, and where and how a gradient is wrong, in words."""

import math
from typing import Any, NamedTuple

import numpy as np

from funcnn.checking.trees import largest

ORACLES = ("jax.vjp", "complex step", "differences", "unit step", "adjoint", "linear in dy", "jitted", "contract")
INDEPENDENT = ("jax.vjp", "complex step", "differences", "unit step")
"""Those that know nothing of `backward`."""


class GradientError(AssertionError):
    """A gradient is wrong."""


class Row(NamedTuple):
    """One leaf of the gradient against one oracle.

    Attributes:
        case: "train", "eval, ties" and so on; "" where there is but one.
        layer: the path of a layer inside the one that is checked, "5 residual / 0 serial / 1 relu"; "" for that one itself.
        leaf: "w", "x", ...; "dy" where something concerns all of them.
        oracle: one of `ORACLES`.
        entries: how many numbers (or directions) were compared.
        error: the largest difference; inf where the gradient cannot be used at all.
        relative: the same, relative to the largest entry of what was expected.
        ulps: the same in units in the last place (float64) of that entry.
        cosine: of the angle between the two; NaN where one of them is 0.
        tolerance: what `error` may be: from the dtype's epsilon, the length of the sums, and what a rounding of the arguments changes.
        kinks: along how many directions the function has a kink; there any slope between both sides' is right.
        index: where the largest difference is.
        got, expected: both values there.
        words: where and how, as far as there is a pattern.
    """

    case: str
    layer: str
    leaf: str
    oracle: str
    entries: int = 0
    error: float = 0.0
    relative: float = 0.0
    ulps: float = 0.0
    cosine: float = float("nan")
    tolerance: float = 0.0
    kinks: int = 0
    index: tuple[int, ...] = ()
    got: float = float("nan")
    expected: float = float("nan")
    words: str = ""

    @property
    def ok(self) -> bool:
        return self.error <= self.tolerance

    @property
    def where(self) -> str:
        """The layer, the leaf and the case."""
        place = f"d{self.leaf}" if self.leaf != "dy" else "backward"
        return " ".join(filter(None, (self.layer and f"{self.layer}:", place, self.case and f"({self.case})")))

    def explain(self) -> str:
        """A sentence about a wrong gradient."""
        if self.error == float("inf"):
            return f"{self.where}: {self.words}"
        at = f" at {list(map(int, self.index))}: got {self.got:.9g}, expected {self.expected:.9g}" if self.index else ""
        angle = "" if math.isnan(self.cosine) else f", cosine {self.cosine:.6f}"
        allowed = f"allowed {self.tolerance:.1g}; relative {self.relative:.3g}, {self.ulps:.3g} ULPs{angle}"
        numbers = f"off by {self.error:.3g} ({allowed})"
        return f"{self.where} by {self.oracle}: {numbers}{at}" + (f"; {self.words}" if self.words else "")


Result = tuple[list[Row], list[str]]
"""What an oracle says of a point: rows, whose case and layer are filled in later, and why it did not apply."""


def row_of_entries(leaf: str, oracle: str, got: np.ndarray, expected: np.ndarray, tolerance: float) -> Row:
    """All entries of one leaf, one by one."""
    error, norms = abs(got - expected), float(np.linalg.norm(got) * np.linalg.norm(expected))
    index = tuple(map(int, np.unravel_index(error.argmax(), error.shape))) if error.size else ()
    row = row_of_error(leaf, oracle, float(error.max(initial=0)), tolerance, largest(expected))
    return row._replace(
        entries=error.size, cosine=float((got * expected).sum()) / norms if norms else float("nan"), index=index,
        got=float(got[index]) if error.size else 0.0, expected=float(expected[index]) if error.size else 0.0,
    )  # fmt: skip


def row_of_error(leaf: str, oracle: str, error: float, tolerance: float, size: float) -> Row:
    """An error, also relative to `size`; to 1 where `size` is nothing but rounding."""
    unit = size if size > tolerance else 1.0
    return Row("", "", leaf, oracle, error=error, relative=error / unit, ulps=error / float(np.spacing(unit)), tolerance=tolerance)


def broken(words: str) -> Row:
    """What cannot even be compared."""
    return Row("", "", "dy", "contract", error=float("inf"), words=words)


def raised(error: BaseException) -> str:
    """What was raised, in short."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160] if str(error).strip() else ''}"


class Report(NamedTuple):
    """The result of a check. `print(report)` shows it; with rich, also as a table in colours.

    Attributes:
        name: of what was checked.
        rows: leaf by leaf, oracle by oracle.
        skipped: which oracles did not apply, and why.
    """

    name: str
    rows: tuple[Row, ...]
    skipped: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every leaf was compared with an independent gradient, and is right by every oracle that applies."""
        return self._compared and all(row.ok for row in self.rows)

    @property
    def _compared(self) -> bool:
        """Whether every leaf was compared with something other than itself."""
        leaves = {(row.layer, row.leaf, row.case) for row in self.rows if row.leaf != "dy"}
        return bool(leaves) and leaves == {
            (row.layer, row.leaf, row.case) for row in self.rows if row.oracle in INDEPENDENT and row.entries
        }

    @property
    def wrong(self) -> tuple[Row, ...]:
        """What is wrong, one row for each layer and leaf: by the first oracle that says so; inner layers first, last ones first."""
        first = {}
        for row in self.rows:
            if not row.ok:
                first.setdefault((row.layer, row.leaf), row)
        inner = any(layer for layer, _ in first)
        located = {row.layer for row in first.values() if row.leaf != "dy"}
        shown = (row for row in first.values() if row.layer or not inner)
        return tuple(row for row in shown if row.oracle != "adjoint" or row.layer not in located)

    @property
    def first_wrong(self) -> str:
        """The first layer, in the order of the backward pass, that is wrong given a right cotangent; "" where it is the whole."""
        return self.wrong[0].layer if self.wrong else ""

    def raise_if_wrong(self) -> None:
        """Raise GradientError, with the whole report, unless all is right."""
        if not self.ok:
            raise GradientError(str(self))

    def _lines(self) -> list[tuple[str, ...]]:
        """A line for each leaf: the largest error by each oracle, relative to what it allows."""
        leaves: dict[tuple[str, str, str], dict[str, Row]] = {}
        for row in self.rows:
            leaves.setdefault((row.layer, row.leaf, row.case), {})[row.oracle] = row
        return [(" ".join(filter(None, key)), *(_cell(rows.get(oracle)) for oracle in self._shown)) for key, rows in leaves.items()]

    @property
    def _shown(self) -> tuple[str, ...]:
        return tuple(oracle for oracle in ORACLES if any(row.oracle == oracle for row in self.rows))

    @property
    def _title(self) -> str:
        return f"{self.name}: {'right' if self.ok else 'WRONG' if self._compared or self.wrong else 'not everything could be checked'}"

    def _verdict(self) -> list[str]:
        lines = [f"first wrong in the backward pass: {self.first_wrong}"] if self.first_wrong else []
        return lines + [row.explain() for row in self.wrong] + [f"not applied: {why}" for why in self.skipped]

    def __str__(self) -> str:
        lines = [("relative error by", *self._shown), *self._lines()]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        cells = [[c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))] for line in lines]
        shown = ["  ".join(row) for row in cells]
        return "\n".join([self._title, *shown, *self._verdict()])

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        made = Table(title=self._title, title_style="green" if self.ok else "bold red")
        for i, header in enumerate(("relative error by", *self._shown)):
            made.add_column(header, justify="right" if i else "left")
        for line in self._lines():
            made.add_row(*(Text(cell, style="bold red" if "WRONG" in cell else "") for cell in line))
        return Group(made, *(Text(line) for line in self._verdict()))


def _cell(row: Row | None) -> str:
    if row is None:
        return "-"
    number = "" if row.error == float("inf") else f"{row.kinks} kinks" if row.kinks else f"{row.relative:.0e}"
    return number if row.ok else f"{number} WRONG".strip()
