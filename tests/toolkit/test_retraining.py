import json
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from toolkit import retraining
from toolkit.hyperparameters import HyperparameterError
from toolkit.releases import ReleaseRecord
from toolkit.retraining import RetrainingFailedError, RetrainingStoppedError, retrain
from toolkit.training_settings import TrainingSettingsError

MESSAGE = {"verdict": "alike", "what": "not certainly better or worse", "candidate": "scones-2"}


class States:
    """Step Functions whose execution ends as a test says, after two looks."""

    def __init__(self, **ended) -> None:
        self.ended, self.looks = ended, 0
        self.input: dict = {}
        self.stopped: list[str] = []

    def start_execution(self, **request):
        self.input = json.loads(request["input"])
        return {"executionArn": "arn:execution"}

    def describe_execution(self, **_):
        self.looks += 1
        return {"status": "RUNNING"} if self.looks < 3 else self.ended

    def get_execution_history(self, **_):
        return {"events": [{}, {"stateEnteredEventDetails": {"name": "Train"}}]}

    def stop_execution(self, **request):
        self.stopped.append(request["executionArn"])


JOBS = {
    "pytorch": {"epochs": "6", "classes": '"bicycle,motorcycle"', "sagemaker_program": '"train.py"'},
    "image-classification": {
        "epochs": "6",
        "num_classes": "2",
        "num_training_samples": "900",
        "resize": "32",
        "image_shape": "3,32,32",
    },
}


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.setattr(retraining.time, "sleep", lambda seconds: None)
    asked = []

    def start(states, hyperparameters=(), algorithm="pytorch", serving="r1"):
        url = "s3://vehicles/models/scones-1/output/model.tar.gz"
        ReleaseRecord("r1", {"r1": {"algorithm": algorithm, "model_data_url": url}}).write(tmp_path / "record")

        def describe(**request):
            asked.append(request["TrainingJobName"])
            return {"HyperParameters": JOBS[algorithm]}

        clients = {"stepfunctions": states, "sagemaker": SimpleNamespace(describe_training_job=describe)}
        environment = SimpleNamespace(client=clients.__getitem__, is_local=True, releases_file=tmp_path / "record")
        service = SimpleNamespace(retraining_state_machine_alias_arn="arn:live", release={"id": serving})
        message = retrain(environment, service, hyperparameters)
        assert asked == ["scones-1"]
        return message

    return start


def test_a_candidate_is_told_of(run, capsys):
    states = States(status="SUCCEEDED", output=json.dumps({"message": MESSAGE}))
    assert run(states) == MESSAGE
    assert "Retraining: Train" in capsys.readouterr().out
    assert states.input == {"reason": "asked for", "hyperparameters": {}}


@pytest.mark.parametrize(
    ("algorithm", "sent"),
    [
        ("pytorch", {"epochs": "2", "augmentation_type": '"crop"'}),
        ("image-classification", {"epochs": "2", "augmentation_type": "crop"}),
    ],
)
def test_hyperparameters_are_sent_as_the_container_reads_them(run, algorithm, sent):
    states = States(status="SUCCEEDED", output=json.dumps({"message": MESSAGE}))
    run(states, ["epochs=2", "augmentation_type=crop"], algorithm)
    assert states.input["hyperparameters"] == sent


@pytest.mark.parametrize(
    ("hyperparameter", "error"),
    [
        ("epochs", TrainingSettingsError),
        ("epochs=many", HyperparameterError),
        ("classes=motorcycle,bicycle", TrainingSettingsError),
    ],
)
def test_nonsense_starts_nothing(run, hyperparameter, error):
    states = States()
    with pytest.raises(error):
        run(states, [hyperparameter])
    assert states.input == {}


def test_a_failure_says_why(run):
    cause = json.dumps({"errorMessage": "It has 3 classes."})
    with pytest.raises(RetrainingFailedError, match=r"FAILED: DatasetClassesDiffer It has 3 classes\..*arn:execution"):
        run(States(status="FAILED", error="DatasetClassesDiffer", cause=cause))


def test_an_interrupt_stops_the_execution(run):
    states = States()

    def interrupt(**_):
        raise KeyboardInterrupt

    states.get_execution_history = interrupt
    with pytest.raises(RetrainingStoppedError, match="was stopped") as caught:
        run(states)
    assert states.stopped == ["arn:execution"]
    assert caught.value.exit_code == 130


def test_a_record_that_lags_behind_is_an_error(run):
    with pytest.raises(RetrainingFailedError, match=r"r2 serves, but .* does not hold it"):
        run(States(), serving="r2")


def test_no_machine_is_an_error(run, monkeypatch):
    states = States()
    refusal = ClientError({"Error": {"Code": "StateMachineDoesNotExist", "Message": "none"}}, "StartExecution")
    monkeypatch.setattr(states, "start_execution", Mock(side_effect=refusal))
    with pytest.raises(RetrainingFailedError, match=r"cannot be started.*invoke apply"):
        run(states)


LOST = EndpointConnectionError(endpoint_url="https://states")


@pytest.mark.parametrize("seen", [LOST, KeyboardInterrupt()], ids=["followed", "stopped"])
def test_an_execution_that_cannot_be_reached_any_more_is_named(run, monkeypatch, seen):
    states = States()
    monkeypatch.setattr(states, "describe_execution", Mock(side_effect=seen))
    monkeypatch.setattr(states, "stop_execution", Mock(side_effect=LOST))
    with pytest.raises(RetrainingFailedError, match=r"may still run.*arn:execution"):
        run(states)


def test_a_history_that_may_not_be_read_is_only_not_shown(run, monkeypatch):
    states = States(status="SUCCEEDED", output=json.dumps({"message": MESSAGE}))
    refusal = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetExecutionHistory")
    monkeypatch.setattr(states, "get_execution_history", Mock(side_effect=refusal))
    assert run(states) == MESSAGE
