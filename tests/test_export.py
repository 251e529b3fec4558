"""Networks as programs for other processes and machines: `jax.export` with a batch size that is a symbol, for CPUs and GPUs at once."""

import jax
import numpy as np
import pytest
from jax import export

import funcnn as fn

ALGORITHMS = [v for v in vars(fn.convolution).values() if isinstance(v, fn.convolution.ConvAlgorithm)]
NET = fn.serial(
    fn.parallel(*(fn.conv(2, (3, 3), algorithm=algorithm) for algorithm in ALGORITHMS), merge="concatenate"),
    fn.batch_norm(),
    fn.relu,
    fn.conv(2 * len(ALGORITHMS), (3, 3), groups=2 * len(ALGORITHMS)),
    fn.conv_transpose(4, (4, 4), stride=2),
    fn.conv(4, (4, 4), stride=2),
    fn.max_pool((3, 3), stride=2, padding="SAME"),
    fn.residual(fn.conv(4, (3, 3), stride=2), shortcut=fn.conv(4, (1, 1), stride=2)),
    fn.max_pool((2, 2), stride=1, padding="SAME", ties="split"),
    fn.avg_pool((2, 2), stride=1, padding="SAME_LOWER", count_include_pad=False),
    fn.parallel(fn.global_avg_pool, fn.serial(fn.flatten, fn.identity, fn.dense(4))),
    fn.dropout(0.5),
    fn.dense(10),
)
IN_SHAPE = (9, 8, 3)
PARAMS, STATE = NET.init(jax.random.key(0), IN_SHAPE)
KEY = jax.random.key(1)
(B,) = export.symbolic_shape("b")

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def examples(n, in_shape=IN_SHAPE):
    rng = np.random.default_rng(n)
    return rng.standard_normal((n, *in_shape), "float32"), rng.integers(0, 10, n, "int32")


def exported(function, *args):
    """The program for any batch size, on either platform."""
    return export.export(jax.jit(function), platforms=("cpu", "cuda"))(*args)


def any_number_of(*arrays):
    return [jax.ShapeDtypeStruct((B, *a.shape[1:]), a.dtype) for a in arrays]


def assert_close(got, expected):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * max(1, abs(np.asarray(b)).max()))


def test_every_algorithm_is_in_it():
    assert len(ALGORITHMS) >= 10


def test_a_network_of_every_layer():
    program = exported(lambda p, s, x: NET.apply(p, s, x)[0], PARAMS, STATE, *any_number_of(examples(2)[0]))
    for n in (1, 2, 5):
        x = examples(n)[0]
        assert_close(program.call(PARAMS, STATE, x), NET.apply(*fn.to_numpy((PARAMS, STATE)), x)[0])


@pytest.mark.slow
def test_training_with_the_hand_written_gradient():
    def gradient(params, state, x, labels):
        logits, state, residuals = NET.forward(params, state, x, key=KEY, train=True)
        loss, dlogits = fn.softmax_cross_entropy(logits, labels)
        return loss, fn.accuracy(logits, labels), state, NET.backward(residuals, dlogits)

    program = exported(gradient, PARAMS, STATE, *any_number_of(*examples(2)))
    assert_close(program.call(PARAMS, STATE, *examples(5)), gradient(*fn.to_numpy((PARAMS, STATE)), *examples(5)))


def test_batch_norm_of_vectors_and_the_other_loss():
    """Whether there is more than one value per channel, which training asks for, then only the run knows."""
    net = fn.serial(fn.dense(3), fn.batch_norm())
    params, state = net.init(KEY, (4,))

    def gradient(params, state, x):
        y, state, residuals = net.forward(params, state, x, train=True)
        loss, dy = fn.mean_squared_error(y, 0 * y)
        return loss, state, net.backward(residuals, dy)

    program = exported(gradient, params, state, *any_number_of(examples(2, (4,))[0]))
    for n in (2, 5):
        assert_close(program.call(params, state, examples(n, (4,))[0]), gradient(*fn.to_numpy((params, state)), examples(n, (4,))[0]))


def test_a_program_as_bytes():
    pytest.importorskip("flatbuffers")
    net = fn.serial(fn.conv(4, (3, 3)), fn.relu, fn.max_pool((2, 2)), fn.flatten, fn.dense(10))
    params, state = net.init(KEY, IN_SHAPE)
    program = exported(lambda p, s, x: net.apply(p, s, x)[0], params, state, *any_number_of(examples(2)[0]))
    program = export.deserialize(program.serialize())
    assert_close(program.call(params, state, examples(5)[0]), net.apply(*fn.to_numpy((params, state)), examples(5)[0])[0])


def test_what_does_not_fit_is_named_with_a_symbol_too():
    with pytest.raises(ValueError, match=r"conv: expected x of shape \(N, H, W, 3\), got \(b, 9, 8, 2\); x has 2 channels"):
        exported(lambda p, s, x: NET.apply(p, s, x)[0], PARAMS, STATE, *any_number_of(examples(2)[0][..., :2]))
