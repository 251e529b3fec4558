"""Convolution and transposed convolution."""

import funcnn as fn
from tests.twins.twin import Twin, first, kernel, last


def _theirs(function, **options):
    """PyTorch's functional `conv1d`, `conv_transpose3d` and so on; their transposed kernel is (C, F, KH, KW), ours (KH, KW, F, C)."""

    def run(p, x):
        import torch

        return last(getattr(torch.nn.functional, function)(first(x), kernel(p["w"]), p.get("b"), **options))

    return run


def _twin(transposed, features, size, in_shape, **options):
    function = f"conv{'_transpose' * transposed}{len(size)}d"
    layer = (fn.conv_transpose if transposed else fn.conv)(features, size, **{"padding": 0, **options})
    theirs = {option: value for option, value in options.items() if option != "bias"}
    return Twin(layer, in_shape, _theirs(function, **theirs))


TWINS = {
    "conv: 1-D": _twin(False, 4, (5,), (9, 3), stride=2, padding=2),
    "conv: 2-D": _twin(False, 5, (3, 2), (7, 6, 3), padding=1),
    "conv: 3-D": _twin(False, 3, (2, 3, 2), (4, 5, 3, 2), stride=2, padding=1),
    "conv: groups": _twin(False, 6, (3, 3), (5, 6, 4), groups=2, bias=False),
    "conv: dilation": _twin(False, 3, (3, 2), (7, 8, 2), dilation=(2, 3), stride=(1, 2)),
    "conv_transpose: 1-D": _twin(True, 4, (8,), (9, 3), stride=4, padding=2),
    "conv_transpose: 2-D": _twin(True, 5, (3, 3), (7, 6, 3), stride=2, padding=1, output_padding=1),
    "conv_transpose: 3-D": _twin(True, 3, (2, 3, 2), (4, 3, 3, 2), stride=2, padding=1, output_padding=(0, 1, 1)),
    "conv_transpose: groups": _twin(True, 6, (4, 4), (3, 4, 4), stride=2, padding=1, groups=2, bias=False),
    "conv_transpose: dilation": _twin(True, 3, (3, 2), (3, 4, 2), dilation=(3, 2), stride=(2, 1), output_padding=(2, 1)),
}
