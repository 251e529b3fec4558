"""Every test runs with JAX's strict promotion of dtypes and ranks."""

import gc
from itertools import count
from pathlib import Path

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session", autouse=True)
def _compile_once(tmp_path_factory):
    """What takes over a second to compile is compiled once in a session, in processes that tests start too."""
    folder = str(tmp_path_factory.mktemp("compiled"))
    jax.config.update("jax_compilation_cache_dir", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", folder)
        yield


MAPS = Path("/proc/self/maps")
TESTS = count(1)


@pytest.fixture(autouse=True)
def _few_programs():
    """Compiled programs are let go before they have used up the pieces of memory that Linux gives a process, 65,530: XLA crashes there."""
    yield
    if next(TESTS) % 25 == 0 and MAPS.exists() and MAPS.read_bytes().count(b"\n") > 15_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def x64():
    """JAX in float64 for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def optax_promotes():
    """The standard promotion: Adam in optax raises a float to an integer power, which the strict one refuses."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def compiled_quickly():
    """Programs of one test are compiled without the optimisations that take most of the time: for what runs only briefly."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
