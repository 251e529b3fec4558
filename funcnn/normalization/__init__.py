"""Normalisation: by the statistics of a batch, by an example's own, by neighbouring channels."""

from funcnn.normalization.batch import BatchNormEval as BatchNormEval
from funcnn.normalization.batch import BatchNormTrain as BatchNormTrain
from funcnn.normalization.batch import batch_norm as batch_norm
from funcnn.normalization.example import Normalized as Normalized
from funcnn.normalization.example import group_norm as group_norm
from funcnn.normalization.example import instance_norm as instance_norm
from funcnn.normalization.example import layer_norm as layer_norm
from funcnn.normalization.example import rms_norm as rms_norm
from funcnn.normalization.response import local_response_norm as local_response_norm
