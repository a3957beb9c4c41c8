"""Describe classes of large packages from their source files, because importing the packages takes seconds.

A configuration is checked against the base classes, abstract methods and signature of each class that it names. For a
class of `torch` or `pytorch_lightning`, and for Winnow's optimizer, this module reads these from the source files and
builds a skeleton: a class without behavior for which `inspect.signature`, `issubclass` and `inspect.isabstract` give
the same results.
"""

from __future__ import annotations

import abc
import ast
import functools
import importlib
import importlib.util
import inspect
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

SIMPLE_TYPES: Final = {"bool": bool, "float": float, "int": int, "str": str}

TRANSPARENT_DECORATORS: Final = {"_defaults_from_env_vars", "override"}
"""Decorators of `__init__` that do not change its signature."""

SKELETON_PACKAGES: Final = ("torch", "pytorch_lightning", "winnow.training.muon")
"""The packages and modules whose classes are described by skeletons."""

_FUNCTION_NODES = (ast.FunctionDef, ast.AsyncFunctionDef)


class NotStaticError(Exception):
    """Raised if a class can be described only by importing its module."""


@functools.cache
def build_skeleton(path: str) -> type | None:
    """Return the skeleton of a class, or `None` if its module has no class of this name.

    Args:
        path: The import path of the class, such as `torch.optim.AdamW`.

    Raises:
        ModuleNotFoundError: If the package has no such module.
        NotStaticError: If the class can be described only by importing its module.
    """
    module, _, name = path.rpartition(".")
    definition = _find_class(module, name)
    return None if definition is None else _build_class(*definition)


def is_skeleton(target: object) -> bool:
    """Return whether a class is a skeleton."""
    return getattr(target, "_is_skeleton", False) is True


def list_class_names(module: str) -> list[str]:
    """Return the sorted names of the classes in a module. Names that can be resolved only by an import are omitted."""
    return [name for name in sorted(set(_find_bindings(module))) if _is_class(module, name)]


def _is_class(module: str, name: str) -> bool:
    try:
        return _find_class(module, name) is not None
    except (NotStaticError, ModuleNotFoundError):
        return False


@functools.cache
def _parse(module: str) -> ast.Module:
    return ast.parse(_find_file(module).read_text(encoding="utf-8"))


@functools.cache
def _find_file(module: str) -> Path:
    """Return the source file of a module.

    `find_spec` is not called for submodules, because it would import their package.
    """
    package, *submodules = module.split(".")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise NotStaticError(module)
    path = Path(spec.origin)
    for name in submodules:
        folder = path.parent
        candidates = (folder / name / "__init__.py", folder / f"{name}.py") if path.name == "__init__.py" else ()
        path = next((file for file in candidates if file.is_file()), Path())
        if path == Path() and candidates and not any(folder.glob(f"{name}*")):
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    if path.suffix != ".py":
        raise NotStaticError(module)
    return path


@functools.cache
def _find_bindings(module: str) -> dict[str, ast.stmt]:
    """Return the top-level statement that binds each name in a module. Conditionally bound names are omitted."""
    names: dict[str, ast.stmt] = {}
    for statement in _parse(module).body:
        for name in _list_bound_names(statement):
            names[name] = statement
    return names


def _list_bound_names(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.ImportFrom(names=aliases):
            yield from (alias.asname or alias.name for alias in aliases)
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.ClassDef(name=name) | ast.FunctionDef(name=name):
            yield name


def _find_class(module: str, name: str) -> tuple[str, ast.ClassDef] | None:
    """Return the module and the syntax node in which a class is defined; `None` if the module has no such class."""
    for statement in ast.walk(_parse(module)):
        if isinstance(statement, ast.FunctionDef) and statement.name == "__getattr__":
            raise NotStaticError(module)  # `__getattr__` may provide any name
    match _find_bindings(module).get(name):
        case ast.ClassDef() as node:
            return module, node
        case ast.ImportFrom() as statement:
            source = _resolve_imported_module(module, statement)
            original = next(alias.name for alias in statement.names if (alias.asname or alias.name) == name)
            if _is_module(f"{source}.{original}"):
                return None
            return _find_class(source, original)
        case ast.Assign(value=ast.Name(id=other)):
            return _find_class(module, other)
        case None if not _may_be_bound_conditionally(module, name):
            return None
        case ast.FunctionDef():
            return None
    raise NotStaticError(f"{module}.{name}")


def _may_be_bound_conditionally(module: str, name: str) -> bool:
    """Return whether a name may be bound within a compound statement or by `import *`."""
    for node in ast.walk(_parse(module)):
        if isinstance(node, ast.ImportFrom | ast.Import):
            if any(name in (alias.asname or alias.name) or alias.name == "*" for alias in node.names):
                return True
        elif isinstance(node, ast.ClassDef) and node.name == name:
            return True
    return False


def _is_module(path: str) -> bool:
    try:
        return _find_file(path).is_file()
    except (NotStaticError, ModuleNotFoundError):
        return False


def _resolve_imported_module(module: str, statement: ast.ImportFrom) -> str:
    """Return the absolute name of the module that a `from ... import` statement imports from."""
    if not statement.level:
        return statement.module or ""
    package = module.split(".") if _find_file(module).name == "__init__.py" else module.split(".")[:-1]
    package = package[: len(package) - statement.level + 1]
    return ".".join([*package, statement.module] if statement.module else package)


@functools.cache
def _build_class(module: str, node: ast.ClassDef) -> type:
    if node.decorator_list or any(keyword.arg != "metaclass" for keyword in node.keywords):
        raise NotStaticError(f"{module}.{node.name}")
    bases = tuple(base for expression in node.bases if (base := _build_base(module, expression)) is not None)
    if any(_is_abc_meta(keyword.value) for keyword in node.keywords):
        bases = (*bases, abc.ABC)
    elif node.keywords:
        raise NotStaticError(f"{module}.{node.name}")
    members: dict[str, Any] = {"__module__": module, "__doc__": None, "_is_skeleton": True}
    for method in node.body:
        if isinstance(method, _FUNCTION_NODES):
            members[method.name] = _build_method(module, method)
    if "__new__" in members:
        raise NotStaticError(f"{module}.{node.name}")
    try:
        return types.new_class(node.name, bases, exec_body=lambda namespace: namespace.update(members))
    except TypeError as error:
        raise NotStaticError(f"{module}.{node.name}") from error


def _build_base(module: str, expression: ast.expr) -> type | None:
    """Return the skeleton of a base class, or `None` for a base that affects neither checks nor signatures."""
    if isinstance(expression, ast.Subscript):
        expression = expression.value
    if not isinstance(expression, ast.Name | ast.Attribute):
        raise NotStaticError(ast.unparse(expression))
    *path, name = ast.unparse(expression).split(".")
    source = ".".join(path) if path else module
    if name in ("object", "Generic"):
        return None
    if name == "ABC":
        return abc.ABC
    statement = _find_bindings(source).get(name) if not path else None
    if isinstance(statement, ast.ImportFrom):
        source = _resolve_imported_module(module, statement)
        if source.split(".")[0] in sys.stdlib_module_names:
            raise NotStaticError(f"{source}.{name}")
    definition = _find_class(module if not path else source, name)
    if definition is None:
        raise NotStaticError(f"{source}.{name}")
    return _build_class(*definition)


def _is_abc_meta(expression: ast.expr) -> bool:
    return ast.unparse(expression) in ("ABCMeta", "abc.ABCMeta")


def _build_method(module: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Any:
    decorators = {ast.unparse(decorator).split("(")[0] for decorator in node.decorator_list}
    method = _build_function(module, node, decorators) if node.name == "__init__" else _create_empty_function(node.name)
    return abc.abstractmethod(method) if decorators & {"abstractmethod", "abc.abstractmethod"} else method


def _create_empty_function(name: str) -> Any:
    def function(self: Any, *_: Any, **__: Any) -> None:
        """Do nothing."""

    function.__name__ = name
    return function


def _build_function(module: str, node: ast.FunctionDef | ast.AsyncFunctionDef, decorators: set[str]) -> Any:
    """Return an empty function with the parameters, defaults and simple type hints of a function definition."""
    if decorators - TRANSPARENT_DECORATORS:
        raise NotStaticError(f"{module}.{node.name}")
    function = _create_empty_function(node.name)
    parameters = list(_build_parameters(module, node.args))
    function.__signature__ = inspect.Signature(parameters)
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return function


def _build_parameters(module: str, arguments: ast.arguments) -> Iterator[inspect.Parameter]:
    kinds = inspect.Parameter
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    for position, (argument, default) in enumerate(zip(positional, defaults, strict=True)):
        is_positional_only = position < len(arguments.posonlyargs)
        kind = kinds.POSITIONAL_ONLY if is_positional_only else kinds.POSITIONAL_OR_KEYWORD
        yield _build_parameter(module, argument, kind, default)
    if arguments.vararg:
        yield _build_parameter(module, arguments.vararg, kinds.VAR_POSITIONAL)
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield _build_parameter(module, argument, kinds.KEYWORD_ONLY, default)
    if arguments.kwarg:
        yield _build_parameter(module, arguments.kwarg, kinds.VAR_KEYWORD)


def _build_parameter(module: str, argument: ast.arg, kind: Any, default: ast.expr | None = None) -> inspect.Parameter:
    value = inspect.Parameter.empty if default is None else _evaluate_literal(module, default)
    hint = Any if argument.annotation is None else _evaluate_type_hint(argument.annotation)
    return inspect.Parameter(argument.arg, kind, default=value, annotation=hint)


def _evaluate_literal(module: str, node: ast.expr) -> Any:
    """Return the value of a literal expression, which may contain the names of module constants."""
    match node:
        case ast.Tuple(elts=items):
            return tuple(_evaluate_literal(module, item) for item in items)
        case ast.Name(id=name):
            match _find_bindings(module).get(name):
                case ast.Assign(value=value):
                    return _evaluate_literal(module, value)
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise NotStaticError(f"{module}: {ast.unparse(node)}") from error


def _evaluate_type_hint(node: ast.expr) -> Any:
    """Return a type hint in which types other than unions, tuples and simple types are replaced by `Any`."""
    match node:
        case ast.Constant(value=None):
            return type(None)
        case ast.Constant(value=str() as text):
            return _evaluate_type_hint(ast.parse(text, mode="eval").body)
        case ast.Name(id=name) if name in SIMPLE_TYPES:
            return SIMPLE_TYPES[name]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return typing.Union[_evaluate_type_hint(left), _evaluate_type_hint(right)]  # noqa: UP007 - the operands are values
        case ast.Subscript(value=ast.Name(id="Optional"), slice=item):
            return typing.Optional[_evaluate_type_hint(item)]  # noqa: UP045 - the operand is a value
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=items)):
            return tuple[tuple(map(_evaluate_type_hint, items))]  # type: ignore[misc]  # the items are values
        case ast.Subscript(value=ast.Name(id="Union"), slice=ast.Tuple(elts=items)):
            return typing.Union[tuple(map(_evaluate_type_hint, items))]  # noqa: UP007 - the operands are values
    return Any
