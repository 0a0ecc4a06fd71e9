"""The embedded AWS comes up, watches itself and goes without a trace."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import zipfile
from pathlib import Path

import pytest

from toolkit.local_cloud.cloud import CloudError, LocalCloud

PROJECT = Path(__file__).parents[3]
LISTEN = "0A"  # in /proc/net/tcp
LOOPBACK = "0100007F"  # 127.0.0.1 there
PROGRAM = "import time\nprint('training', flush=True)\nwhile True:\n    time.sleep(0.05)\n"


def members(parts):
    """Returns the living processes of the parts' process groups."""
    groups = {part.pid for part in parts}
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            state, _, group = (process / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(group) in groups and state != "Z":
                found.append(int(process.name))
    return found


def listening_addresses(processes):
    """Returns the addresses, in hexadecimal, on which the processes listen."""
    sockets = set()
    for process in processes:
        with contextlib.suppress(FileNotFoundError):
            for descriptor in Path(f"/proc/{process}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):
                    sockets.add(str(descriptor.readlink()))
    addresses = []
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError):  # a machine without IPv6
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                columns = line.split()
                if columns[3] == LISTEN and f"socket:[{columns[9]}]" in sockets:
                    addresses.append(columns[1].split(":")[0])
    return addresses


def commands(processes):
    return " ".join(Path(f"/proc/{process}/cmdline").read_bytes().decode().replace("\0", " ") for process in processes)


@pytest.fixture
def occupy(aws_of):
    """Starts a training job, an endpoint and a Lambda worker on a cloud."""

    def start(cloud, until):
        aws, training, serving = aws_of(cloud)
        serving.in_service(serving.configuration())
        name = training.start(PROGRAM)
        until(lambda: training.log(name), 600)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as package:
            package.writestr("handler.py", "def handler(event, context):\n    return event\n")
        functions = aws.client("lambda")
        functions.create_function(
            FunctionName="echo",
            Runtime="python3.11",
            Role=aws.role_arn,
            Handler="handler.handler",
            Code={"ZipFile": buffer.getvalue()},
        )
        assert functions.invoke(FunctionName="echo", Payload=b"1")["Payload"].read() == b"1"

    return start


def test_starting_twice_starts_once(cloud):
    parts = cloud.parts()
    assert cloud.up() is False
    assert cloud.parts() == parts
    cloud.check()


def test_nothing_listens_beyond_this_machine_and_nothing_stays_after_down(own_cloud, occupy, until):
    assert own_cloud.up() is True
    occupy(own_cloud, until)
    parts = own_cloud.parts()
    processes = members(parts)
    # Two servers, a model server, a training program and a Lambda worker.
    assert len(processes) >= 5
    assert "model_server" in commands(processes)
    assert "program.py" in commands(processes)
    addresses = listening_addresses(processes)
    assert len(addresses) >= 3
    assert set(addresses) == {LOOPBACK}

    own_cloud.down()
    assert members(parts) == []
    assert own_cloud.parts() == []
    assert {path.name for path in own_cloud.directory.iterdir()} == {"ministack.log", "sagemaker.log"}
    with pytest.raises(CloudError, match="not running"):
        own_cloud.check()
    own_cloud.down()  # a second time is no error


@pytest.mark.parametrize("number", [0, 1])
def test_a_part_that_was_killed_is_noticed_with_its_last_words(own_cloud, occupy, until, number):
    own_cloud.up()
    occupy(own_cloud, until)
    parts = own_cloud.parts()
    killed = parts[number]
    log = own_cloud.directory / f"{killed.name}.log"
    with log.open("a") as stream:
        stream.write("the last thing it said\n")
    os.kill(killed.pid, signal.SIGKILL)

    def noticed():
        try:
            own_cloud.check()
        except CloudError as error:
            return error
        return None

    error = until(noticed)
    assert f"`{killed.name}`" in str(error)
    assert "the last thing it said" in str(error)
    assert "cloud.down" in error.remedy
    with pytest.raises(CloudError, match=killed.name):
        own_cloud.up()
    own_cloud.down()
    assert members(parts) == []
    assert own_cloud.parts() == []


@pytest.mark.parametrize("kind", ["taken", "impossible"])
def test_a_port_that_cannot_be_used_starts_nothing(own_cloud, kind):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1] if kind == "taken" else 70_000
        with pytest.raises(CloudError) as raised:
            own_cloud.up(port)
    assert str(port) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert own_cloud.parts() == []
    assert list(own_cloud.directory.iterdir()) == []


def test_a_chosen_port_is_used(own_cloud):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    own_cloud.up(port)
    assert own_cloud.variables()["AWS_ENDPOINT_URL"] == f"http://127.0.0.1:{port}"


def test_a_server_that_does_not_come_up_leaves_nothing(tmp_path):
    project = tmp_path / "empty project"
    project.mkdir()
    cloud = LocalCloud(tmp_path / "cloud", project)
    started = []
    spawn = cloud._spawn
    cloud._spawn = lambda *arguments: started.append(spawn(*arguments)) or started[-1]
    with pytest.raises(CloudError, match="No module named"):
        cloud.up()
    assert len(started) == 2
    for process in started:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
    assert cloud.parts() == []


def test_no_proxy_leads_to_this_machine(own_cloud, aws_of, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody is there
    monkeypatch.setenv("no_proxy", "example.com")
    own_cloud.up()
    assert own_cloud.variables()["NO_PROXY"] == "example.com,127.0.0.1"
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, own_cloud.variables()[name])
    aws, _, _ = aws_of(own_cloud)
    assert aws.client("sts").get_caller_identity()["Account"]
    assert aws.client("sagemaker").list_models()["Models"] == []  # which asks MiniStack whether it may


def test_what_cannot_be_noted_is_stopped(own_cloud, monkeypatch):
    noted = []

    def full(parts):
        noted.extend(parts)
        raise OSError("No space left on device")

    monkeypatch.setattr(own_cloud, "_note", full)
    with pytest.raises(OSError, match="No space left"):
        own_cloud.up()
    assert noted
    assert members(noted) == []


@pytest.mark.parametrize("content", ["", "[{", '{"ministack": 1}', "[1]"])
def test_a_note_that_is_damaged_says_what_to_do(own_cloud, content):
    own_cloud.directory.mkdir()
    (own_cloud.directory / "state.json").write_text(content)
    for ask in (own_cloud.up, own_cloud.down, own_cloud.check):
        with pytest.raises(CloudError, match=r"state\.json is damaged"):
            ask()
    (own_cloud.directory / "state.json").unlink()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("no folder")
    cloud = LocalCloud(tmp_path / "file" / "cloud", PROJECT)
    with pytest.raises(CloudError, match="cannot be written") as raised:
        cloud.up()
    assert "\n" not in str(raised.value)
    assert cloud.parts() == []
    cloud.down()


def test_a_cloud_that_is_down_says_how_to_start_it(own_cloud):
    with pytest.raises(CloudError, match=r"cloud\.up"):
        own_cloud.check()
