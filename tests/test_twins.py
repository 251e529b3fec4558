"""Every layer's output and gradients are PyTorch's, to 1e-10 in float64; in halves no further from float64 than twice PyTorch's are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnn as fn
from tests.test_laws import KEY, both_passes, on_jax
from tests.twins import TWINS

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.peers
each_twin = pytest.mark.parametrize("twin", TWINS.values(), ids=TWINS.keys())


def problem(twin, n=3):
    """Random params, x and dy in float64 on NumPy, and the layer's first state."""
    rng = np.random.default_rng(4)
    params, state = fn.to_numpy(twin.layer.init(KEY, twin.in_shape), "float64")
    params = jax.tree.map(lambda a: 0.5 * rng.standard_normal(a.shape) + (a.ndim == 1), params)
    x = rng.standard_normal((n, *twin.in_shape))
    return params, state, x, rng.standard_normal(twin.layer.apply(params, state, x, key=KEY, train=twin.train)[0].shape)


def by_pytorch(twin, params, x, dy, dtype):
    """(y, dparams, dx) by PyTorch in that dtype, as float64 on NumPy."""

    def tensor(a):
        return torch.tensor(np.asarray(a, "float64")).to(getattr(torch, dtype)).requires_grad_()

    params, x, dy = jax.tree.map(tensor, (params, x, dy))
    leaves, tree = jax.tree.flatten((params, x))
    y = twin.theirs(params, x)
    grads = torch.autograd.grad(y, leaves, dy)
    return jax.tree.map(lambda t: t.detach().double().numpy(), (y, *jax.tree.unflatten(tree, grads)))


def ours(twin, params, state, x, dy, run=None):
    y, _, dparams, dx = (run or both_passes(twin.layer, twin.train))(params, state, x, dy)
    return y, dparams, dx


def off(got, expected):
    """The largest error of each leaf, relative to that leaf's largest entry."""
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    pairs = [(np.asarray(a, "float64"), np.asarray(b, "float64")) for a, b in pairs]
    assert all(a.shape == b.shape for a, b in pairs)
    return [np.max(np.abs(a - b), initial=0) / (np.max(np.abs(b), initial=0) or 1) for a, b in pairs]


@each_twin
@pytest.mark.usefixtures("x64")
def test_output_and_gradients_are_those_of_pytorch(twin):
    arrays = problem(twin)
    theirs = by_pytorch(twin, arrays[0], *arrays[2:], "float64")
    assert max(off(ours(twin, *arrays), theirs)) <= 1e-10
    assert max(off(ours(twin, *on_jax(arrays), run=jax.jit(both_passes(twin.layer, twin.train))), theirs)) <= 1e-10


@each_twin
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_are_no_further_from_float64_than_twice_those_of_pytorch(twin, dtype):
    """And a unit in the last place of the largest entry, where PyTorch happens to be exact."""
    halved = jax.tree.map(lambda a: a.astype(jnp.dtype(dtype)), problem(twin))
    exact = ours(twin, *fn.to_numpy(halved, "float64"))
    try:
        allowed = [2 * error for error in off(by_pytorch(twin, halved[0], *halved[2:], dtype), exact)]
    except RuntimeError as error:
        pytest.skip(f"PyTorch has none on a CPU: {error}")
    unit = float(jnp.finfo(dtype).eps)
    for run in (None, jax.jit(both_passes(twin.layer, twin.train))):
        given = halved if run is None else on_jax(halved)
        for error, most in zip(off(ours(twin, *given, run=run), exact), allowed, strict=True):
            assert error <= most + unit
