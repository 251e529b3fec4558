"""What a trained network says of new inputs, and what its layers make of one."""

import numpy as np
import pytest

import funcnn as fn
from funcnn.training import predict
from tests.test_training import KEY, X

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def test_predictions_are_those_of_the_network_whatever_the_batch():
    net = fn.serial(fn.conv(2, (3, 3)), fn.flatten, fn.dense(3))
    params, state = net.init(KEY, X.shape[1:])
    logits = np.asarray(net.apply(params, state, X)[0])
    for size in (5, 22, 100):
        np.testing.assert_array_equal(predict(net, params, state, X, batch_size=size), logits.argmax(1))
        np.testing.assert_allclose(predict(net, params, state, X, answer="outputs", batch_size=size), logits, rtol=1e-5, atol=1e-6)
    shares = predict(net, params, state, X, answer="probabilities")
    np.testing.assert_allclose(shares, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), rtol=1e-5)
    mirrored = lambda x: x[:, :, ::-1]
    expected = (logits + np.asarray(net.apply(params, state, mirrored(X))[0])) / 2
    seen = predict(net, params, state, X, answer="outputs", views=[lambda x: x, mirrored])
    np.testing.assert_allclose(seen, expected, rtol=1e-5, atol=1e-6)


def test_the_stages_of_a_network_are_the_outputs_of_its_layers():
    net = fn.serial(fn.conv(2, (3, 3)), fn.relu, fn.dropout(0.5), fn.residual(fn.relu), fn.flatten, fn.dense(3))
    params, state = net.init(KEY, X.shape[1:])
    seen = fn.stages(net, params, state, X)
    assert [name for name, _ in seen] == ["input", "conv", "relu", "dropout", "residual", "flatten", "dense"]
    np.testing.assert_array_equal(seen[0][1], X)
    np.testing.assert_allclose(seen[-1][1], net.apply(params, state, X)[0], rtol=1e-6)
    np.testing.assert_array_equal(seen[3][1], seen[2][1])
    assert [name for name, _ in fn.stages(fn.relu, (), (), X)] == ["input", "relu"]
    assert [name for name, _ in fn.stages(fn.serial(), (), (), X)] == ["input"]
    assert fn.count_parameters(params) == 9 * 2 + 2 + 72 * 3 + 3
