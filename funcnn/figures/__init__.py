"""Pictures of data, of training, of gradients and of what a network has learned. Needs matplotlib (the extra `experiments`).

Every function returns a `matplotlib.figure.Figure`; `figure.savefig(path)` writes it. Nothing global is touched. What cannot be
drawn is refused in one sentence; what is not finite is left out, and the picture says so.
"""

from funcnn.extras import needs_extra

with needs_extra("funcnn.figures", "experiments"):
    from funcnn.figures.answers import confusion_matrix as confusion_matrix
    from funcnn.figures.answers import misread as misread
    from funcnn.figures.curves import learning_curves as learning_curves
    from funcnn.figures.diagonal import gradients as gradients
    from funcnn.figures.images import examples as examples
    from funcnn.figures.images import filters as filters
    from funcnn.figures.maps import feature_maps as feature_maps
