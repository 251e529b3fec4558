"""The JAX releases that compute wrongly on the CPU: `pyproject.toml` excludes them, importing funcnn on one warns."""

import warnings

import jaxlib

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


warn_if_broken(jaxlib.__version__)
