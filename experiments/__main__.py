"""`python -m experiments` lists the experiments, `python -m experiments NAME --help` says what one can do."""

import importlib
import pkgutil
import sys

import experiments

try:
    import tyro

    from experiments.harness import CONSOLE, UserError, table
    from funcnn.datasets import DataError
except ModuleNotFoundError as error:
    sys.exit(f"experiments: expected the extra `experiments`, got no {error.name}; install it, .venv/bin/pip install -e '.[experiments]'")

HELPERS = {"__main__", "checkers", "compare", "contenders", "harness", "mistakes", "pytorch", "race", "system", "tutorial", "workloads"}
NAMES = sorted(m.name for m in pkgutil.iter_modules(experiments.__path__) if m.name not in HELPERS)


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        heads = [(name, (importlib.import_module(f"experiments.{name}").__doc__ or "").split("\n\n")[0]) for name in NAMES]
        shown = [(name, *head.removesuffix(".").rsplit(" Takes ", 1)) for name, head in heads]
        table("python -m experiments NAME [--help]", ("name", "what it shows", "takes"), shown, text_columns=2)
        return 0
    name, *rest = arguments
    if name not in NAMES:
        CONSOLE.print(f"experiments: unknown experiment {name!r}; there are: {', '.join(NAMES)}", style="red", markup=False, soft_wrap=True)
        return 2
    module = importlib.import_module(f"experiments.{name}")
    options = tyro.cli(module.Config, prog=f"python -m experiments {name}", description=module.__doc__, args=rest)
    try:
        module.main(options)
    except (UserError, DataError) as error:
        CONSOLE.print(str(error), style="red", markup=False, soft_wrap=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
