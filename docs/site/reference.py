"""Pages generated from the code: commands, settings and the public functions of every package."""

from __future__ import annotations

import ast
import importlib
import io
import os
from contextlib import redirect_stdout
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_type_hints

from docstring_parser import parse_from_object

from physhmr_kit.cli import COMMANDS, DATA_COMMANDS
from physhmr_kit.stages.settings import CONFIGS, to_plain
from physhmr_kit.utils.markdown import markdown_table


def commands_page() -> str:
    """The `--help` of every command."""
    listed = {f"physhmr_kit.{name}": line for name, line in COMMANDS.items()}
    listed |= {f"data_prep.{name}": line for name, line in DATA_COMMANDS.items()}
    parts = [
        "# Commands",
        "Every command is a module and a subcommand of the console script: `python -m physhmr_kit.fit` is `physhmr fit`, `python -m data_prep.pack` is `physhmr data pack`. The settings of `fit` are on [their own page](settings.md).",
    ]
    for module, line in listed.items():
        parts += [f"## `{module}`", f"{line[0].upper()}{line[1:]}.", f"```text\n{_help(module)}\n```"]
    return "\n\n".join(parts) + "\n"


def _help(module: str) -> str:
    os.environ["COLUMNS"] = "100"  # width of the text
    out = io.StringIO()
    try:
        with redirect_stdout(out):  # in this process: torch is imported once, not for every command
            importlib.import_module(module).main(["--help"])
    except SystemExit as exit:
        if exit.code:
            raise
    return out.getvalue().strip()


def settings_page() -> str:
    """The settings of every stage, from the dataclasses that `fit` reads."""
    parts = [
        "# Settings",
        "Options of `python -m physhmr_kit.fit --stage STAGE`, and the layout of a run's `config.yaml`. The last part of a name is enough if it is unique in the stage: `--clip_range 0.1` for `--ppo.clip_range 0.1`.",
    ]
    for stage, kind in CONFIGS.items():
        parts += [f"## {stage}", (parse_from_object(kind).short_description or "").strip()]
        parts.append(markdown_table(("setting", "default", "meaning"), _rows(kind, kind())))
    return "\n\n".join(parts) + "\n"


def _rows(kind: type, values, prefix: str = "") -> list[tuple[str, str, str]]:
    texts = {
        p.arg_name: " ".join((p.description or "").split())
        for k in reversed(kind.__mro__)
        if is_dataclass(k)
        for p in parse_from_object(k).params
    }
    hints, rows = get_type_hints(kind), []
    for field in fields(kind):
        value = getattr(values, field.name)
        if is_dataclass(value):
            rows += _rows(
                hints[field.name] if is_dataclass(hints[field.name]) else type(value), value, f"{prefix}{field.name}."
            )
        else:
            rows.append((f"`{prefix}{field.name}`", f"`{_plain(to_plain(value))}`", texts.get(field.name, "")))
    return rows


def _plain(value) -> str:
    return "null" if value is None else " ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def package_pages(package: Path) -> dict[str, str]:
    """Package -> page with the public classes and functions of its modules, read without importing them."""
    pages = {}
    for folder in sorted(p for p in package.iterdir() if (p / "__init__.py").is_file()):
        files = sorted(p for p in folder.rglob("*.py") if p.name != "__init__.py" and p.stem[0] != "_")
        name = f"{package.name}.{folder.name}"
        parts = [f"# {name}", ast.get_docstring(_tree(folder / "__init__.py")) or ""]
        parts += [part for file in files for part in _module(file, package.parent)]
        pages[folder.name] = "\n\n".join(parts) + "\n"
    return pages


def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _module(file: Path, root: Path) -> list[str]:
    tree = _tree(file)
    parts = [f"## `{'.'.join(file.relative_to(root).with_suffix('').parts)}`", _text(tree)]
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name[0] != "_":
            parts += [f"### {node.name}", f"```python\n{_signature(node)}\n```", _text(node)]
            methods = node.body if isinstance(node, ast.ClassDef) else []
            for method in methods:
                if isinstance(method, ast.FunctionDef) and method.name[0] != "_":
                    parts += [f"#### {node.name}.{method.name}", f"```python\n{_signature(method)}\n```", _text(method)]
    return parts


def _text(node) -> str:
    """The docstring as a text block, which keeps its layout."""
    text = ast.get_docstring(node)
    return f"```text\n{text}\n```" if text else ""


def _signature(node: ast.FunctionDef | ast.ClassDef) -> str:
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        return f"class {node.name}({bases})" if bases else f"class {node.name}"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"def {node.name}({ast.unparse(node.args)}){returns}"
