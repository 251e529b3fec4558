"""A network as an ONNX file: by a table of what ONNX has, and for what it has not by the program that JAX traces."""

from funcnn.interop.onnx_file.model import to_onnx as to_onnx
