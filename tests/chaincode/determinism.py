"""What in a module's syntax could make two endorsers answer differently.

Read are the contract, what stands between it and the shim, and every module of `clearline` that
these load. Reading proves nothing by itself (a name can hide anything), so it is strict: what
looks like a clock, a random number, a float, an order of a set or the environment is a finding,
whether it is reached or not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import chaincode.contract
import clearline

ROOT = Path(clearline.__file__).parent.parent
CONTRACT = sorted(Path(chaincode.contract.__file__).parent.glob("*.py"))
ADAPTER = ROOT / "chaincode" / "adapter.py"
# Of the standard library: what answers the same everywhere.
PURE = frozenset(
    {"__future__", "collections.abc", "dataclasses", "datetime", "enum", "functools", "typing"}
)
# What the shared modules build on: hashes, encodings, signatures. Files are read by key loaders.
LIBRARY = PURE | {"binascii", "hashlib", "hmac", "json", "orjson", "re", "pathlib"}
# The two sides of the adapter: what is asynchronous and of the wire is not the contract's.
SHIM = "chaincode.shim"
# Names that read a clock, draw a random number, or make a key, wherever they come from.
UNSURE = frozenset(
    {
        "now", "utcnow", "today", "fromtimestamp", "time_ns", "monotonic", "perf_counter",
        "generate", "urandom", "token_bytes", "uuid4", "environ", "getenv", "from_file",
    }
)  # fmt: skip
FORBIDDEN = frozenset(
    {
        "open", "input", "print", "eval", "exec", "compile", "hash", "id", "float", "set",
        "globals", "locals", "vars", "dir", "__import__",
    }
)  # fmt: skip
# Shared definitions for other callers. Their names are in UNSURE, so the contract can't call them.
ELSEWHERE = {
    "clearline/times.py": frozenset({"now"}),
    "clearline/jws.py": frozenset({"KeySigner"}),
}
# Findings that a reader has looked at: exponents of ISO 4217 are 0 to 4.
REVIEWED = {"clearline/money.py": frozenset({"a power that may be a float"})}
_ORDERED = frozenset({"list", "tuple", "iter", "enumerate", "reversed", "map", "filter", "zip"})


def sources() -> list[Path]:
    """The contract, its adapter, and the shared modules that they load, however deep."""
    found: set[Path] = set()
    waiting = [*CONTRACT, ADAPTER]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += (file for file in _loaded(path) if not _of_shim(file))
    return sorted(found)


def name(path: Path) -> str:
    """A path as it is called in tables: from the repository's root."""
    return path.relative_to(ROOT).as_posix()


def findings(source: str, path: str = "chaincode/contract/planted.py") -> Iterator[str]:
    """What in this source could differ between two endorsers; the path says which rules hold."""
    reviewed = REVIEWED.get(path, frozenset())
    yield from (found for found in _findings(source, path) if found not in reviewed)


def _findings(source: str, path: str) -> Iterator[str]:
    tree = ast.parse(source)
    skipped = ELSEWHERE.get(path, frozenset())
    tree.body = [node for node in tree.body if getattr(node, "name", None) not in skipped]
    of_contract = path.startswith("chaincode/")
    known, imported = _set_names(tree), _imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _imports(node, PURE if of_contract else LIBRARY, path)
        elif isinstance(node, ast.Attribute) and node.attr in UNSURE:
            yield f"unsure .{node.attr}"
        elif isinstance(node, ast.Name) and node.id in FORBIDDEN | UNSURE:
            yield f"name {node.id}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            yield f"float {node.value}"
        elif isinstance(node, ast.BinOp):
            yield from _arithmetic(node)
        elif isinstance(node, ast.For | ast.comprehension):
            yield from _walks(node.iter, known)
        elif isinstance(node, ast.Starred):
            yield from _walks(node.value, known)
        elif isinstance(node, ast.Call):
            yield from _called(node, known)
            yield from _looked_up(node, imported)
        elif isinstance(node, ast.AsyncFunctionDef | ast.Await) and path != name(ADAPTER):
            yield "asynchronous"


def _imports(
    node: ast.Import | ast.ImportFrom, allowed: frozenset[str], path: str
) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (f"import {item.name}" for item in node.names if item.name not in allowed)
        return
    module = node.module or ""
    if module == "clearline" or module.startswith(("clearline.", "chaincode.contract")):
        for item in node.names:
            whole = f"{module}.{item.name}"
            if item.name in UNSURE or whole.startswith(("clearline.logs", "clearline.fabric")):
                yield f"import {whole}"
            elif not _defines(module, item.name):
                yield f"{whole} is not {module}'s own"
    elif not (
        module in allowed
        or (module.startswith(SHIM) and path == name(ADAPTER))
        or (module.startswith("cryptography.") and not path.startswith("chaincode/"))
    ):
        yield f"import {module}"


def _arithmetic(node: ast.BinOp) -> Iterator[str]:
    if isinstance(node.op, ast.Div):
        # pathlib joins by it; nothing that loads files is the contract's.
        yield "true division"
    elif isinstance(node.op, ast.Pow) and not (
        isinstance(node.right, ast.Constant) and isinstance(node.right.value, int)
    ):
        yield "a power that may be a float"


def _called(node: ast.Call, known: frozenset[str]) -> Iterator[str]:
    ordered = isinstance(node.func, ast.Name) and node.func.id in _ORDERED
    joined = isinstance(node.func, ast.Attribute) and node.func.attr in {"join", "pop", "extend"}
    if ordered or joined:
        for argument in node.args:
            yield from _walks(argument, known)
    if isinstance(node.func, ast.Attribute) and node.func.attr == "pop" and not node.args:
        yield from _walks(node.func.value, known)


def _looked_up(node: ast.Call, imported: frozenset[str]) -> Iterator[str]:
    """A field of a record by its name is all that getattr is for."""
    if isinstance(node.func, ast.Name) and node.func.id == "getattr":
        owner = node.args[0]
        if not isinstance(owner, ast.Name) or owner.id in imported:
            yield "getattr of something else than a record"


def _imported(tree: ast.Module) -> frozenset[str]:
    return frozenset(
        item.asname or item.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for item in node.names
    )


def _walks(what: ast.expr, known: frozenset[str]) -> Iterator[str]:
    """A set may be asked for its members and its size, never walked through unsorted."""
    if _is_set(what, known):
        yield "iterates a set"


def _is_set(what: ast.expr, known: frozenset[str]) -> bool:
    if isinstance(what, ast.Set | ast.SetComp):
        return True
    if isinstance(what, ast.Name):
        return what.id in known
    if isinstance(what, ast.Attribute):
        return what.attr in known
    if isinstance(what, ast.BinOp) and isinstance(what.op, ast.BitAnd | ast.BitOr | ast.Sub):
        return any(_is_set(side, known) or _is_keys(side) for side in (what.left, what.right))
    if isinstance(what, ast.Call):
        called = what.func
        if isinstance(called, ast.Name):
            return called.id in {"set", "frozenset"}
        if isinstance(called, ast.Attribute) and called.attr in {
            "union", "intersection", "difference", "symmetric_difference",
        }:  # fmt: skip
            return True
    return False


def _is_keys(what: ast.expr) -> bool:
    called = what.func if isinstance(what, ast.Call) else None
    return isinstance(called, ast.Attribute) and called.attr in {"keys", "items"}


def _set_names(tree: ast.Module) -> frozenset[str]:
    """Names and members that are given a set, or are said to be one, anywhere in the module."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _is_set(node.value, frozenset()):
            names |= {_named(target) for target in node.targets}
        elif isinstance(node, ast.AnnAssign) and (
            _says_set(node.annotation)
            or (node.value is not None and _is_set(node.value, frozenset()))
        ):
            names.add(_named(node.target))
        elif isinstance(node, ast.NamedExpr) and _is_set(node.value, frozenset()):
            names.add(node.target.id)
        elif isinstance(node, ast.arg) and node.annotation and _says_set(node.annotation):
            names.add(node.arg)
    return frozenset(names - {""})


def _named(target: ast.expr) -> str:
    if isinstance(target, ast.Name):
        return target.id
    return target.attr if isinstance(target, ast.Attribute) else ""


def _says_set(annotation: ast.expr) -> bool:
    outer = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    if (
        isinstance(outer, ast.Name)
        and outer.id == "Final"
        and isinstance(annotation, ast.Subscript)
    ):
        return _says_set(annotation.slice)
    return isinstance(outer, ast.Name) and outer.id in {"set", "frozenset", "AbstractSet", "Set"}


def _loaded(path: Path) -> Iterator[Path]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for whole in (node.module, *(f"{node.module}.{item.name}" for item in node.names)):
                file = _file(whole)
                if file is not None:
                    yield file


def _of_shim(path: Path) -> bool:
    return name(path).startswith(SHIM.replace(".", "/"))


def _file(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    return path if path.exists() else None


def _defines(module: str, wanted: str) -> bool:
    """Whether a module of ours makes this name itself, or is the package of a module so named."""
    if _file(f"{module}.{wanted}"):
        return True
    path = _file(module) or ROOT.joinpath(*module.split(".")) / "__init__.py"
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and wanted in map(_named, node.targets):
            return True
        if isinstance(node, ast.AnnAssign) and _named(node.target) == wanted:
            return True
        if getattr(node, "name", None) == wanted:
            return True
    return False
