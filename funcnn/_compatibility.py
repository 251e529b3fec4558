"""The JAX releases that compute wrongly on the CPU: `pyproject.toml` excludes them, importing funcnn on one warns.

jaxlib 0.9, the newest that is left for Python 3.11, is right in float32, but not in float64: importing funcnn mends that.
"""

import os
import warnings

import jax
import jaxlib
import numpy as np

BROKEN = {
    "0.10.0": "can abort while it compiles gradients (jax-ml/jax#39264)",
    "0.10.1": "can abort while it compiles gradients (jax-ml/jax#39264)",
    "0.10.2": "silently computes wrong sums over more than 32,768 rows on the CPU (jax-ml/jax#39103)",
    "0.11.0": "can crash while it compiles multiply-reduce of rank 7 and 8 (jax-ml/jax#39257)",
    "0.11.1": "rewrites whole buffers for small updates in loops (jax-ml/jax#40101)",
}
REQUIREMENT = "jax>=0.9.2,!=0.10.*,!=0.11.0,!=0.11.1"


def warn_if_broken(version: str) -> None:
    """Warn where `version` of jaxlib is a broken one, and say which bug it has and what to install."""
    if version in BROKEN:
        warnings.warn(
            f"funcnn: jaxlib {version} {BROKEN[version]}; install another, pip install '{REQUIREMENT}'", RuntimeWarning, stacklevel=3
        )


SMALL_GROUPS = "--xla_backend_extra_options=-max-interleave-group-factor=4"


def mend_float64(version: str) -> None:
    """Keep jaxlib 0.9 (and 0.8) from computing float64 wrongly on CPUs with AVX-512; warn where it is too late for that.

    Where a loop adds 4 rows of 5 numbers of 64 bits and stores each row apart from the next, as joining and interleaving do,
    its LLVM makes one vector of 20 lanes, and then stores lanes 8 to 11 in place of 10 to 13: a subvector may only begin at a
    multiple of its length. Any program can hold such a loop, so no way of writing convolutions avoids it. SMALL_GROUPS does:
    LLVM then makes no vectors of rows of 5 to 8, and all else as before.
    """
    if tuple(map(int, version.split(".")[:2])) >= (0, 10):
        return
    flags = os.environ.get("XLA_FLAGS", "").strip()
    if SMALL_GROUPS in flags:
        return
    if not _started() and (not flags or flags.startswith("-")):  # else it is the name of a file that holds them
        os.environ["XLA_FLAGS"] = f"{flags} {SMALL_GROUPS}".strip()
    elif jax.default_backend() == "cpu" and not _joins_sums_rightly():
        warnings.warn(
            f"funcnn: jaxlib {version} computes wrongly in float64 on this CPU, and funcnn cannot prevent that, as JAX has computed "
            f'before, or XLA_FLAGS names a file; import funcnn first, or put "{SMALL_GROUPS}" into XLA_FLAGS or its file',
            RuntimeWarning,
            stacklevel=3,
        )


def _started() -> bool:
    """Whether JAX has read XLA_FLAGS, as it does once. In later releases, which need no mending, this may have moved."""
    from jax._src import xla_bridge

    return xla_bridge.backends_are_initialized()


def _joins_sums_rightly() -> bool:
    a, b, c = np.arange(60.0).reshape(3, 4, 5)
    with jax.enable_x64(True):
        got = jax.jit(lambda a, b, c: jax.numpy.concatenate([a, b + c], -1))(a, b, c)
    return np.array_equal(got, np.concatenate([a, b + c], -1))


warn_if_broken(jaxlib.__version__)
mend_float64(jaxlib.__version__)
