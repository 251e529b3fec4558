"""Weights from PyTorch and back: six networks and more give its outputs, and the same weights again."""

import jax
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


# Layers, and vectors in the order of channels first


class With(torch.nn.Module):
    """A function of x and modules: `With(lambda m, x: m.a(x) + x, a=nn.Linear(2, 2))`."""

    def __init__(self, run, **modules):
        super().__init__()
        self.run = run
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.run(self, x)


nn = torch.nn


def parameter(*shape):
    return nn.Parameter(torch.ones(shape))


def gated(m, x):
    return x.mean((2, 3)) * torch.tanh(m.gate(x.mean((2, 3))))


LAYERS = {
    "conv: 1-D": (fn.conv(4, (5,), stride=2, padding=2), nn.Conv1d(3, 4, 5, 2, 2), (9, 3)),
    "conv: 3-D": (fn.conv(4, (1, 3, 2), padding=0), nn.Conv3d(2, 4, (1, 3, 2)), (3, 4, 5, 2)),
    "conv: groups": (fn.conv(6, (3, 3), padding=0, groups=2), nn.Conv2d(4, 6, 3, groups=2), (5, 6, 4)),
    "conv: depthwise": (fn.conv(8, (3, 3), padding=0, groups=4), nn.Conv2d(4, 8, 3, groups=4), (5, 6, 4)),
    "conv_transpose: 1-D": (fn.conv_transpose(3, (4,), stride=2, padding=1), nn.ConvTranspose1d(3, 3, 4, 2, 1), (5, 3)),
    "conv_transpose: 3-D": (fn.conv_transpose(3, (2, 3, 1), padding=0), nn.ConvTranspose3d(2, 3, (2, 3, 1)), (2, 3, 4, 2)),
    "conv_transpose: groups": (fn.conv_transpose(6, (3, 2), padding=0, groups=2), nn.ConvTranspose2d(4, 6, (3, 2), groups=2), (3, 4, 4)),
    "conv_transpose: depthwise": (
        fn.conv_transpose(4, (2, 2), stride=2, padding=0, groups=4), nn.ConvTranspose2d(4, 4, 2, 2, groups=4), (3, 4, 4),
    ),
    "group_norm": (fn.group_norm(2), nn.GroupNorm(2, 4), (3, 5, 4)),
    "instance_norm": (fn.instance_norm(), nn.InstanceNorm2d(4, affine=True), (3, 5, 4)),
    "layer_norm: over all": (fn.layer_norm(axes=3), nn.LayerNorm((4, 3, 5)), (3, 5, 4)),
    "layer_norm: no shift": (fn.layer_norm(shift=False), nn.LayerNorm(6, bias=False), (6,)),
    "rms_norm": (fn.rms_norm(epsilon=1e-5), nn.RMSNorm(6, 1e-5), (6,)),
    "batch_norm: 3-D": (fn.batch_norm(), nn.BatchNorm3d(2), (3, 4, 5, 2)),
    "prelu": (fn.prelu(), nn.PReLU(4), (3, 5, 4)),
    "prelu: shared": (fn.prelu(shared=True), nn.PReLU(), (3, 5, 4)),
    "scale (C, 1, 1)": (fn.scale(), With(lambda m, x: x * m.gamma, gamma=parameter(4, 1, 1)), (3, 5, 4)),
    "bias per position": (fn.bias(per="position"), With(lambda m, x: x + m.where, where=parameter(1, 3, 5)), (3, 5, 4)),
    "bias per entry": (fn.bias(per="entry"), With(lambda m, x: x + m.where, where=parameter(4, 3, 5)), (3, 5, 4)),
    "layer scale in a block": (
        fn.residual(fn.conv(3, (3, 3)), fn.scale()),
        With(lambda m, x: x + m.gamma * m.conv(x), gamma=parameter(3, 1, 1), conv=nn.Conv2d(3, 3, 3, padding=1)), (3, 5, 3),
    ),
    "a norm behind a flatten": (
        fn.serial(fn.flatten, fn.batch_norm(), fn.dense(12), fn.batch_norm(), fn.prelu(), fn.dense(2)),
        nn.Sequential(nn.Flatten(), nn.BatchNorm1d(24), nn.Linear(24, 12), nn.BatchNorm1d(12), nn.PReLU(12), nn.Linear(12, 2)), (2, 3, 4),
    ),
    "a generator": (
        fn.serial(fn.dense(24), fn.batch_norm(), fn.relu, fn.reshape(2, 3, 4), fn.conv_transpose(3, (2, 2), stride=2)),
        nn.Sequential(
            nn.Linear(5, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Unflatten(1, (4, 2, 3)), nn.ConvTranspose2d(4, 3, 2, 2)
        ), (5,),
    ),
    "an autoencoder": (
        fn.serial(fn.conv(4, (3, 3)), fn.flatten, fn.dense(24), fn.residual(fn.dense(24), fn.tanh), fn.reshape(2, 3, 4)),
        nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.Flatten(), nn.Linear(24, 24),
            With(lambda m, x: x + torch.tanh(m.f(x)), f=nn.Linear(24, 24)), nn.Unflatten(1, (4, 2, 3)),
        ), (2, 3, 2),
    ),
    "what is flattened plus a dense layer": (
        fn.serial(fn.flatten, fn.residual(fn.dense(24), fn.tanh, fn.dense(24)), fn.dense(2)),
        nn.Sequential(
            nn.Flatten(), With(lambda m, x: x + m.b(torch.tanh(m.a(x))), a=nn.Linear(24, 24), b=nn.Linear(24, 24)), nn.Linear(24, 2)
        ), (2, 3, 4),
    ),
    "two flattened branches": (
        fn.serial(
            fn.parallel(
                fn.serial(fn.conv(3, (3, 3)), fn.flatten), fn.serial(fn.flatten, fn.dense(5)), fn.flatten, fn.global_avg_pool,
                merge="concatenate",
            ), fn.dense(2),
        ),
        With(
            lambda m, x: m.head(torch.cat([m.conv(x).flatten(1), m.fc(x.flatten(1)), x.flatten(1), x.mean((2, 3))], 1)),
            conv=nn.Conv2d(2, 3, 3, padding=1), fc=nn.Linear(12, 5), head=nn.Linear(18 + 5 + 12 + 2, 2),
        ), (2, 3, 2),
    ),
    "a gate on a vector": (
        fn.serial(fn.global_avg_pool, fn.parallel(fn.identity, fn.serial(fn.dense(4), fn.tanh), merge="multiply")),
        With(gated, gate=nn.Linear(4, 4)), (3, 5, 4),
    ),
    "a flatten of one axis": (
        fn.serial(fn.conv(3, (3,)), fn.repeat(fn.residual(fn.conv(3, (3,))), 2), fn.flatten, fn.dense(2)),
        nn.Sequential(
            nn.Conv1d(2, 3, 3, padding=1), *(With(lambda m, x: x + m.f(x), f=nn.Conv1d(3, 3, 3, padding=1)) for _ in range(2)),
            nn.Flatten(), nn.Linear(15, 2),
        ), (5, 2),
    ),
    "positions as a sequence": (
        fn.serial(fn.conv(3, (1, 1)), fn.reshape(6, 3), fn.flatten, fn.dense(2)),
        nn.Sequential(nn.Conv2d(2, 3, 1), nn.Flatten(), nn.Linear(18, 2)), (2, 3, 2),
    ),
    "named": (
        fn.named(second=fn.conv(3, (1, 1)), first=fn.conv(3, (1, 1))),
        With(lambda m, x: m.first(m.second(x)), first=nn.Conv2d(3, 3, 1), second=nn.Conv2d(3, 3, 1)), (3, 2, 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.usefixtures("x64")
def test_layers_compute_the_same(name):
    net, model, in_shape = LAYERS[name]
    model = nets.randomized(model.double())
    x = np.random.default_rng(0).standard_normal((3, *in_shape))
    params, state = fn.to_numpy(interop.params_from_torch(net, model.state_dict(), in_shape))
    y = np.asarray(net.apply(params, state, x)[0])
    with torch.no_grad():
        np.testing.assert_allclose(y, np.moveaxis(model(first(x)).numpy(), 1, -1), rtol=1e-10, atol=1e-10)
        given = interop.params_to_torch(net, params, state, in_shape, like=model.state_dict())
        expected = {n: a.numpy().copy() for n, a in model.state_dict().items()}
    for key, a in expected.items():
        np.testing.assert_array_equal(given[key], 0 if key.endswith("tracked") else a)


# ResNet-18 as it is used


@pytest.fixture
def resnet18():
    return networks.resnet18(10, width=8), nets.randomized(nets.ResNet18(10, 8)), (64, 64, 3)


def logits(model, x):
    with torch.no_grad():
        return model(first(x)).numpy()


def test_resnet18_in_float32_there_and_back(resnet18, tmp_path):
    """From tensors that require a gradient, through a safetensors file whose names are sorted, into a fresh model, strictly."""
    net, model, in_shape = resnet18
    x = np.random.default_rng(0).standard_normal((4, *in_shape), "float32")
    expected = logits(model, x)
    params, state = interop.params_from_torch(net, model.state_dict(keep_vars=True), in_shape)
    y = np.asarray(net.apply(*map(fn.to_numpy, (params, state)), x)[0])
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-4)
    fresh = nets.ResNet18(10, 8).eval()
    assert np.abs(logits(fresh, x) - expected).max() > 0.1
    weights = interop.params_to_torch(net, params, state, in_shape, like=fresh.state_dict())
    fresh.load_state_dict({name: torch.tensor(a) for name, a in weights.items()}, strict=True)
    np.testing.assert_array_equal(logits(fresh, x), expected)

    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(model.state_dict(), tmp_path / "theirs.safetensors")
    from_file = interop.read_safetensors(tmp_path / "theirs.safetensors")
    with pytest.raises(ValueError, match=r"'bn1', 'layer1.0.bn1', .*pass names="):
        interop.params_from_torch(net, from_file, in_shape)
    names = {"bn1": "0.1"} | {f"layer{i}.0.downsample.1": f"{2 * i}.0.1.1" for i in (2, 3, 4)}
    names |= {f"layer{i}.0.bn{n}": f"{2 * i}.0.0.{n - 1}.1" for i in (2, 3, 4) for n in (1, 2)}
    again = interop.params_from_torch(net, from_file, in_shape, names=names)
    jax.tree.map(np.testing.assert_array_equal, again, (params, state))


@pytest.mark.slow
def test_resnet18_of_full_size():
    """11,689,512 parameters, 1,000 classes, images of 224x224: PyTorch's logits to 1e-4."""
    net, model, in_shape = networks.resnet18(), nets.ResNet18(), (224, 224, 3)
    generator = torch.Generator().manual_seed(0)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean.copy_(0.1 * torch.randn(norm.running_mean.shape, generator=generator))
        norm.running_var.copy_(0.5 + torch.rand(norm.running_var.shape, generator=generator))
    x = np.random.default_rng(0).standard_normal((2, *in_shape), "float32")
    expected = logits(model.eval(), x)
    params, state = interop.params_from_torch(net, model.state_dict(), in_shape)
    assert fn.count_parameters(params) == 11_689_512
    y = np.asarray(jax.jit(net.apply)(params, state, x)[0])
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_dtypes_of_tensors(resnet18, dtype):
    net, model, in_shape = resnet18
    expected = {name: a.double().numpy() for name, a in model.to(getattr(torch, dtype)).state_dict().items()}
    params, state = interop.params_from_torch(net, model.state_dict(), in_shape)
    assert {str(a.dtype) for a in jax.tree.leaves((params, state))} == {dtype}
    for name, a in interop.params_to_torch(net, params, state, in_shape, like=model.state_dict()).items():
        np.testing.assert_array_equal(a.astype("float64"), 0 if name.endswith("tracked") else expected[name])


def test_a_sequential_has_our_names():
    net = fn.serial(fn.conv(4, (3, 3), padding=0), fn.batch_norm(), fn.relu, fn.flatten, fn.dense(3))
    model = nets.randomized(nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 3 * 2, 3)))
    trees = interop.params_from_torch(net, model.state_dict(), (5, 4, 2))
    weights = interop.params_to_torch(net, *trees, (5, 4, 2))
    assert set(weights) == set(model.state_dict())
    x = np.random.default_rng(0).standard_normal((4, 5, 4, 2), "float32")
    expected = logits(model, x)
    model.load_state_dict({name: torch.tensor(a) for name, a in weights.items()}, strict=True)
    np.testing.assert_array_equal(logits(model, x), expected)
