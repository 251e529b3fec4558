"""How far hand-written gradients are from other ways to compute them."""

from funcnn.checking.agreement import Agreement as Agreement
from funcnn.checking.agreement import agreement as agreement
