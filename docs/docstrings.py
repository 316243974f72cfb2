"""A griffe extension that converts our docstrings to Markdown.

Names in single backticks that have an entry in the reference become links to it; mkdocs fails on a broken
link.
"""

from __future__ import annotations

import inspect
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import griffe

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROLE = re.compile(r":(?:class|meth|func|mod|attr|data):`~?([^`]+)`")
_BLOCK = re.compile(r"^( *)\.\. code-block:: (\w+)\n\n((?:\1 +.*\n|[ ]*\n)+)", re.MULTILINE)
_EXAMPLE = re.compile(r"^( *)Example:$", re.MULTILINE)
_NAME = re.compile(r"(?<!`)`([A-Za-z_]\w*(?:\.\w+)?)`(?!`)")
_ENTRY = re.compile(r"^::: ([\w.]+)$", re.MULTILINE)


@cache
def entries(package: str) -> dict[str, str]:
    """Return the names of the reference's entries → their targets; for duplicates, the package's own."""
    pages = (Path(__file__).parent / "reference").glob("*.md")
    found = [entry for page in pages for entry in _ENTRY.findall(page.read_text(encoding="utf-8"))]
    found.sort(key=lambda entry: (entry.startswith(package), entry.startswith("rockai_transport")))
    return {entry.rpartition(".")[2]: entry for entry in found}


def to_markdown(text: str, targets: Mapping[str, str], siblings: Mapping[str, str]) -> str:
    """Convert blocks, roles and names to fences, code and links; examples are highlighted.

    Args:
        text: A docstring.
        targets: The entries of the reference, from `entries`.
        siblings: The members of its class → their targets.
    """

    def fence(found: re.Match[str]) -> str:
        margin, language, code = found[1], found[2], found[3].strip("\n")
        shown = "\n".join(line.removeprefix("    ") for line in code.splitlines())
        return f"{margin}```{language}\n{shown}\n{margin}```\n\n"

    def link(found: re.Match[str]) -> str:
        first, dot, rest = found[1].partition(".")
        if not dot and first in siblings:
            return f"[`{first}`][{siblings[first]}]"
        return f"[`{found[1]}`][{targets[first]}{dot}{rest}]" if first in targets else found[0]

    text = _EXAMPLE.sub(r"\1Examples:", _ROLE.sub(r"`\1`", text))
    return _BLOCK.sub(fence, _NAME.sub(link, text) + "\n").rstrip("\n")


class Markdown(griffe.Extension):
    """Applies `to_markdown` to every docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called by griffe for each module, class, function and attribute that it has read."""
        if obj.docstring is None:
            return
        targets = entries(obj.package.name)
        owner = obj if obj.is_class or obj.parent is None else obj.parent
        entry = targets.get(owner.name) if owner.is_class else None
        members = [name for name in owner.members if not name.startswith("_")] if entry else []
        siblings = {name: f"{entry}.{name}" for name in members}
        obj.docstring.value = to_markdown(obj.docstring.value, targets, siblings)

    def on_attribute(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Show a field's type and default, without their information for pydantic."""
        attr.annotation, attr.value = _bare(attr.annotation), _default(attr.value)

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """If pydantic makes a class's constructor, add the fields as its parameters."""
        owned = [one for module in _modules(pkg) for one in module.members.values() if not one.is_alias]
        for cls in [one for one in owned if one.is_class and _is_made_by_pydantic(one)]:
            cls.set_member("__init__", _constructor(cls))


def _modules(module: griffe.Module) -> list[griffe.Module]:
    below = [one for child in module.modules.values() if not child.is_alias for one in _modules(child)]
    return [module, *below]


def _lineage(cls: griffe.Class) -> list[griffe.Class]:
    """Return a class and its bases in our packages, the nearest first."""
    return [cls, *cls.mro()]


def _is_made_by_pydantic(cls: griffe.Class) -> bool:
    """Return whether a class documents arguments that its constructor does not name, or takes any."""
    init = next((one.members["__init__"] for one in _lineage(cls) if "__init__" in one.members), None)
    if init is not None:
        return {parameter.name for parameter in init.parameters} <= {"self", "args", "kwargs"}
    has_args = cls.docstring is not None and "\nArgs:\n" in inspect.cleandoc(cls.docstring.value)
    return has_args and "dataclass" not in cls.labels


def _constructor(cls: griffe.Class) -> griffe.Function:
    fields = {
        name: griffe.Parameter(
            name,
            annotation=_bare(field.annotation),
            kind=griffe.ParameterKind.keyword_only,
            default=_default(field.value),
        )
        for one in reversed(_lineage(cls))
        for name, field in one.members.items()
        if not field.is_alias and field.is_attribute and field.annotation and not name.startswith("_")
        if "property" not in field.labels
    }
    itself = griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)
    return griffe.Function("__init__", parameters=griffe.Parameters(itself, *fields.values()))


def _bare(annotation: Any) -> Any:
    """Return a field's type without ``Annotated[…]``."""
    is_annotated = isinstance(annotation, griffe.ExprSubscript) and annotation.canonical_name == "Annotated"
    return annotation.slice.elements[0] if is_annotated else annotation


def _default(value: Any) -> Any:
    """Return a field's default, also from ``Field(…)``."""
    if not isinstance(value, griffe.ExprCall):
        return value
    given = {word.name: word.value for word in value.arguments if isinstance(word, griffe.ExprKeyword)}
    return given.get("default", f"{given['default_factory']}()" if "default_factory" in given else None)
