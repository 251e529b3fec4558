"""The checker's own test material: wrong gradients that it must catch, and right layers that it must let pass.

`mutants` makes a right layer wrong, by rule; `catalogue` applies every rule where it belongs, and lists right layers.
They are layers of funcnn and use nothing of the checker, which knows nothing of them.
"""
