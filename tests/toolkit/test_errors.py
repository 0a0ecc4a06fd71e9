import importlib
import pkgutil

import pytest

import toolkit
from toolkit.errors import ToolkitError

MODULES = [
    module.name
    for module in pkgutil.walk_packages(toolkit.__path__, "toolkit.")
    if not module.name.startswith("toolkit.local_cloud")
]


def test_the_message_is_the_problem_and_what_to_do():
    error = ToolkitError("The disk is full.", "Free some space.")
    assert str(error) == "The disk is full. Free some space."
    assert (error.problem, error.remedy, error.exit_code) == ("The disk is full.", "Free some space.", 1)


@pytest.mark.parametrize("name", MODULES)
def test_every_error_of_the_toolkit_is_one_with_a_remedy(name):
    module = importlib.import_module(name)
    errors = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == name
    ]
    assert all(issubclass(error, ToolkitError) and error.exit_code for error in errors)
