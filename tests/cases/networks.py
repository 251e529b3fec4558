"""Whole networks, made narrow."""

from functools import partial

from funcnn import networks
from tests.cases.case import Case

WHOLE = partial(Case, slow=True, float32=1e-4)

CASES = {
    "network: lenet5": WHOLE(networks.lenet5(3), (12, 12, 1)),
    "network: vgg11": WHOLE(networks.vgg11(3, width=2), (32, 32, 1)),
    "network: all_convolutional": WHOLE(networks.all_convolutional(3, width=3), (8, 9, 2)),
    "network: resnet20": WHOLE(networks.resnet20(3, width=2), (8, 8, 2)),
    "network: resnet18": WHOLE(networks.resnet18(3, width=2), (33, 35, 1)),
    "network: mobilenet": WHOLE(networks.mobilenet(3, width=2), (8, 9, 2)),
    "network: unet": WHOLE(networks.unet(2, width=2, depth=2), (8, 12, 1)),
    "network: convnext": WHOLE(networks.convnext(3, width=6, depths=(2, 2)), (8, 8, 1)),
    "squeeze_and_excitation": Case(networks.squeeze_and_excitation(4), (3, 4, 4)),
}
