import os
from pathlib import Path

import pytest
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws

from toolkit import environment as environments
from toolkit.environment import (
    NAMES,
    CredentialsMissingError,
    Environment,
    RegionMissingError,
    UnknownEnvironmentError,
)
from toolkit.local_cloud.cloud import CloudError, LocalCloud

VARIABLES = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, and a shell that is logged in nowhere."""
    monkeypatch.setattr(environments, "PROJECT", tmp_path)
    monkeypatch.setattr(environments.boto3, "DEFAULT_SESSION", None)
    # Set first, so that whatever the code under test sets is taken back.
    for name in {name for name in os.environ if name.startswith("AWS_")} | VARIABLES.keys():
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


@pytest.fixture
def running(project, monkeypatch):
    """An embedded AWS that says it runs."""
    monkeypatch.setattr(LocalCloud, "check", lambda self: None)
    monkeypatch.setattr(LocalCloud, "variables", lambda self: VARIABLES)


@pytest.mark.parametrize("name", ["", "Local", "staging", "../prod"])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(UnknownEnvironmentError, match="Choose one of local, dev, prod"):
        Environment(name)


@pytest.mark.parametrize("name", NAMES)
def test_each_has_files_of_its_own(project, name):
    environment = Environment(name)
    assert environment.is_local == (name == "local")
    assert environment.terraform_directory == project / "terraform" / "environments" / name
    assert environment.releases_file == environment.terraform_directory / "releases.auto.tfvars.json"


def test_functions_are_packaged_apart_for_this_machine_and_for_aws():
    assert Environment("dev").lambda_packages == Environment("prod").lambda_packages
    assert Environment("dev").lambda_packages != Environment("local").lambda_packages


def test_local_needs_the_embedded_aws(project):
    with pytest.raises(CloudError, match=r"not running\. Start it with `invoke cloud.up`"):
        Environment("local").activate()
    assert not set(os.environ) & set(VARIABLES)


def test_local_leads_to_the_embedded_aws_and_never_to_the_account_of_the_shell(running, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "secret")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "production")
    Environment("local").activate()
    assert VARIABLES.items() <= os.environ.items()
    assert "AWS_PROFILE" not in os.environ
    assert "AWS_SESSION_TOKEN" not in os.environ
    assert Environment("local").client("s3").meta.endpoint_url == VARIABLES["AWS_ENDPOINT_URL"]


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_an_account_needs_credentials(project, name):
    with pytest.raises(CredentialsMissingError, match=f"--env {name}`: Unable to locate credentials.*Log in"):
        Environment(name).activate()


def test_a_profile_that_does_not_exist_is_named(project, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(CredentialsMissingError, match="nobody"):
        Environment("dev").activate()


def test_an_account_that_cannot_be_reached_is_no_traceback(project, monkeypatch):
    def refuse(*_, **__):
        raise EndpointConnectionError(endpoint_url="https://sts")

    monkeypatch.setattr(environments.boto3, "client", refuse)
    with pytest.raises(CredentialsMissingError, match="Could not connect"):
        Environment("dev").activate()


@mock_aws
def test_an_account_needs_a_region(project):
    with pytest.raises(RegionMissingError, match="AWS_REGION"):
        Environment("dev").activate()


@mock_aws
@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_an_account_is_used_in_the_region_of_the_shell_whatever_its_name_there(project, monkeypatch, variable):
    monkeypatch.setenv(variable, "eu-west-1")
    Environment("dev").activate()
    assert os.environ["AWS_REGION"] == os.environ["AWS_DEFAULT_REGION"] == "eu-west-1"
    assert Environment("dev").client("stepfunctions").meta.region_name == "eu-west-1"


def test_clients_have_time_limits_and_bounded_retries(running):
    Environment("local").activate()
    config = Environment("local").client("s3").meta.config
    assert 0 < config.connect_timeout <= 10
    assert 0 < config.read_timeout <= 60
    assert config.retries["total_max_attempts"] <= 5
