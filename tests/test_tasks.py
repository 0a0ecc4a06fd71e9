"""The command line: what it lists, and how it tells of failures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.program import Program
from invoke.tasks import task

import tasks
from toolkit.errors import ToolkitError
from toolkit.training_settings import load

PROJECT = Path(__file__).resolve().parents[1]
NAMES = {
    "apply",
    "batch",
    "check",
    "classify",
    "costs",
    "demo",
    "destroy",
    "monitor",
    "package",
    "plan",
    "review",
    "rollback",
    "simulate",
    "stage",
    "train",
    "verify",
}
COLLECTIONS = {
    "cloud": {"down", "env", "status", "up"},
    "github": {"apply", "changed", "comment", "drift", "propose-release", "reviewed"},
    "workflow": {"reconcile"},
}


class TooWarmError(ToolkitError):
    exit_code = 7


def failing(error: BaseException) -> None:
    @tasks.readable
    def bake() -> None:
        raise error

    bake()


def test_the_list_reads_like_a_table_of_contents():
    command = [sys.executable, "-m", "invoke", "--list", "--list-format=json"]
    completed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True)
    listed = json.loads(completed.stdout)
    assert {task["name"] for task in listed["tasks"]} >= NAMES
    collections = {part["name"]: {task["name"] for task in part["tasks"]} for part in listed["collections"]}
    assert collections == COLLECTIONS
    assert all(task["help"] for task in listed["tasks"])


@pytest.mark.parametrize("name", sorted(tasks.ns.task_names))
def test_every_option_is_explained(name):
    listed = tasks.ns[name]
    assert all(argument.help for argument in listed.get_arguments())
    assert listed.__doc__


def test_every_task_on_an_environment_is_local_unless_told_otherwise():
    for name in NAMES - {"check", "demo", "review"}:
        (option,) = [argument for argument in tasks.ns[name].get_arguments() if "env" in argument.names]
        assert option.default == "local"


def test_a_failure_with_a_remedy_becomes_one_message_and_its_exit_code():
    with pytest.raises(Exit) as caught:
        failing(TooWarmError("The oven is too warm.", "Open its door."))
    assert caught.value.message == "bake: The oven is too warm. Open its door."
    assert caught.value.code == 7
    assert caught.value.__suppress_context__


def test_an_interrupt_becomes_one_message():
    with pytest.raises(Exit) as caught:
        failing(KeyboardInterrupt())
    assert (caught.value.message, caught.value.code) == ("bake: interrupted.", 130)


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())


def test_invoke_prints_the_message_alone(capsys):
    @task
    @tasks.readable
    def bake(c: Context) -> None:
        """Bake."""
        raise TooWarmError("The oven is too warm.", "Open its door.")

    with pytest.raises(SystemExit) as caught:
        Program(namespace=Collection(bake)).run(["invoke", "bake"])
    assert caught.value.code == 7
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "bake: The oven is too warm. Open its door.\n")


def test_training_takes_what_is_not_said_from_the_file():
    settings = tasks._settings("pytorch", epochs="", seed="")
    assert settings == load()


def test_several_hyperparameters_may_be_given():
    (option,) = [option for option in tasks.ns["train"].get_arguments() if option.name == "hyperparameter"]
    option.value = "lr_scheduler_step=10,20"
    option.value = "epochs=3"
    assert option.value == ["lr_scheduler_step=10,20", "epochs=3"]


def test_training_options_are_over_the_file():
    settings = tasks._settings(
        "pytorch",
        epochs="2",
        seed="7",
        instance_type="ml.m5.large",
        maximum_seconds="60",
        spot="yes",
        hyperparameters=["learning_rate=0.0002"],
    )
    assert settings.hyperparameters == {"learning_rate": "0.0002", "epochs": 2, "seed": 7}
    assert (settings.instance_type, settings.maximum_seconds, settings.spot) == ("ml.m5.large", 60, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": "1.5"}, "--epochs takes a whole number, not `1.5`."),
        ({"maximum_seconds": "-1"}, "--maximum-seconds takes a whole number, not `-1`."),
        ({"spot": "maybe"}, "--spot takes yes or no, not `maybe`."),
    ],
)
def test_training_options_that_cannot_be_read(options, message):
    with pytest.raises(Exit) as caught:
        tasks._settings("pytorch", **{"epochs": "", "seed": "", **options})
    assert (caught.value.message, caught.value.code) == (message, 2)
