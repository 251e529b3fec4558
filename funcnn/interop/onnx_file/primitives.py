"""JAX's operations in those of ONNX, by the names that JAX has for them."""

from funcnn.interop.onnx_file.moves import MOVES
from funcnn.interop.onnx_file.numbers import NUMBERS
from funcnn.interop.onnx_file.sums import SUMS
from funcnn.interop.onnx_file.terms import Make

PRIMITIVES: dict[str, Make] = NUMBERS | MOVES | SUMS
