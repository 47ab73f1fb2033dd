"""The public names of the core as their sources declare them: fields, signatures and docstrings, no bodies."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CORE = Path(__file__).parent.parent / "core/penstock"

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = ast.ClassDef | Function


def public_names(package: str = "") -> dict[str, str]:
    """What `penstock`, or a package in it, exports: each name, and the module that defines it ("" for a module)."""
    imports = [node for node in tree(f"{package}/__init__".lstrip("/")).body if isinstance(node, ast.ImportFrom)]
    homes = {alias.name: node.module or "" for node in imports for alias in node.names}
    root = f"penstock.{package}".rstrip(".")
    return {name: home.removeprefix(root).removeprefix(".") for name, home in homes.items()}


def stubs(place: str) -> str:
    """The public names of a `module`, or `package/module`, in the order of the source; of `module.Name` that one."""
    path, _, only = place.partition(".")
    package, _, module = path.rpartition("/")
    public, body = public_names(package), tree(path).body
    names = {only} if only else {name for name, home in public.items() if home == module}
    if module in public:
        names = {node.name for node in body if isinstance(node, Definition) and node.name[0] != "_"}
    return formatted("\n\n".join(_stub(node, after) for node, after in defined(body, names)))


def formatted(code: str) -> str:
    """Python as the rest of the repository is formatted; `ruff format` looks into Markdown, too."""
    command = [sys.executable, "-m", "ruff", "format", "--quiet", "--line-length", "120", "-"]
    return subprocess.run(command, input=code, capture_output=True, text=True, check=True).stdout.strip()


def tree(module: str) -> ast.Module:
    """The source of a module of the core."""
    return ast.parse((CORE / f"{module}.py").read_text("utf-8"))


def defined(body: list[ast.stmt], names: set[str]) -> Iterator[tuple[ast.stmt, ast.stmt | None]]:
    """The definitions of these names, each with the statement after it; of an `if` what holds at run time."""
    for number, node in enumerate(body, 1):
        if isinstance(node, ast.If):
            yield from defined(node.orelse, names)
        elif (node.name if isinstance(node, Definition) else _assigned(node)) in names:
            yield node, body[number] if number < len(body) else None


def _assigned(node: ast.stmt) -> str:
    """The name to which a statement gives a value, "" if it does nothing of the kind."""
    match node:
        case ast.Assign(targets=[target]) | ast.AnnAssign(target=target):
            return ast.unparse(target)
    return ""


def _stub(node: ast.stmt, after: ast.stmt | None) -> str:
    match node:
        case ast.ClassDef():
            node.body = list(_members(node)) or [_ellipsis()]
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            _emptied(node)
        case _ if after is not None and is_text(after):
            return f"{ast.unparse(node)}\n{ast.unparse(after)}"
    return ast.unparse(node)


def _members(node: ast.ClassDef) -> Iterator[ast.stmt]:
    for item in node.body:
        if isinstance(item, Function):
            if item.name[0] != "_" or item.name in ("__init__", "__call__"):
                yield _emptied(item)
        elif is_text(item) or _assigned(item)[:1] not in ("", "_"):
            yield item


def _emptied(node: Function) -> Function:
    """Without its body, but for the docstring and, in a constructor, the attributes of the new object."""
    kept = [item for item in node.body[:1] if is_text(item)]
    if node.name == "__init__":
        kept += [item for item in node.body if _assigned(item).startswith("self.") and "._" not in _assigned(item)]
    node.body = kept or [_ellipsis()]
    return node


def is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _ellipsis() -> ast.stmt:
    return ast.Expr(ast.Constant(...))
