"""What one wants to know of a whole network before and after it runs: sizes, arithmetic, memory, and the feature maps."""

from funcnn.inspection.sizes import Summary as Summary
from funcnn.inspection.values import count_parameters as count_parameters
from funcnn.inspection.values import stages as stages
from funcnn.inspection.walk import summary as summary
