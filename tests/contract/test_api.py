from __future__ import annotations

import ast
from importlib.metadata import version
from pathlib import Path

import pytest

import sonant


def test_every_public_name_is_there() -> None:
    for name in sonant.__all__:
        assert getattr(sonant, name) is not None
    assert set(sonant.__all__) <= set(dir(sonant))


def test_public_names_are_few_and_unique() -> None:
    assert len(sonant.__all__) == len(set(sonant.__all__)) <= 35


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(sonant.__file__).read_text(encoding="utf-8"))
    declared = {
        alias.asname
        for branch in tree.body
        if isinstance(branch, ast.If)
        for statement in branch.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert declared == set(sonant.__all__) - {"__version__"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'transcibe'"):
        sonant.transcibe  # noqa: B018


def test_the_version_is_the_package_s() -> None:
    assert sonant.__version__ == version("sonant")


def test_errors_are_one_tree() -> None:
    errors = [getattr(sonant, name) for name in sonant.__all__ if name.endswith("Error")]
    assert len(errors) > 1
    assert all(issubclass(error, sonant.SonantError) for error in errors)
