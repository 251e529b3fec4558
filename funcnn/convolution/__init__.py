"""Convolution as array operations: the algorithms (values that all compute the same) and the layer made of them."""

from funcnn.convolution.algorithm import ConvAlgorithm as ConvAlgorithm
from funcnn.convolution.algorithm import input_gradient as input_gradient
from funcnn.convolution.auto import auto as auto
from funcnn.convolution.direct import direct as direct
from funcnn.convolution.fft import fft as fft
from funcnn.convolution.geometry import Axis as Axis
from funcnn.convolution.geometry import Geometry as Geometry
from funcnn.convolution.im2col import im2col as im2col
from funcnn.convolution.kn2row import kn2row as kn2row
from funcnn.convolution.phases import phases as phases
from funcnn.convolution.rowwise import rowwise as rowwise
from funcnn.convolution.shifted import shifted as shifted
from funcnn.convolution.winograd import winograd2 as winograd2
from funcnn.convolution.winograd import winograd4 as winograd4
