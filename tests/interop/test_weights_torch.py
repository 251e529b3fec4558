"""Weights from PyTorch and back: six networks and more give its outputs, and the same weights again."""

import numpy as np
import pytest

import funcnn as fn
from funcnn import interop, networks

torch = pytest.importorskip("torch")
nets = pytest.importorskip("tests.interop.torch_nets")

pytestmark = pytest.mark.peers


NETWORKS = {
    "resnet18": (networks.resnet18(5, width=4), nets.ResNet18(5, 4), (64, 67, 3)),
    "lenet5": (networks.lenet5(7), nets.LeNet5(7, 5 * 4), (28, 26, 1)),
    "vgg11": (networks.vgg11(3, width=3), nets.VGG11(3, 3, 2 * 3, 2), (64, 96, 2)),
    "all_convolutional": (networks.all_convolutional(4, width=5), nets.AllConvolutional(4, 5), (12, 8, 3)),
    "mobilenet": (networks.mobilenet(3, width=4), nets.MobileNet(3, 4), (11, 8, 3)),
    "unet": (networks.unet(3, width=4, depth=2), nets.UNet(3, 4, 2), (8, 12, 1)),
    "convnext": (networks.convnext(3, width=6, depths=(2, 1, 3)), nets.ConvNeXt(3, 6, (2, 1, 3)), (16, 24, 3)),
}


def first(x):
    return torch.tensor(np.moveaxis(x, -1, 1).copy())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.usefixtures("x64")
def test_networks_compute_the_same(name):
    net, model, in_shape = NETWORKS[name]
    model = nets.randomized(model.double())
    x = np.random.default_rng(0).standard_normal((2, *in_shape))
    params, state = interop.params_from_torch(net, model.state_dict(), in_shape)
    y = np.asarray(net.apply(*map(fn.to_numpy, (params, state)), x)[0])
    with torch.no_grad():
        theirs = model(first(x)).numpy()
    theirs = np.moveaxis(theirs, 1, -1)
    assert np.abs(theirs).max() > 0.01
    np.testing.assert_allclose(y, theirs, rtol=1e-10, atol=1e-10 * np.abs(theirs).max())
    given = interop.params_to_torch(net, params, state, in_shape, like=model.state_dict())
    for key, a in model.state_dict().items():
        np.testing.assert_array_equal(given[key], a.numpy() if a.is_floating_point() else 0)
