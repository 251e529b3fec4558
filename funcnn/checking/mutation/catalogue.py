"""The catalogue of mutants: every rule applied where it belongs."""

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


def _make() -> list[Mutant]:
    made: list[Mutant] = []

    def add(name: str, right: Layer, in_shape: tuple[int, ...], wrong: Layer, words: str = "") -> None:
        made.append(Mutant(name, wrong, right, in_shape, words))

    def change(name: str, right: Layer, in_shape: tuple[int, ...], leaf: str, how: Change, words: str = "") -> None:
        add(f"{right.name} d{leaf}: {name}", right, in_shape, changed(right, leaf, how), words)

    # A factor
    for right, shape, leaf in ((CONV, IMAGE, "w"), (CONV, IMAGE, "x"), (DENSE, (5,), "w"), (NORM, IMAGE, "scale"), (fn.relu, IMAGE, "x")):
        change("the sign", right, shape, leaf, m.times(-1.0), "factor -1; the sign is wrong")
    for right, shape, leaf in ((CONV, IMAGE, "b"), (DENSE, (5,), "x"), (POOL, (4, 6, 2), "x"), (NORM, IMAGE, "shift")):
        change("times 2", right, shape, leaf, m.times(2.0), "factor 2")
    for right, shape, leaf in ((CONV, IMAGE, "w"), (DENSE, (5,), "b"), (NORM, IMAGE, "x"), (MEAN, (4, 6, 2), "x")):
        change("times 1.0005", right, shape, leaf, m.times(1.0005), "factor 1.0005")
    change("divided by the batch size again", DENSE, (5,), "w", m.times_batch(-1), r"factor 0.25; that is 1 / N")
    change("the mean over examples for their sum", DENSE, (5,), "b", m.times_batch(-1), r"factor 0.25; that is 1 / N")
    change("not divided by the number of positions", fn.global_avg_pool, (4, 5, 2), "x", m.times(20.0), "factor 20")
    change("not divided by the window", MEAN, (4, 6, 2), "x", m.times(4.0), "factor 4")
    # A place
    change("the first row dropped", CONV, IMAGE, "x", m.where(0.0, slice(None), 0), "first row .*border")
    change("the last column dropped", CONV, IMAGE, "x", m.where(0.0, slice(None), slice(None), -1), "last column .*border")
    change("the last row dropped", POOL, (4, 6, 2), "x", m.where(0.0, slice(None), -1), "last row .*border")
    change(
        "one stride phase dropped", STRIDED, (7, 8, 2), "x", m.where(0.0, slice(None), slice(1, None, 2)), r"rows with index % 2 in \[1\]"
    )
    change("stride phase off by one", STRIDED, (7, 8, 2), "x", m.permuted(lambda xp, g: xp.roll(g, 1, 1)), "rotated by 1 along row")
    change("one channel doubled", CONV, (5, 6, 4), "x", m.where(2.0, ..., 1), "channel 1; there a constant factor 2")
    change("one tap missing", CONV, IMAGE, "w", m.where(0.0, 1, 2), "kernel row 1, the last kernel column .*missing")
    change("one example missing", CONV, IMAGE, "x", m.where(0.0, 2), "example 2; there 0 throughout")
    change("one output channel's sign", CONV, IMAGE, "w", m.where(-1.0, ..., 2), "output channel 2; there a constant factor -1")
    change("one entry of a million zeroed", MILLION, (1000,), "w", m.where(0.0, 321, 654), r"one entry, \[321, 654\]; it is 0")
    change("one entry of a million off by 1e-3", MILLION, (1000,), "w", m.where(1.001, 12, 34), r"one entry, \[12, 34\]")
    # Transposed, flipped, moved
    add("conv dx: the kernel not flipped", CONV, IMAGE, misled(CONV, _flip, "x"), "right if w were flipped in space")
    add("conv dx: the kernel transposed in space", CONV, IMAGE, misled(CONV, _transpose, "x"), "right if w were transposed in space")
    add(
        "conv dx: the kernel transposed in its channels",
        SQUARE,
        IMAGE,
        misled(SQUARE, _swap_channels, "x"),
        "w were transposed in its channels",
    )
    change("transposed in space", CONV, IMAGE, "w", m.permuted(lambda xp, g: g.swapaxes(0, 1)), "kernel row and kernel column are swapped")
    change(
        "transposed in its channels",
        SQUARE,
        IMAGE,
        "w",
        m.permuted(lambda xp, g: g.swapaxes(2, 3)),
        "input channel and output channel are swapped",
    )
    change("flipped", CONV, IMAGE, "w", m.permuted(lambda xp, g: xp.flip(g, (0, 1))), "flipped along kernel row and kernel column")
    change("transposed", SQUARE_DENSE, (5,), "w", m.permuted(lambda xp, g: g.T), "transposed: axis 0 and axis 1")
    add("dense dx: dy w for dy w^T", SQUARE_DENSE, (5,), misled(SQUARE_DENSE, lambda r: (r[0], r[1].T), "x"), "right if w were transposed")
    change("column by column", fn.flatten, (3, 4), "x", m.permuted(lambda xp, g: g.reshape(len(g), 4, 3).swapaxes(1, 2)))
    change("groups mixed", GROUPS, (4, 5, 4), "w", m.permuted(lambda xp, g: xp.roll(g, 3, -1)), "rotated by 3 along output channel")
    change("channels mixed", DEPTHWISE, (4, 5, 4), "w", m.permuted(lambda xp, g: xp.roll(g, 1, -1)), "rotated by 1 along output channel")
    change("summed over the wrong axis", WIDE, IMAGE, "b", m.instead(lambda xp, r, dy: dy.sum((0, 1, 3))))
    add("conv: padding low and high swapped", LOW, IMAGE, LOW._replace(backward=HIGH.backward), "shifted by -?2")
    add("conv dx: the dilation forgotten", DILATED, IMAGE, _dilation_forgotten())
    # Masks and ties
    add(
        "relu: the mask missing",
        fn.relu,
        IMAGE,
        changed(fn.relu, "x", m.instead(lambda xp, r, dy: dy)),
        "only where the right gradient is 0: a mask",
    )
    add("relu: the mask of dy", fn.relu, IMAGE, changed(fn.relu, "x", m.instead(lambda xp, y, dy: xp.where(dy <= 0, 0, dy))))
    add("relu: the gradient 1 at 0", fn.relu, IMAGE, _one_at_zero)
    add("max_pool: ties split, not the first", POOL, (4, 6, 2), _first_as_split())
    add("max_pool: the first of ties, not split", SPLIT, (4, 6, 2), _split_as_first())
    add("max_pool: always the first tap", POOL, (4, 6, 2), misled(POOL, lambda r: (r[0], r[1] * 0)))
    add("max_pool: windows overwrite each other", OVERLAPPING, (5, 6, 2), m.overwriting(OVERLAPPING, 3, 1))
    add(
        "avg_pool: the border's own counts",
        PADDED,
        (5, 6, 2),
        PADDED._replace(backward=UNCOUNTED.backward),
    )
    # Batch norm, dropout
    add("batch_norm: without the mean term", NORM, IMAGE, m.batch_norm_without("mean"), "off by a constant per channel")
    add("batch_norm: without the variance term", NORM, IMAGE, m.batch_norm_without("variance"), "off by a multiple of x per channel")
    add("batch_norm: the unbiased variance", NORM, IMAGE, misled(NORM, m.unbiased, "x"))
    add("batch_norm: the statistics as constants", NORM, IMAGE, misled(NORM, lambda r: fn.normalization.BatchNormEval(*r), "x"))
    add(
        "batch_norm: dscale of x, not normalised",
        NORM,
        IMAGE,
        changed(NORM, "scale", m.instead(lambda xp, r, dy: (dy * r.x).sum((0, 1, 2)))),
    )
    add("dropout: the mask drawn again", DROPOUT, (5, 6), misled(DROPOUT, m.redrawn))
    add("dropout: not divided by the share kept", DROPOUT, (5, 6), _unscaled(), "factor 0.7")
    # Losses
    add(
        "cross-entropy: without 1 / N",
        m.cross_entropy(),
        (3,),
        m.cross_entropy(m.times_batch(1)),
        "factor 4; that is N",
    )
    add(
        "cross-entropy: 1 / N twice",
        m.cross_entropy(),
        (3,),
        m.cross_entropy(m.times_batch(-1)),
        "1 / N",
    )
    add("cross-entropy: smoothing forgotten", m.cross_entropy(label_smoothing=0.1), (3,), m.smoothing_forgotten())
    add("squared error: without the 2", m.squared_error(), (3,), m.squared_error(m.times(0.5)), "factor 0.5")
    # Rounding and state
    change("through bfloat16", CONV, IMAGE, "x", m.through("bfloat16"), "as through bfloat16")
    change("through float16", DENSE, (5,), "w", m.through("float16"), "as through float16")
    change("through float32", NORM, IMAGE, "x", m.through("float32"), "as through float32")
    add("dense: stale residuals", DENSE, (5,), m.stale(DENSE), "stale residuals")
    # Combinators
    add("residual: without the shortcut", RESIDUAL, IMAGE, _shortcut(0.0))
    add("residual: the shortcut twice", RESIDUAL, IMAGE, _shortcut(2.0))
    add("parallel: the branches swapped", BRANCHES, IMAGE, m.swapped_branches(BRANCHES))
    add("serial: the layers' gradients swapped", TWO, (5,), TWO._replace(backward=_swapped_params))
    # The tutorials
    add("T2: dx never returned", CONV, IMAGE, changed(CONV, "x", m.times(0.0)), "0 throughout: this gradient is missing")
    add(
        "T3: a bias of shape (O, 1)",
        CONV,
        IMAGE,
        changed(CONV, "b", lambda g, r, dy: g[:, None]),
        r"expected db to be float64 \(4,\).*got float64 \(4, 1\)",
    )
    add("T3, T4: every tie gets the whole gradient", POOL, (4, 6, 2), m.max_pool_all_ties((2, 2)))
    add("T4: the kernel not flipped", LARGE, (8, 9, 1), misled(LARGE, _flip, "x"), "right if w were flipped in space")
    add("T4: no mask behind ReLU", fn.relu, (4, 5, 1), m.relu_unmasked, "a mask is missing")
    add(
        "T4: the gradient divided by the classes",
        m.cross_entropy(),
        (10,),
        m.cross_entropy(m.times(0.1)),
        "factor 0.1",
    )
    return made


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


CATALOGUE: tuple[Mutant, ...] = tuple(_make())
