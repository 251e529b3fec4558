"""A sum of shifted inputs, one per tap: no copy of the input; with one channel in a group the compiler fuses it into one loop."""

from functools import reduce
from operator import add

from funcnn.arrays import Array, in_float32, namespace, rounded, widened
from funcnn.convolution.algorithm import contract, contract_rows, from_passes
from funcnn.convolution.geometry import Geometry, offsets, pad, tap
from funcnn.cpu import in_turn, stored, sum_rows


@in_float32
def forward(x: Array, w: Array, geometry: Geometry) -> Array:
    """y = sum_{kh, kw} x shifted by (kh, kw) . w[kh, kw]: (N, P, Q, O)."""
    axes, groups = geometry.axes, geometry.groups
    padded, ones = pad(x, axes), (1,) * (x.ndim - 1)

    def product(seen, k):
        if w.shape[-2] > 1:
            return contract(seen[..., None, :], w[k][None], groups)  # (N, P, Q, O)
        blocks = seen[..., None] * w[k].reshape(*ones, groups, w.shape[-1] // groups)  # (N, P, Q, C, O / C)
        return blocks.reshape(*seen.shape[:-1], w.shape[-1])

    def run(padded):
        return reduce(add, (product(tap(padded, axes, k), k) for k in offsets(axes)))

    return run(padded) if w.shape[-2] > 1 else stored(run, padded)


def weight_gradient(x: Array, dy: Array, geometry: Geometry) -> Array:
    """dw[kh, kw] = (x shifted by (kh, kw))^T dy, summed over positions: (KH, KW, C / G, O)."""
    xp, axes, groups = namespace(x, dy), geometry.axes, geometry.groups
    padded = pad(x, axes)

    def part(seen):
        if groups < x.shape[-1] or groups == 1:
            return contract_rows(seen[..., None, :], dy, groups)  # (1, C / G, O)
        products = widened(seen)[..., None] * widened(dy).reshape(*seen.shape, dy.shape[-1] // groups)  # (N, P, Q, C, O / C)
        return rounded(sum_rows(products.reshape(dy.shape), cheap=True), x, dy)[None, None]

    dw = xp.concatenate(in_turn(part, ((tap(padded, axes, k),) for k in offsets(axes))))  # (KH * KW, C / G, O)
    return dw.reshape(*(a.window for a in axes), *dw.shape[1:])


shifted = from_passes("shifted", forward, weight_gradient)
