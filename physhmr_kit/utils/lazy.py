"""Names that a package exports without importing the modules that define them."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy_exports(package: str, names: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """The `__getattr__` of a package (PEP 562) that imports a module when one of its names is first used.

    torch, MuJoCo and Rerun take seconds to import; a `--help` that only needs the settings does not wait for them.

    Args:
        package: `__name__` of the package.
        names: module of the package -> names it defines.
    """
    module_of = {name: module for module, defined in names.items() for name in defined}

    def get(name: str) -> Any:
        if name in module_of:
            return getattr(import_module(f"{package}.{module_of[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get
