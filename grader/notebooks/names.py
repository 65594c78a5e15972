"""Which names a cell binds and which it loads, read from its compiled code and never by running it."""

from __future__ import annotations

import ast
import dis
import inspect
from dataclasses import dataclass, field
from types import CodeType

_LOADS = {"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"}
_STORES = {"STORE_NAME", "STORE_GLOBAL", "DELETE_NAME", "DELETE_GLOBAL"}
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_COMPREHENSIONS = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"}


@dataclass
class Names:
    """The global names of one cell."""

    binds: set[str] = field(default_factory=set)  # bound or deleted
    changes: set[str] = field(default_factory=set)  # changed in place, outside of functions
    loads: set[str] = field(default_factory=set)
    at_once: set[str] = field(
        default_factory=set
    )  # loaded while the cell runs, not by functions called later
    classes: set[str] = field(default_factory=set)
    imports: str = ""  # its import statements at the top level
    imported: set[str] = field(default_factory=set)
    defined: set[str] = field(default_factory=set)  # functions and classes of its top level
    inspects: str = ""  # what it uses that no proxy can answer for, empty where nothing


def names_of(source: str) -> Names:
    """Return the names of a cell; none for one that does not compile."""
    names = Names()
    try:
        tree = ast.parse(_python(source))
        code = compile(tree, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):
        return names
    _read_code(code, names, top=True, now=True)
    _read_tree(tree, names)
    names.loads |= names.at_once
    return names


def definitions(source: str) -> list[tuple[list[str], str]]:
    """Return the statements of a cell that import or define something and do nothing else: their names, their text.

    `from module import *` has no names that its text tells.
    """
    try:
        tree = ast.parse(_python(source))
    except (SyntaxError, ValueError, RecursionError):
        return []
    texts = [ast.unparse(node) for node in tree.body if _only_defines(node)]
    return [(sorted(names_of(text).binds), text) for text in texts]


def _only_defines(node: ast.AST) -> bool:
    if isinstance(node, ast.Try):
        handled = [statement for handler in node.handlers for statement in handler.body]
        return all(map(_only_defines, [*node.body, *handled, *node.orelse, *node.finalbody]))
    return isinstance(node, (ast.Import, ast.ImportFrom, ast.Pass, *_DEFINITIONS))


def _python(source: str) -> str:
    """Return the cell as IPython would compile it, magics and shell commands being calls."""
    from IPython.core.inputtransformer2 import TransformerManager

    return TransformerManager().transform_cell(source)


def _read_code(code: CodeType, names: Names, *, top: bool, now: bool) -> None:
    for instruction in dis.get_instructions(code):
        if instruction.opname in _LOADS:
            (names.at_once if now else names.loads).add(instruction.argval)
        elif instruction.opname in _STORES and (top or instruction.opname.endswith("GLOBAL")):
            names.binds.add(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            # The body of a class runs where it stands, the body of a function later.
            is_class = not constant.co_flags & inspect.CO_OPTIMIZED
            runs = now and (is_class or constant.co_name in _COMPREHENSIONS)
            _read_code(constant, names, top=False, now=runs)


def _read_tree(tree: ast.Module, names: Names) -> None:
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names.imports = "\n".join(map(ast.unparse, imports))
    for node in imports:
        names.imported |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    names.defined = {node.name for node in tree.body if isinstance(node, _DEFINITIONS)}
    _read_changes(tree, names)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            names.classes.add(node.name)
        elif isinstance(node, ast.Call):
            _read_call(node, names)


def _read_changes(node: ast.AST, names: Names) -> None:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        _read_changes(child, names)
        if isinstance(child, (ast.Subscript, ast.Attribute)) and not isinstance(child.ctx, ast.Load):
            while isinstance(child, (ast.Subscript, ast.Attribute)):
                child = child.value
            if isinstance(child, ast.Name):
                names.changes.add(child.id)


def _read_call(node: ast.Call, names: Names) -> None:
    match node.func:
        case ast.Name(id="globals" | "locals" | "vars" | "eval" | "exec" as name) if name not in names.binds:
            names.inspects = f"{name}()"
        case ast.Attribute(attr="getsource" | "getsourcelines" as name):
            names.inspects = f"{name}()"
        case ast.Attribute(
            value=ast.Call(func=ast.Name(id="get_ipython")), attr="run_cell_magic" | "run_line_magic"
        ):
            # The code that a magic runs stands in its last argument.
            if isinstance(text := node.args[-1], ast.Constant) and isinstance(text.value, str):
                inner = names_of(text.value)
                names.binds |= inner.binds
                names.changes |= inner.changes
                names.at_once |= inner.loads | {"get_ipython"}
