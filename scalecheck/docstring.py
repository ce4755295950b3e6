"""Docstrings that are shown in reports and help pages, also where `python -OO` takes them away."""

import ast
from inspect import cleandoc
from pathlib import Path
from sys import modules
from typing import Any


def docstring(owner: Any) -> str:
    """The docstring of a module or of a function at its top; empty where there is none."""
    if owner.__doc__ is not None:
        return cleandoc(owner.__doc__)
    place = getattr(modules[getattr(owner, "__module__", owner.__name__)], "__file__", None)
    if place is None or not Path(place).is_file():
        return ""
    tree = ast.parse(Path(place).read_bytes())
    nodes = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name == owner.__name__
    ]
    return ast.get_docstring(nodes[0] if nodes else tree) or ""
