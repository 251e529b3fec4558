"""A batch that is divided over devices stays so, by what JAX knows of its arrays while it traces."""

from collections.abc import Callable
from math import prod

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from funcnn.arrays import PyTree
from funcnn.cpu import divided


def parts(tree: PyTree, count: int) -> PyTree:
    """`count` parts (count, N / count, ...) of the N examples, every count-th in one: devices which divide N then divide each of them."""
    return jax.tree.map(lambda a: jnp.moveaxis(a.reshape(a.shape[0] // count, count, *a.shape[1:]), 1, 0), tree)


def joined(tree: PyTree) -> PyTree:
    """The inverse of `parts`: (count, N / count, ...) to (N, ...)."""
    return jax.tree.map(lambda a: jnp.moveaxis(a, 0, 1).reshape(a.shape[0] * a.shape[1], *a.shape[2:]), tree)


def batches(tree: PyTree, count: int) -> PyTree:
    """`count` parts, whichever: on one device those that lie one after the other, which needs no copy."""
    if any(map(divided, jax.tree.leaves(tree))):
        return parts(tree, count)
    return jax.tree.map(lambda a: a.reshape(count, a.shape[0] // count, *a.shape[1:]), tree)


def divide(batch: PyTree) -> PyTree:
    """The batch with its examples divided over the devices of the mesh that its arrays are on, where they come out even.

    What is taken from an array by index is otherwise whole on every device, and every device computes everything.
    """

    def one(a: jax.Array) -> jax.Array:
        mesh = jax.typeof(a).sharding.mesh
        axes = tuple(name for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True) if kind == AxisType.Auto)
        while axes and a.shape[0] % prod(mesh.shape[name] for name in axes):
            axes = axes[:-1]
        return jax.lax.with_sharding_constraint(a, NamedSharding(mesh, P(axes))) if axes and mesh.size > 1 else a

    return jax.tree.map(one, batch)


def over_any_mesh(program: Callable, *, new_state: bool = True) -> Callable:
    """`program` for arrays on a mesh whose axes are explicit, too: inside they are automatic.

    An explicit axis asks for an output's sharding wherever a sum goes over it.

    Args:
        program: of trees of arrays, to metrics, which then are on every device.
        new_state: whether it returns (new state, metrics), the new state to be placed as the old one, its first argument, is.
    """

    def run(*arguments: PyTree) -> PyTree:
        meshes = [jax.typeof(a).sharding.mesh for a in jax.tree.leaves(arguments)]
        explicit = next((mesh for mesh in meshes if AxisType.Explicit in mesh.axis_types), None)
        if explicit is None:
            return program(*arguments)

        def place(a: jax.Array) -> NamedSharding:
            sharding = jax.typeof(a).sharding
            return NamedSharding(explicit, sharding.spec if sharding.mesh == explicit else P())

        everywhere = NamedSharding(explicit, P())
        places = (jax.tree.map(place, arguments[0]), everywhere) if new_state else everywhere
        with jax.sharding.use_abstract_mesh(explicit):
            return jax.sharding.auto_axes(program, axes=explicit.axis_names, out_sharding=places)(*arguments)

    return run
