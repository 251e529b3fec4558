"""Dense layers, learned offsets and factors, and reshaping."""

import funcnn as fn
from tests.twins.twin import Twin

TWINS = {
    "dense": Twin(fn.dense(4), (5,), lambda p, x: x @ p["w"] + p["b"]),
    "bias": Twin(fn.bias(), (4, 5, 3), lambda p, x: x + p["b"]),
    "bias: per position": Twin(fn.bias(per="position"), (4, 5, 3), lambda p, x: x + p["b"]),
    "bias: per entry": Twin(fn.bias(per="entry"), (4, 5, 3), lambda p, x: x + p["b"]),
    "scale": Twin(fn.scale(), (4, 5, 3), lambda p, x: x * p["scale"]),
    "scale: per position": Twin(fn.scale(per="position"), (4, 5, 3), lambda p, x: x * p["scale"]),
    "scale: per entry": Twin(fn.scale(per="entry"), (4, 5, 3), lambda p, x: x * p["scale"]),
    "flatten": Twin(fn.flatten, (3, 4, 2), lambda p, x: x.flatten(1)),
    "reshape": Twin(fn.reshape(4, -1, 3), (3, 4, 2), lambda p, x: x.reshape(len(x), 4, 2, 3)),
    "transpose": Twin(fn.transpose(2, 0, 1), (3, 4, 2), lambda p, x: x.permute(0, 3, 1, 2)),
}
