"""`python -m experiments` lists the experiments, `python -m experiments NAME --help` says what one can do.

Nothing heavy is imported before the options are known to be right: the list is read from docstrings, and of an experiment's file
only what its `Config` needs is executed, so that the list, the help and a refusal come at once.
"""

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

MISSING = "experiments: expected the extra `experiments`, got no {}; install it, .venv/bin/pip install -e '.[experiments]'"
try:
    import tyro

    from experiments.common.console import CONSOLE, table
    from experiments.common.options import Options, UserError
except ModuleNotFoundError as error:
    sys.exit(MISSING.format(error.name))

FOLDER = Path(__file__).parent
NAMES = sorted(file.stem for file in FOLDER.glob("[!_]*.py"))
THEMES = ("first steps", "the tutorials", "gradients", "accuracy", "architectures", "speed")
"""The order of the list; a theme that is not among them comes last."""
LIGHT = ("collections", "collections.abc", "dataclasses", "pathlib", "typing", "tyro")
"""What a `Config` may need, beside the modules of experiments that are called `options`."""


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        table("python -m experiments NAME [--help]", ("theme", "name", "what it shows", "takes"), listed(), text_columns=3)
        return 0
    name, *rest = arguments
    if name not in NAMES:
        return _refuse(f"experiments: unknown experiment {name!r}; there are: {', '.join(NAMES)}")
    options = tyro.cli(config_of(name), prog=f"python -m experiments {name}", description=_docstring(name), args=rest)
    try:
        options.check(name)
        return _run(name, options)
    except UserError as error:
        return _refuse(str(error))
    except KeyboardInterrupt as stopped:
        _refuse(f"{name}: stopped; {str(stopped) or 'nothing is written yet'}")
        return 130  # as shells say of what Ctrl-C has ended


def _run(name: str, options: Options) -> int:
    try:
        module = importlib.import_module(f"experiments.{name}")
        from funcnn.datasets import DataError  # not before the options are right
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("experiments", "funcnn"):
            raise
        return _refuse(MISSING.format(error.name))
    try:
        module.main(module.Config(**vars(options)))
    except DataError as error:
        return _refuse(str(error))
    return 0


def _refuse(message: str) -> int:
    CONSOLE.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    return 2


def listed() -> Iterator[tuple[str, ...]]:
    """Theme, name, what it shows and how long it takes, of every experiment; the theme where it begins."""
    rows = sorted(map(described, NAMES), key=lambda row: [*THEMES, row[0]].index(row[0]))
    for before, (theme, *words) in zip(("", *(theme for theme, *_ in rows)), rows, strict=False):
        yield "" if theme == before else theme, *words


def described(name: str) -> tuple[str, str, str, str]:
    """What the line "Theme: ..." of its docstring says, its name, and its first paragraph, which ends in "Takes ..."."""
    docstring = _docstring(name)
    theme = re.search(r"^Theme: (.+)\.$", docstring, re.MULTILINE)
    shows, _, takes = docstring.split("\n\n")[0].replace("\n", " ").removesuffix(".").rpartition(" Takes ")
    return theme[1] if theme else "others", name, shows, takes


def _parsed(name: str) -> ast.Module:
    return ast.parse((FOLDER / f"{name}.py").read_text())


def _docstring(name: str) -> str:
    return ast.get_docstring(_parsed(name)) or ""


def config_of(name: str) -> type[Options]:
    """An experiment's `Config`, by the light statements of its file alone; by all of it where they do not do."""
    path, tree = FOLDER / f"{name}.py", _parsed(name)
    tree.body = [node for node in tree.body if _is_light(node)]
    module = module_from_spec(spec_from_file_location(f"the options of {name}", path))  # pyrefly: ignore
    sys.modules[module.__name__] = module  # where tyro looks for the source, which says what each option means
    try:
        exec(compile(tree, path, "exec"), vars(module))
    except NameError:
        module = importlib.import_module(f"experiments.{name}")
    return module.Config


def _is_light(node: ast.stmt) -> bool:
    """Whether this is the `Config`, or an import of what it is made of."""
    match node:
        case ast.ClassDef(name="Config") | ast.Assign(targets=[ast.Name(id="Config")]):
            return True
        case ast.ImportFrom(module=str(module)):
            return module in LIGHT or re.fullmatch(r"experiments\..*\boptions", module) is not None
        case ast.Import(names=names):
            return all(alias.name in LIGHT for alias in names)
    return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
