"""The tasks of this project: `invoke --list` shows them, `invoke --help TASK` explains one.

Each parses its arguments, calls the toolkit and prints. Imports that cost time stay inside the tasks that need them.
"""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

if TYPE_CHECKING:
    from toolkit.training_settings import TrainingSettings

_ENV = {"env": "local (the embedded AWS, default), dev or prod"}
_DATA = {
    "archive": (
        "CIFAR archive (path or https URL) or folder of photos, or several with commas between; "
        "default: dataset.archive, else drawings"
    ),
    "classes": "comma-separated names of the classes; default: dataset.classes",
}
_YES = {"yes": "do not ask"}
_TRAINING = {
    "algorithm": "pytorch (our program) or image-classification (built in)",
    "epochs": "passes over the training images; default: training.toml",
    "seed": "of all that is random; default: training.toml",
}
_JOB = {
    "instance_type": "billed while the job runs; default: training.toml",
    "maximum_seconds": "after which SageMaker stops the job; default: training.toml",
    "spot": "yes or no: on spare capacity, cheaper, may be interrupted; default: training.toml",
    "hyperparameter": "NAME=VALUE, over training.toml; may be given several times",
    "new_data": "it is meant that the data is not what the current release has learnt from",
    "new_classes": "it is meant that the classes are others than the current release's",
}


Task = Callable[..., Any]


def readable(function: Task) -> Task:
    """Turn a failure that has a remedy into one message and an exit code, without a traceback."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        from toolkit.errors import ToolkitError

        try:
            return function(*args, **kwargs)
        except ToolkitError as error:
            raise Exit(f"{function.__name__}: {error}", code=error.exit_code) from None
        except (BotoCoreError, ClientError) as error:
            raise Exit(f"{function.__name__}: AWS refused or did not answer: {error}", code=1) from None
        except KeyboardInterrupt:
            raise Exit(f"{function.__name__}: interrupted.", code=130) from None

    return wrapper


@task(help={**_DATA, **_TRAINING, "keep": "leave the service and the embedded AWS up"})
@readable
def demo(
    c: Context,
    archive: str = "",
    classes: str = "",
    algorithm: str = "pytorch",
    epochs: str = "",
    seed: str = "",
    keep: bool = False,
) -> None:
    """Run everything once on an embedded AWS, on this laptop: stage, train, deploy, classify, fail, destroy."""
    from toolkit.demo import run_demo

    settings = _settings(algorithm=algorithm, epochs=epochs, seed=seed)
    run_demo(archive or c.dataset.archive, _classes(c, classes), settings, keep=keep)


@task(help={**_ENV, **_DATA})
@readable
def stage(c: Context, env: str = "local", archive: str = "", classes: str = "") -> None:
    """Verify a dataset and send it to the environment's bucket."""
    from toolkit import pipeline
    from toolkit.progress import console

    loaded = pipeline.load_dataset(archive or c.dataset.archive, _classes(c, classes))
    environment = _activate(env)
    staged = pipeline.stage(environment, pipeline.foundation_of(environment), loaded)
    console.print(f"Staged {staged.train_images} train and {staged.test_images} test images to s3://{staged.bucket}")


@task(help={**_ENV, **_DATA, **_TRAINING, **_JOB}, iterable=["hyperparameter"])
@readable
def train(
    c: Context,
    env: str = "local",
    archive: str = "",
    classes: str = "",
    algorithm: str = "pytorch",
    epochs: str = "",
    seed: str = "",
    instance_type: str = "",
    maximum_seconds: str = "",
    spot: str = "",
    hyperparameter: Sequence[str] | None = None,  # invoke makes a list of options only of this default
    new_data: bool = False,
    new_classes: bool = False,
) -> None:
    """Train on the staged dataset (staging it if needed), evaluate, and write the release record and a model card."""
    from toolkit import model_card, pipeline
    from toolkit.progress import console
    from toolkit.staging import StagedDataset

    settings = _settings(
        algorithm=algorithm,
        epochs=epochs,
        seed=seed,
        instance_type=instance_type,
        maximum_seconds=maximum_seconds,
        spot=spot,
        hyperparameters=hyperparameter or (),
    )
    environment = _activate(env)
    foundation = pipeline.foundation_of(environment)
    named = archive or classes
    staged = None if named else StagedDataset.read(environment.client("s3"), foundation.bucket)
    if staged is None:
        loaded = pipeline.load_dataset(archive or c.dataset.archive, _classes(c, classes))
        staged = pipeline.stage(environment, foundation, loaded)
    release, evaluation = pipeline.train_release(
        environment, foundation, staged, settings, new_data=new_data, new_classes=new_classes
    )
    pipeline.package_functions(environment)
    console.print(f"Release {release.identifier}: accuracy {evaluation.right} on {evaluation.test_images} test images.")
    if len(release.classes) > 2:  # noqa: PLR2004 - of two, one says it all
        for name, right in zip(release.classes, evaluation.right_by_class, strict=True):
            console.print(f"  {name}: {right}")
    console.print(
        f"Recorded in {environment.releases_file}, model card {model_card.path(environment, release)}. "
        f"Next: `invoke apply --env {env}`."
    )


@task(help=_ENV)
@readable
def package(c: Context, env: str = "local") -> None:
    """Build the functions' zips, for the Python and platform that will run them."""
    from toolkit import pipeline
    from toolkit.environment import Environment

    pipeline.package_functions(Environment(env))


@task(help=_ENV)
@readable
def plan(c: Context, env: str = "local") -> None:
    """Package the functions, save a plan and show it. Exit code 2 when it would change something."""
    from toolkit import pipeline
    from toolkit.progress import console

    proposed = pipeline.plan(_activate(env))
    console.print(proposed.table())
    if len(proposed):
        console.print(f"Apply exactly this with `invoke apply --env {env} --plan-file {proposed.file}`.")
        raise Exit(code=2)


@task(help={**_ENV, "plan_file": "a plan that `invoke plan` has shown; default: make one and show it", **_YES})
@readable
def apply(c: Context, env: str = "local", plan_file: str = "", yes: bool = False) -> None:
    """Apply the plan that was shown, and nothing else. Outside of local it asks first. Then: invoke verify."""
    from toolkit import pipeline
    from toolkit.infrastructure import Infrastructure
    from toolkit.plan import approve

    environment = _activate(env)
    if plan_file:
        infrastructure = Infrastructure(environment)
        infrastructure.init()
        proposed = infrastructure.saved_plan(Path(plan_file))
    else:
        proposed = pipeline.plan(environment)
        approve(proposed, ask=not yes and not environment.is_local)
        infrastructure = Infrastructure(environment)
    infrastructure.apply(proposed)


@task(help=_ENV)
@readable
def verify(c: Context, env: str = "local") -> None:
    """Compare what the endpoint serves with what it should. Exit code 3 when a guardrail rolled an update back."""
    from toolkit.infrastructure import Infrastructure
    from toolkit.progress import console
    from toolkit.verification import verify as run

    environment = _activate(env)
    service = Infrastructure(environment).service()
    found = run(environment, service)
    if found is None:
        console.print(f"The endpoint {service.endpoint_name} is switched off, as it should be.")
    else:
        console.print(f"The endpoint {service.endpoint_name} serves {service.release['id']}, as it should.")


@task(help={**_ENV, "to": "the release; default: the one that served before", **_YES})
@readable
def rollback(c: Context, env: str = "local", to: str = "", yes: bool = False) -> None:
    """Go back to an earlier release: flip `current_release`, show the plan, apply it, verify."""
    from toolkit import pipeline
    from toolkit.plan import approve
    from toolkit.progress import console

    environment = _activate(env)
    ask = not yes and not environment.is_local
    release = pipeline.rollback(environment, to or None, lambda proposed: approve(proposed, ask=ask))
    console.print(f"{release} serves. Commit {environment.releases_file}, unless this is local.")


@task(help={**_ENV, "image": "a file, a folder, a quoted pattern or an s3:// URI; name more after `--`"})
@readable
def classify(c: Context, image: str, env: str = "local") -> None:
    """Run the workflow on images and show what it decides: invoke classify a.png -- b.png c.png. 1 when any fails."""
    from toolkit.infrastructure import Infrastructure
    from toolkit.progress import console
    from toolkit.workflow import classify as run
    from toolkit.workflow import find_images, outcomes_table

    environment = _activate(env)
    # Invoke passes what follows `--` as one string, in which a name with a blank would fall apart.
    more = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    images = find_images([image, *more])
    outcomes = run(environment, Infrastructure(environment).service(), images)
    console.print(outcomes_table(outcomes))
    if not all(outcome.succeeded for outcome in outcomes):
        raise Exit(code=1)


@task(help={**_ENV, "source": "s3://bucket/prefix, a .csv or .json list (a file or in S3), or a folder"})
@readable
def batch(c: Context, source: str, env: str = "local") -> None:
    """Classify a prefix, a list or a folder in one execution; Ctrl-C stops it. 1 when it failed, 130 when stopped."""
    from toolkit.batch import run_batch, summary_table
    from toolkit.infrastructure import Infrastructure
    from toolkit.progress import console

    environment = _activate(env)
    summary = run_batch(environment, Infrastructure(environment).service(), source)
    console.print(summary_table(summary))
    console.print(f"{summary.results_file}\n{summary.results_uri}", soft_wrap=True, highlight=False)
    summary.check()


@task(
    help={
        **_ENV,
        "since": "a day or moment (UTC): leave out what was uploaded before",
        "grace": "seconds in which an upload without an execution counts as on its way",
        "start": "start the lost ones again",
    }
)
@readable
def reconcile(c: Context, env: str = "local", since: str = "", grace: str = "60", start: bool = False) -> None:
    """Compare the uploads with their outcomes. Exit code 1 when nobody will hear of one."""
    from datetime import timedelta

    from toolkit.infrastructure import Infrastructure
    from toolkit.progress import console
    from toolkit.reconciliation import parse_moment
    from toolkit.reconciliation import reconcile as run

    after = parse_moment(since) if since else None
    seconds = timedelta(seconds=_number("grace", grace))
    environment = _activate(env)
    found = run(environment, Infrastructure(environment).service(), since=after, grace=seconds, start=start)
    console.print(found.table())
    if found.noteworthy:
        console.print(found.noteworthy_table())
    found.check()


@task(help={**_ENV, **_YES})
@readable
def destroy(c: Context, env: str = "local", yes: bool = False) -> None:
    """Destroy all that the environment's Terraform made. Outside of local it shows the plan and asks first."""
    from toolkit import pipeline
    from toolkit.plan import approve

    environment = _activate(env)
    pipeline.destroy(environment, lambda proposed: approve(proposed, ask=not yes and not environment.is_local))


@task
@readable
def check(c: Context) -> None:
    """Run every check that CI runs besides the tests: formatting, types, Terraform's validity, checkov."""
    from toolkit.checks import run_checks

    run_checks()


@task(help={"port": "of all but SageMaker; 0 takes a free one; default: cloud.port"})
@readable
def up(c: Context, port: str = "") -> None:
    """Start the embedded AWS on 127.0.0.1."""
    from toolkit import pipeline
    from toolkit.environment import LOCAL, Environment
    from toolkit.progress import console

    environment = Environment(LOCAL)
    if environment.cloud.up(_number("port", port or str(c.cloud.port))):
        pipeline.forget_releases(environment)  # of an embedded AWS that is no more
    _print_status(environment, console)


@task
@readable
def down(c: Context) -> None:
    """Stop the embedded AWS; all that was in it is gone."""
    from toolkit import pipeline
    from toolkit.environment import LOCAL, Environment

    environment = Environment(LOCAL)
    environment.cloud.down()
    pipeline.forget_releases(environment)


@task
@readable
def status(c: Context) -> None:
    """Show the parts of the embedded AWS. Exit code 1 when one is missing."""
    from toolkit.environment import LOCAL, Environment
    from toolkit.progress import console

    environment = Environment(LOCAL)
    environment.cloud.check()
    _print_status(environment, console)


@task
@readable
def env(c: Context) -> None:
    """Print the variables that lead Terraform and the AWS tools to the embedded AWS: eval "$(invoke cloud.env)"."""
    from toolkit.environment import LOCAL, Environment
    from toolkit.infrastructure import provider_variables

    environment = Environment(LOCAL)
    environment.cloud.check()
    for name, value in {**environment.cloud.variables(), **provider_variables(environment)}.items():
        print(f"export {name}={shlex.quote(value)}")
    print("unset AWS_PROFILE AWS_SESSION_TOKEN")


def _activate(name: str) -> Any:
    from toolkit.environment import Environment

    environment = Environment(name)
    environment.activate()
    return environment


def _classes(c: Context, classes: str) -> list[str]:
    return [name.strip() for name in (classes or c.dataset.classes).split(",")]


def _settings(
    algorithm: str,
    epochs: str,
    seed: str,
    instance_type: str = "",
    maximum_seconds: str = "",
    spot: str = "",
    hyperparameters: Sequence[str] = (),
) -> TrainingSettings:
    """Read training.toml and what the command line says over it; an empty option says nothing."""
    from toolkit.training_settings import load

    overrides: dict[str, Any] = {}
    if instance_type:
        overrides["instance_type"] = instance_type
    if maximum_seconds:
        overrides["maximum_seconds"] = _number("maximum_seconds", maximum_seconds)
    if spot:
        overrides["spot"] = _truth("spot", spot)
    numbers = {"epochs": epochs, "seed": seed}
    own = [f"{name}={_number(name, number)}" for name, number in numbers.items() if number]
    return load(algorithm, hyperparameters=[*hyperparameters, *own], **overrides)


def _truth(name: str, text: str) -> bool:
    if text not in ("yes", "no"):
        raise Exit(f"--{name} takes yes or no, not `{text}`.", code=2)
    return text == "yes"


def _number(name: str, text: str) -> int:
    """Read a whole number: invoke's own integers would answer a mistake with a traceback."""
    if not text.isdecimal():
        raise Exit(f"--{name.replace('_', '-')} takes a whole number, not `{text}`.", code=2)
    return int(text)


def _print_status(environment: Any, console: Any) -> None:
    for part in environment.cloud.parts():
        console.print(f"{part.name} runs at {part.url} (process {part.pid})")


ns = Collection(demo, stage, train, package, plan, apply, verify, rollback, classify, batch, destroy, check)
ns.add_collection(Collection("cloud", up, down, status, env))
ns.add_collection(Collection("workflow", reconcile))
ns.configure({"dataset": {"archive": "", "classes": "bicycle,motorcycle"}, "cloud": {"port": "0"}})
