"""What is asked: each oracle looks at one point and compares the gradient there with what it finds itself.

An oracle is a function `(point, measured, rng) -> (rows, why it did not apply)`; `comparing.ASKED` lists them.
"""
