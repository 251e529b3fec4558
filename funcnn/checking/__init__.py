"""The gradient checker: hand-written gradients against `jax.vjp`, differences, the complex step and more; it says where they are wrong."""

from funcnn.checking.checks import check_layer as check_layer
from funcnn.checking.checks import check_pair as check_pair
from funcnn.checking.checks import check_vjp as check_vjp
from funcnn.checking.monitor import layer_names as layer_names
from funcnn.checking.monitor import monitor as monitor
from funcnn.checking.report import GradientError as GradientError
from funcnn.checking.report import Report as Report
from funcnn.checking.report import Row as Row
