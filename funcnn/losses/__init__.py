"""Losses, as pairs: `loss(outputs, targets) -> (mean loss, doutputs)`."""

from funcnn.losses.classification import hinge as hinge
from funcnn.losses.classification import negative_log_likelihood as negative_log_likelihood
from funcnn.losses.classification import softmax_cross_entropy as softmax_cross_entropy
from funcnn.losses.elementwise import binary_cross_entropy as binary_cross_entropy
from funcnn.losses.elementwise import huber as huber
from funcnn.losses.elementwise import mean_absolute_error as mean_absolute_error
from funcnn.losses.elementwise import mean_squared_error as mean_squared_error
from funcnn.losses.pairs import pair_of as pair_of
from funcnn.losses.pairs import with_gradient as with_gradient
