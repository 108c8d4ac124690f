"""The package passes the type checker, and whoever uses its public names is told their types."""

import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import exlpose_mm

ROOT = Path(__file__).parents[1]


def test_the_type_checker_finds_nothing_wrong() -> None:
    pytest.importorskip('mypy', reason='the type checker mypy is not installed')
    checked = subprocess.run([sys.executable, '-m', 'mypy'], cwd=ROOT, capture_output=True, text=True, encoding='utf-8')
    assert checked.returncode == 0, checked.stdout + checked.stderr


def public_functions() -> Iterator[tuple[str, Callable]]:
    """Functions among the public names, and public methods and constructors that the classes among them define."""
    for name in exlpose_mm.__all__:
        thing = getattr(exlpose_mm, name)
        if inspect.isfunction(thing):
            yield name, thing
        for attribute, member in vars(thing).items() if inspect.isclass(thing) else ():
            function = getattr(member, '__func__', member)  # of a class or static method
            if inspect.isfunction(function) and (attribute == '__init__' or not attribute.startswith('_')):
                yield f'{name}.{attribute}', function


def untyped(function: Callable) -> list[str]:
    """Parameters without a type, and ``return`` if it has none."""
    signature = inspect.signature(function)
    parameters = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
    return [
        *(name for name in parameters if name not in ('self', 'cls')),
        *['return'] * (signature.return_annotation is signature.empty),
    ]


def test_untyped_parameters_and_results_are_found() -> None:
    def function(self, a: int, b, *args, **kwargs: int): ...

    assert untyped(function) == ['b', 'args', 'return']


def test_public_names_tell_their_types() -> None:
    functions = dict(public_functions())
    assert {'lighting', 'LSBN2d.__init__', 'LSBN2d.under', 'ScaleToMean.transform'} <= functions.keys()
    assert {name: untyped(function) for name, function in functions.items() if untyped(function)} == {}
