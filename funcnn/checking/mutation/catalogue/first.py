"""The first mutants: of convolution, pooling, dense layers, ReLU, batch norm, dropout, losses and combinators; and the tutorials' own."""

from collections.abc import Iterator

import funcnn as fn
from funcnn.arrays import namespace
from funcnn.checking.mutation import mutants as m
from funcnn.checking.mutation.mutants import Change, Mutant, changed, misled
from funcnn.layer import Layer

IMAGE = (5, 6, 2)
CONV, STRIDED = fn.conv(4, (3, 3)), fn.conv(3, (3, 3), stride=2)
SQUARE, WIDE, LARGE = fn.conv(2, (3, 3)), fn.conv(6, (3, 3)), fn.conv(1, (6, 6), padding="VALID")
GROUPS, DEPTHWISE, DILATED = fn.conv(6, (3, 3), groups=2), fn.conv(4, (3, 3), groups=4), fn.conv(3, (3, 3), dilation=2)
LOW, HIGH = fn.conv(3, (3, 3), padding=((0, 2), (0, 2))), fn.conv(3, (3, 3), padding=((2, 0), (2, 0)))
DENSE, SQUARE_DENSE, MILLION = fn.dense(4), fn.dense(5), fn.dense(1000)
POOL, OVERLAPPING, SPLIT = fn.max_pool((2, 2)), fn.max_pool((3, 3), stride=1), fn.max_pool((2, 2), ties="split")
MEAN, PADDED = fn.avg_pool((2, 2)), fn.avg_pool((3, 3), stride=1, padding=1)
UNCOUNTED = fn.avg_pool((3, 3), stride=1, padding=1, count_include_pad=False)
NORM, DROPOUT = fn.batch_norm(), fn.dropout(0.3)
BRANCHES = fn.parallel(fn.conv(2, (3, 3)), fn.conv(2, (1, 1)), merge="concatenate")
RESIDUAL = fn.residual(fn.conv(2, (3, 3)))
TWO = fn.serial(fn.dense(5), fn.dense(5))


def _wrong(name: str, right: Layer, in_shape: tuple[int, ...], wrong: Layer, words: str = "") -> Mutant:
    return Mutant(name, wrong, right, in_shape, words)


def _change(name: str, right: Layer, in_shape: tuple[int, ...], leaf: str, how: Change, words: str = "") -> Mutant:
    return Mutant(f"{right.name} d{leaf}: {name}", changed(right, leaf, how), right, in_shape, words)


def _factors() -> Iterator[Mutant]:
    """All entries times a factor."""
    for right, shape, leaf in ((CONV, IMAGE, "w"), (CONV, IMAGE, "x"), (DENSE, (5,), "w"), (NORM, IMAGE, "scale"), (fn.relu, IMAGE, "x")):
        yield _change("the sign", right, shape, leaf, m.times(-1.0), "factor -1; the sign is wrong")
    for right, shape, leaf in ((CONV, IMAGE, "b"), (DENSE, (5,), "x"), (POOL, (4, 6, 2), "x"), (NORM, IMAGE, "shift")):
        yield _change("times 2", right, shape, leaf, m.times(2.0), "factor 2")
    for right, shape, leaf in ((CONV, IMAGE, "w"), (DENSE, (5,), "b"), (NORM, IMAGE, "x"), (MEAN, (4, 6, 2), "x")):
        yield _change("times 1.0005", right, shape, leaf, m.times(1.0005), "factor 1.0005")
    yield _change("divided by the batch size again", DENSE, (5,), "w", m.times_batch(-1), r"factor 0.25; that is 1 / N")
    yield _change("the mean over examples for their sum", DENSE, (5,), "b", m.times_batch(-1), r"factor 0.25; that is 1 / N")
    yield _change("not divided by the number of positions", fn.global_avg_pool, (4, 5, 2), "x", m.times(20.0), "factor 20")
    yield _change("not divided by the window", MEAN, (4, 6, 2), "x", m.times(4.0), "factor 4")


def _places() -> Iterator[Mutant]:
    """Wrong at some places only."""
    yield _change("the first row dropped", CONV, IMAGE, "x", m.where(0.0, slice(None), 0), "first row .*border")
    yield _change("the last column dropped", CONV, IMAGE, "x", m.where(0.0, slice(None), slice(None), -1), "last column .*border")
    yield _change("the last row dropped", POOL, (4, 6, 2), "x", m.where(0.0, slice(None), -1), "last row .*border")
    yield _change(
        "one stride phase dropped", STRIDED, (7, 8, 2), "x", m.where(0.0, slice(None), slice(1, None, 2)), r"rows with index % 2 in \[1\]"
    )
    yield _change("stride phase off by one", STRIDED, (7, 8, 2), "x", m.permuted(lambda xp, g: xp.roll(g, 1, 1)), "rotated by 1 along row")
    yield _change("one channel doubled", CONV, (5, 6, 4), "x", m.where(2.0, ..., 1), "channel 1; there a constant factor 2")
    yield _change("one tap missing", CONV, IMAGE, "w", m.where(0.0, 1, 2), "kernel row 1, the last kernel column .*missing")
    yield _change("one example missing", CONV, IMAGE, "x", m.where(0.0, 2), "example 2; there 0 throughout")
    yield _change("one output channel's sign", CONV, IMAGE, "w", m.where(-1.0, ..., 2), "output channel 2; there a constant factor -1")
    yield _change("one entry of a million zeroed", MILLION, (1000,), "w", m.where(0.0, 321, 654), r"one entry, \[321, 654\]; it is 0")
    yield _change("one entry of a million off by 1e-3", MILLION, (1000,), "w", m.where(1.001, 12, 34), r"one entry, \[12, 34\]")


def _moved() -> Iterator[Mutant]:
    """Transposed, flipped, moved."""
    yield _wrong("conv dx: the kernel not flipped", CONV, IMAGE, misled(CONV, _flip, "x"), "right if w were flipped in space")
    yield _wrong(
        "conv dx: the kernel transposed in space", CONV, IMAGE, misled(CONV, _transpose, "x"), "right if w were transposed in space"
    )
    yield _wrong(
        "conv dx: the kernel transposed in its channels",
        SQUARE,
        IMAGE,
        misled(SQUARE, _swap_channels, "x"),
        "w were transposed in its channels",
    )
    yield _change(
        "transposed in space", CONV, IMAGE, "w", m.permuted(lambda xp, g: g.swapaxes(0, 1)), "kernel row and kernel column are swapped"
    )
    yield _change(
        "transposed in its channels",
        SQUARE,
        IMAGE,
        "w",
        m.permuted(lambda xp, g: g.swapaxes(2, 3)),
        "input channel and output channel are swapped",
    )
    yield _change("flipped", CONV, IMAGE, "w", m.permuted(lambda xp, g: xp.flip(g, (0, 1))), "flipped along kernel row and kernel column")
    yield _change("transposed", SQUARE_DENSE, (5,), "w", m.permuted(lambda xp, g: g.T), "transposed: axis 0 and axis 1")
    yield _wrong(
        "dense dx: dy w for dy w^T", SQUARE_DENSE, (5,), misled(SQUARE_DENSE, lambda r: (r[0], r[1].T), "x"), "right if w were transposed"
    )
    yield _change("column by column", fn.flatten, (3, 4), "x", m.permuted(lambda xp, g: g.reshape(len(g), 4, 3).swapaxes(1, 2)))
    yield _change("groups mixed", GROUPS, (4, 5, 4), "w", m.permuted(lambda xp, g: xp.roll(g, 3, -1)), "rotated by 3 along output channel")
    yield _change(
        "channels mixed", DEPTHWISE, (4, 5, 4), "w", m.permuted(lambda xp, g: xp.roll(g, 1, -1)), "rotated by 1 along output channel"
    )
    yield _change("summed over the wrong axis", WIDE, IMAGE, "b", m.instead(lambda xp, r, dy: dy.sum((0, 1, 3))))
    yield _wrong("conv: padding low and high swapped", LOW, IMAGE, LOW._replace(backward=HIGH.backward), "shifted by -?2")
    yield _wrong("conv dx: the dilation forgotten", DILATED, IMAGE, _dilation_forgotten())


def _masks() -> Iterator[Mutant]:
    """Masks and ties."""
    yield _wrong(
        "relu: the mask missing",
        fn.relu,
        IMAGE,
        changed(fn.relu, "x", m.instead(lambda xp, r, dy: dy)),
        "only where the right gradient is 0: a mask",
    )
    yield _wrong("relu: the mask of dy", fn.relu, IMAGE, changed(fn.relu, "x", m.instead(lambda xp, y, dy: xp.where(dy <= 0, 0, dy))))
    yield _wrong("relu: the gradient 1 at 0", fn.relu, IMAGE, _one_at_zero)
    yield _wrong("max_pool: ties split, not the first", POOL, (4, 6, 2), _first_as_split())
    yield _wrong("max_pool: the first of ties, not split", SPLIT, (4, 6, 2), _split_as_first())
    yield _wrong("max_pool: always the first tap", POOL, (4, 6, 2), misled(POOL, lambda r: (r[0], r[1] * 0)))
    yield _wrong("max_pool: windows overwrite each other", OVERLAPPING, (5, 6, 2), m.overwriting(OVERLAPPING, 3, 1))
    yield _wrong(
        "avg_pool: the border's own counts",
        PADDED,
        (5, 6, 2),
        PADDED._replace(backward=UNCOUNTED.backward),
    )


def _norm_and_dropout() -> Iterator[Mutant]:
    """Batch norm and dropout."""
    yield _wrong("batch_norm: without the mean term", NORM, IMAGE, m.batch_norm_without("mean"), "off by a constant per channel")
    yield _wrong(
        "batch_norm: without the variance term", NORM, IMAGE, m.batch_norm_without("variance"), "off by a multiple of x per channel"
    )
    yield _wrong("batch_norm: the unbiased variance", NORM, IMAGE, misled(NORM, m.unbiased, "x"))
    yield _wrong("batch_norm: the statistics as constants", NORM, IMAGE, misled(NORM, lambda r: fn.normalization.BatchNormEval(*r), "x"))
    yield _wrong(
        "batch_norm: dscale of x, not normalised",
        NORM,
        IMAGE,
        changed(NORM, "scale", m.instead(lambda xp, r, dy: (dy * r.x).sum((0, 1, 2)))),
    )
    yield _wrong("dropout: the mask drawn again", DROPOUT, (5, 6), misled(DROPOUT, m.redrawn))
    yield _wrong("dropout: not divided by the share kept", DROPOUT, (5, 6), _unscaled(), "factor 0.7")


def _losses() -> Iterator[Mutant]:
    """Losses."""
    yield _wrong(
        "cross-entropy: without 1 / N",
        m.cross_entropy(),
        (3,),
        m.cross_entropy(m.times_batch(1)),
        "factor 4; that is N",
    )
    yield _wrong(
        "cross-entropy: 1 / N twice",
        m.cross_entropy(),
        (3,),
        m.cross_entropy(m.times_batch(-1)),
        "1 / N",
    )
    yield _wrong("cross-entropy: smoothing forgotten", m.cross_entropy(label_smoothing=0.1), (3,), m.smoothing_forgotten())
    yield _wrong("squared error: without the 2", m.squared_error(), (3,), m.squared_error(m.times(0.5)), "factor 0.5")


def _rounded_and_stale() -> Iterator[Mutant]:
    """Rounding, and state that outlives a pass."""
    yield _change("through bfloat16", CONV, IMAGE, "x", m.through("bfloat16"), "as through bfloat16")
    yield _change("through float16", DENSE, (5,), "w", m.through("float16"), "as through float16")
    yield _change("through float32", NORM, IMAGE, "x", m.through("float32"), "as through float32")
    yield _wrong("dense: stale residuals", DENSE, (5,), m.stale(DENSE), "stale residuals")


def _combinators() -> Iterator[Mutant]:
    """Combinators of right layers."""
    yield _wrong("residual: without the shortcut", RESIDUAL, IMAGE, _shortcut(0.0))
    yield _wrong("residual: the shortcut twice", RESIDUAL, IMAGE, _shortcut(2.0))
    yield _wrong("parallel: the branches swapped", BRANCHES, IMAGE, m.swapped_branches(BRANCHES))
    yield _wrong("serial: the layers' gradients swapped", TWO, (5,), TWO._replace(backward=_swapped_params))


def _tutorials() -> Iterator[Mutant]:
    """The five tutorials' own mistakes."""
    yield _wrong("T2: dx never returned", CONV, IMAGE, changed(CONV, "x", m.times(0.0)), "0 throughout: this gradient is missing")
    yield _wrong(
        "T3: a bias of shape (O, 1)",
        CONV,
        IMAGE,
        changed(CONV, "b", lambda g, r, dy: g[:, None]),
        r"expected db to be float64 \(4,\).*got float64 \(4, 1\)",
    )
    yield _wrong("T3, T4: every tie gets the whole gradient", POOL, (4, 6, 2), m.max_pool_all_ties((2, 2)))
    yield _wrong("T4: the kernel not flipped", LARGE, (8, 9, 1), misled(LARGE, _flip, "x"), "right if w were flipped in space")
    yield _wrong("T4: no mask behind ReLU", fn.relu, (4, 5, 1), m.relu_unmasked, "a mask is missing")
    yield _wrong(
        "T4: the gradient divided by the classes",
        m.cross_entropy(),
        (10,),
        m.cross_entropy(m.times(0.1)),
        "factor 0.1",
    )


_flip = m.kernel(lambda xp, w: xp.flip(w, (0, 1)))
_transpose = m.kernel(lambda xp, w: w.swapaxes(0, 1))
_swap_channels = m.kernel(lambda xp, w: w.swapaxes(2, 3))


def _dilation_forgotten() -> Layer:
    plain = fn.conv(3, (3, 3))

    def backward(residuals, dy):
        return DILATED.backward(residuals, dy)[0], plain.backward(residuals, dy)[1]

    return DILATED._replace(backward=backward)


def _first_as_split() -> Layer:
    """The forward pass that declares "first", with the backward pass of "split"."""

    def forward(params, state, x, *, key=None, train=False):
        y, state, _ = POOL.forward(params, state, x, key=key, train=train)
        return y, state, (x, y)

    return POOL._replace(forward=forward, backward=SPLIT.backward)


def _split_as_first() -> Layer:
    def forward(params, state, x, *, key=None, train=False):
        y, state, _ = SPLIT.forward(params, state, x, key=key, train=train)
        return y, state, POOL.forward(params, state, x, key=key, train=train)[2]

    return SPLIT._replace(forward=forward, backward=POOL.backward)


def _keep_x(params, x):
    return namespace(x).where(x <= 0, 0, x), x


def _pass_at_zero(x, dy):
    return (), namespace(x, dy).where(x < 0, 0, dy)


_one_at_zero = fn.stateless("relu", _keep_x, _pass_at_zero)


def _unscaled() -> Layer:
    def backward(residuals, dy):
        (), dx = DROPOUT.backward(residuals, dy)
        return (), dx * 0.7 if hasattr(residuals, "mask") else dx

    return DROPOUT._replace(backward=backward)


def _shortcut(times: float) -> Layer:
    def backward(residuals, dy):
        dparams, dx = RESIDUAL.backward(residuals, dy)
        return dparams, dx + (times - 1) * dy

    return RESIDUAL._replace(backward=backward)


def _swapped_params(residuals, dy):
    (first, second), dx = TWO.backward(residuals, dy)
    return (second, first), dx


WRONG: tuple[Mutant, ...] = (
    *_factors(),
    *_places(),
    *_moved(),
    *_masks(),
    *_norm_and_dropout(),
    *_losses(),
    *_rounded_and_stale(),
    *_combinators(),
    *_tutorials(),
)
