"""CreateTrainingJob: the container's program as a process, with SageMaker's folders and environment.

What a training container may rely on:
https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html and, for script
mode, https://github.com/aws/sagemaker-training-toolkit/blob/master/ENVIRONMENT_VARIABLES.md

Managed spot training: whoever kills the program of a spot job, with SIGKILL or SIGTERM, takes its capacity away, as EC2
does. The job is `Interrupted` and starts again in a fresh container, with what its checkpoints in S3 hold and nothing
else: https://docs.aws.amazon.com/sagemaker/latest/dg/model-managed-spot-training.html
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import re
import selectors
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from toolkit.local_cloud.sagemaker import container_image
from toolkit.local_cloud.sagemaker.checkpoints import Checkpoints
from toolkit.local_cloud.sagemaker.job import Job, JobFailedError
from toolkit.local_cloud.sagemaker.log_stream import LogStream
from toolkit.local_cloud.sagemaker.storage import Storage, client_in_role

LOG_GROUP = "/aws/sagemaker/TrainingJobs"
DEFAULT_RUNTIME_SECONDS = 86_400
_GRACE_SECONDS = 120  # SageMaker's own time between SIGTERM and SIGKILL
_SCRIPT_MODE = "sagemaker_"
_CAPACITY_SECONDS = 2  # until spot capacity is back; on AWS it may take hours
_SPOT_SHARE = 0.3  # AWS bills a spot job for a share of its seconds, by the price of its capacity; 70 % off is usual
_LIMITS = {
    "MaxRuntimeExceeded": "The job exceeded its MaxRuntimeInSeconds",
    "MaxWaitTimeExceeded": "The job exceeded its MaxWaitTimeInSeconds",
}


class _CapacityLostError(Exception):
    """The spot capacity under the container was taken away."""


class TrainingJob(Job):
    """One training job; each of its containers has a folder that mirrors /opt/ml."""

    kind = "Training"

    def __init__(self, request: dict[str, Any], arn: str, directory: Path) -> None:
        super().__init__(request, arn)
        self._base: Path = directory / request["TrainingJobName"]
        self._directory: Path = self._base
        self._channels: list[dict[str, Any]] = request.get("InputDataConfig", [])
        self._is_spot = request.get("EnableManagedSpotTraining", False)
        stopping = request.get("StoppingCondition", {})
        self._runtime_left: float = stopping.get("MaxRuntimeInSeconds", DEFAULT_RUNTIME_SECONDS)
        self._wait_deadline = time.monotonic() + stopping.get("MaxWaitTimeInSeconds", math.inf)
        self._limit = ""  # the one that the job exceeded
        self._seconds = 0.0  # on machines, the waits for capacity left out
        self._kms_key_id = request["OutputDataConfig"].get("KmsKeyId")
        self._output_uri = (
            f"{request['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{request['TrainingJobName']}/output"
        )
        self.description |= {
            "SecondaryStatus": "Starting",
            "SecondaryStatusTransitions": [],
            "FinalMetricDataList": [],
            "ModelArtifacts": {"S3ModelArtifacts": f"{self._output_uri}/model.tar.gz"},
        }
        self._enter("Starting", "Preparing the environment of the container image")

    def run(self) -> None:
        """Download, train, upload; from the beginning in a fresh container when spot capacity is taken away.

        Raises:
            JobFailedError: the image, the data or the program failed.
        """
        storage = Storage(self.request["RoleArn"])
        for number in itertools.count(1):
            # A folder of its own: what the last container left running must not reach into this one.
            self._directory = self._base / f"container-{number}"
            started = time.monotonic()
            try:
                self._run_container(storage)
                return
            except _CapacityLostError:
                shutil.rmtree(self._directory, ignore_errors=True)  # the machine is gone, and its disk with it
            finally:
                self._seconds += time.monotonic() - started
            self._enter("Interrupted", "The spot capacity was taken away; waiting for other")
            self.stop_requested.wait(min(_CAPACITY_SECONDS, max(0, self._wait_deadline - time.monotonic())))
            self._stop_beyond(math.inf)
            if self.stop_requested.is_set():
                return
            self._enter("Starting", "Preparing the environment of the container image")

    def _run_container(self, storage: Storage) -> None:
        directory = self._directory
        shutil.rmtree(directory, ignore_errors=True)
        for name in ("input/config", "input/data", "model", "output/data", "code"):
            (directory / name).mkdir(parents=True)

        self._enter("Downloading", "Downloading the training data")
        self._download_channels(storage)
        checkpoints = None
        if "CheckpointConfig" in self.request:
            uri = self.request["CheckpointConfig"]["S3Uri"]
            checkpoints = Checkpoints(uri, self._checkpoint_directory, storage, self._kms_key_id)
        parameters = {name: _decode(value) for name, value in self.request.get("HyperParameters", {}).items()}
        image = self.request["AlgorithmSpecification"]["TrainingImage"]
        try:
            if container_image.is_built_in_algorithm(image):
                shutil.copytree(container_image.MODEL_PROGRAM, directory / "code", dirs_exist_ok=True)
                program = "train.py"
            else:
                storage.download_archive(parameters["sagemaker_submit_directory"], directory / "code")
                program = parameters["sagemaker_program"]
            python = container_image.python_of(image, directory / "code" / "requirements.txt")
        except container_image.ImageUnavailableError as error:
            raise JobFailedError(f"ClientError: {error}") from error
        except KeyError as error:
            raise JobFailedError(
                f"ClientError: the image runs in script mode and needs the hyperparameter {error}"
            ) from error

        self._enter("Training", "Training in progress")
        command = [str(python), program]
        for name, value in parameters.items():
            if not name.startswith(_SCRIPT_MODE):
                command += [f"--{name}", str(value)]
        self._write_configuration(parameters)
        self._train(command, self._environment(parameters), checkpoints)

        self._enter("Uploading", "Uploading the trained model")
        storage.upload_archive(directory / "model", f"{self._output_uri}/model.tar.gz", self._kms_key_id)
        if any((directory / "output" / "data").iterdir()):
            storage.upload_archive(directory / "output" / "data", f"{self._output_uri}/output.tar.gz", self._kms_key_id)

    def finish(self, status: str) -> None:
        """Record the final status and the time that AWS would bill."""
        seconds = int(self._seconds)
        billable = round(seconds * _SPOT_SHARE) if self._is_spot else seconds
        self.description |= {"TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": billable}
        if self._limit and status == "Stopped":
            self._enter(self._limit, _LIMITS[self._limit])
        else:
            self._enter(status, "")
        super().finish(status)

    def _enter(self, secondary_status: str, message: str) -> None:
        now = time.time()
        transitions = self.description["SecondaryStatusTransitions"]
        if transitions:
            transitions[-1]["EndTime"] = now
        transitions.append({"Status": secondary_status, "StartTime": now, "StatusMessage": message})
        self.description |= {"SecondaryStatus": secondary_status, "LastModifiedTime": now}

    def _download_channels(self, storage: Storage) -> None:
        fetched: dict[str, Path] = {}
        for channel in self._channels:
            uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
            target = self._directory / "input" / "data" / channel["ChannelName"]
            if uri in fetched:
                shutil.copytree(fetched[uri], target)
            elif storage.download_prefix(uri, target) == 0:
                raise JobFailedError(f"ClientError: Data download failed: no S3 objects found under {uri}")
            fetched[uri] = target

    def _write_configuration(self, parameters: dict[str, Any]) -> None:
        configuration = self._directory / "input" / "config"
        channels = {
            channel["ChannelName"]: {
                "TrainingInputMode": "File",
                "ContentType": channel.get("ContentType", ""),
                "S3DistributionType": "FullyReplicated",
            }
            for channel in self._channels
        }
        files = {
            "hyperparameters": {name: str(value) for name, value in parameters.items()},
            "inputdataconfig": channels,
            "resourceconfig": {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "lo"},
        }
        if "CheckpointConfig" in self.request:
            files["checkpointconfig"] = {"LocalPath": str(self._checkpoint_directory)}
        for name, content in files.items():
            (configuration / f"{name}.json").write_text(json.dumps(content))

    @property
    def _checkpoint_directory(self) -> Path:
        """Stands for CheckpointConfig's LocalPath, whatever that is: a process shares the root of this machine."""
        return self._directory / "checkpoints"

    def _environment(self, parameters: dict[str, Any]) -> dict[str, str]:
        base = self._directory
        # The container sees the machine's own basics and nothing of the caller's credentials or endpoints.
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        environment |= {
            "PYTHONUNBUFFERED": "1",
            "SM_CHANNELS": json.dumps([channel["ChannelName"] for channel in self._channels]),
            "SM_CURRENT_HOST": "algo-1",
            "SM_HOSTS": '["algo-1"]',
            "SM_HPS": json.dumps(parameters),
            "SM_INPUT_CONFIG_DIR": str(base / "input" / "config"),
            "SM_INPUT_DIR": str(base / "input"),
            "SM_MODEL_DIR": str(base / "model"),
            "SM_NUM_CPUS": str(os.cpu_count()),
            "SM_NUM_GPUS": "0",
            "SM_OUTPUT_DATA_DIR": str(base / "output" / "data"),
            "SM_OUTPUT_DIR": str(base / "output"),
            "TRAINING_JOB_NAME": self.request["TrainingJobName"],
        }
        for channel in self._channels:
            name = channel["ChannelName"]
            environment[f"SM_CHANNEL_{name.upper()}"] = str(base / "input" / "data" / name)
        if "CheckpointConfig" in self.request:
            # Our own name. A container finds its checkpoints in /opt/ml/checkpoints, which a process cannot have.
            environment["SM_CHECKPOINT_DIR"] = str(self._checkpoint_directory)
        environment.update(self.request.get("Environment", {}))
        return environment

    def _train(self, command: list[str], environment: dict[str, str], checkpoints: Checkpoints | None) -> None:
        stream = f"{self.request['TrainingJobName']}/algo-1-{int(time.time())}"
        logs = client_in_role("logs", self.request["RoleArn"])
        log = LogStream(LOG_GROUP, stream, self._directory / "output" / "log.txt", logs)
        started = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=self._directory / "code",
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        try:
            self._follow(process, log, started + self._runtime_left, checkpoints)
        finally:
            if process.poll() is None:
                _end(process)
            log.close()
            self._runtime_left -= time.monotonic() - started
        killed = process.returncode in (-signal.SIGKILL, -signal.SIGTERM)
        if killed and self._is_spot and not self.stop_requested.is_set():
            raise _CapacityLostError
        if checkpoints:
            checkpoints.save()
        if process.returncode and not self.stop_requested.is_set():
            failure = self._directory / "output" / "failure"
            reason = failure.read_text().strip() if failure.exists() else "\n".join(log.tail)
            raise JobFailedError(f"AlgorithmError: {reason[-900:]}, exit code: {process.returncode}")

    def _follow(
        self, process: subprocess.Popen[bytes], log: LogStream, deadline: float, checkpoints: Checkpoints | None
    ) -> None:
        """Pass output and checkpoints on until the process ends, is to stop, or has used up its time."""
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        os.set_blocking(process.stdout.fileno(), False)
        buffer = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not self.stop_requested.is_set():
                selector.select(timeout=0.5)
                # Asked before the read, so that the read has all that the program wrote. Whether the pipe is still open
                # does not matter: a process that the program left behind may hold it.
                ended = process.poll() is not None
                chunk = process.stdout.read()
                *lines, buffer = (buffer + (chunk or b"")).split(b"\n")
                if ended and buffer:
                    lines.append(buffer)
                for line in lines:
                    text = line.decode(errors="replace")
                    log.write(text)
                    self._read_metrics(text)
                log.flush()
                if ended:
                    return
                if chunk == b"":  # the program has closed its output
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(timeout=0.5)
                if checkpoints:
                    checkpoints.save_regularly()
                self._stop_beyond(deadline)

    def _stop_beyond(self, runtime_deadline: float) -> None:
        """Stop the job once one of its time limits is exceeded."""
        now = time.monotonic()
        if now >= min(runtime_deadline, self._wait_deadline) and not self.stop_requested.is_set():
            self._limit = "MaxWaitTimeExceeded" if now >= self._wait_deadline else "MaxRuntimeExceeded"
            self.stop()

    def _read_metrics(self, line: str) -> None:
        """Keep the last value of each metric, read by the regular expressions of the request."""
        for definition in self.request["AlgorithmSpecification"].get("MetricDefinitions", []):
            found = re.search(definition["Regex"], line)
            if not found:
                continue
            with contextlib.suppress(IndexError, TypeError, ValueError):  # what is no number is no value of the metric
                metric = {"MetricName": definition["Name"], "Value": float(found[1]), "Timestamp": time.time()}
                others = [m for m in self.description["FinalMetricDataList"] if m["MetricName"] != definition["Name"]]
                self.description["FinalMetricDataList"] = [*others, metric]


def _decode(value: str) -> Any:
    """Script mode's hyperparameters are JSON, a built-in algorithm's are plain text."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=_GRACE_SECONDS)
