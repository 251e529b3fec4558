"""Dense layers and reshaping."""

import funcnn as fn
from tests.twins.twin import Twin

TWINS = {
    "dense": Twin(fn.dense(4), (5,), lambda p, x: x @ p["w"] + p["b"]),
}
