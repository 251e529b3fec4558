"""Doors: other people's models, weights and files; none of their libraries is imported before it is needed."""

# Out
from funcnn.interop.onnx_file import to_onnx as to_onnx
from funcnn.interop.programs import export as export
