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
_LABELS = {"labels": "of the pull request, comma-separated: allow-RULE lets the findings of that rule pass"}
_BROKEN = 4  # exit code of a plan that breaks a rule
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
    from toolkit import pipeline
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
    _print_release(environment, release, evaluation)
    console.print(f"Next: `invoke apply --env {env}`.")


@task(help=_ENV)
@readable
def package(c: Context, env: str = "local") -> None:
    """Build the functions' zips, for the Python and platform that will run them."""
    from toolkit import pipeline
    from toolkit.environment import Environment

    pipeline.package_functions(Environment(env))


@task(help={**_ENV, **_LABELS})
@readable
def plan(c: Context, env: str = "local", labels: str = "") -> None:
    """Package the functions, save a plan and review it. Exit code 2 when it would change something, 4 if it may not."""
    from toolkit import pipeline
    from toolkit.plan import keep_shown
    from toolkit.progress import console
    from toolkit.review.files import REVIEWS, write
    from toolkit.review.terminal import TerminalReview

    environment = _activate(env)
    proposed = pipeline.plan(environment)
    keep_shown(proposed)
    found = proposed.review(env, labels=labels.split(","), region=_price_region(environment))
    console.print(TerminalReview(found))
    console.print(f"\nAll of it: {write(found, REVIEWS / env)}", soft_wrap=True, highlight=False)
    if len(proposed):
        console.print(
            f"Apply exactly this: invoke apply --env {env} --plan-file {proposed.file} --sha256 {proposed.sha256}",
            soft_wrap=True,
            highlight=False,
        )
    if found.objections:
        raise Exit(code=_BROKEN)
    if len(proposed):
        raise Exit(code=2)


@task(
    help={
        "plan_file": "a plan that `invoke plan`, or `terraform plan -out`, has saved",
        "env": "whose plan it is; default: the file's name, else local",
        "form": "terminal, markdown (what fits into a comment of GitHub; all of it goes to build/reviews) or json",
        **_LABELS,
    }
)
@readable
def review(c: Context, plan_file: str, env: str = "", form: str = "terminal", labels: str = "") -> None:
    """Show what a saved plan would do: dangerous things first, the model, the cost. Exit code 4 if it breaks a rule."""
    import json

    from toolkit.environment import LOCAL, NAMES, Environment
    from toolkit.infrastructure import Infrastructure
    from toolkit.plan import kept_plan
    from toolkit.progress import console
    from toolkit.review.files import REVIEWS, write
    from toolkit.review.markdown import render
    from toolkit.review.terminal import TerminalReview

    if form not in ("terminal", "markdown", "json"):
        raise Exit(f"--form is terminal, markdown or json, not `{form}`.", code=2)
    name = Path(plan_file).stem
    environment = Environment(env or (name if name in NAMES else LOCAL))
    proposed = kept_plan(Path(plan_file)) or Infrastructure(environment).saved_plan(Path(plan_file))
    found = proposed.review(environment.name, labels=labels.split(","), region=_price_region(environment))
    write(found, REVIEWS / environment.name)
    if form == "terminal":
        console.print(TerminalReview(found))
    else:
        print(render(found).text if form == "markdown" else json.dumps(found.as_json(), indent=2))
    if found.objections:
        raise Exit(code=_BROKEN)


@task(
    help={
        **_ENV,
        "plan_file": "a plan that `invoke plan` has shown; default: make one and show it",
        "sha256": "of that file, as its review says: refuse another",
        **_YES,
    }
)
@readable
def apply(c: Context, env: str = "local", plan_file: str = "", sha256: str = "", yes: bool = False) -> None:
    """Apply the plan that was shown, and nothing else. Outside of local it asks first. Then: invoke verify."""
    from toolkit import pipeline
    from toolkit.infrastructure import Infrastructure
    from toolkit.plan import approve, check_file

    environment = _activate(env)
    if plan_file:
        if sha256:
            check_file(Path(plan_file), sha256)
        infrastructure = Infrastructure(environment)
        infrastructure.init()
        pipeline.package_functions(environment)  # the plan names the zips; on another machine they are not there
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


@task(
    help={
        **_ENV,
        "since": "a day or moment (UTC); default: 24 hours ago, or all of --capture",
        "until": "a day or moment (UTC); default: now",
        "capture": "a folder or s3:// prefix of captured data; default: what the endpoint captures",
        "out": "the folder of the report; default: build/monitor/<moment>",
    }
)
@readable
def monitor(c: Context, env: str = "local", since: str = "", until: str = "", capture: str = "", out: str = "") -> None:
    """Report on what the endpoint has captured. Exit code 2 on drift, 4 where too little is known to tell."""
    from toolkit.environment import Environment
    from toolkit.monitoring.monitor import watch
    from toolkit.progress import console
    from toolkit.reconciliation import parse_moment

    found = watch(
        Environment(env),
        capture=capture,
        since=parse_moment(since) if since else None,
        until=parse_moment(until) if until else None,
        out=Path(out) if out else None,
    )
    console.print(found.table())
    if found.drift.exit_code:
        raise Exit(code=found.drift.exit_code)


@task(
    help={
        **_ENV,
        "rate": "images a second",
        "seconds": "for how long",
        "burst": "so many at once, instead of a stream",
        "mix": "share of each class, as bicycle=0.8,motorcycle=0.2; default: equal shares",
        "corrupt": "share of uploads that are no image, from 0 to 1",
        "drift": "blur, dark, or swap (of the mix)",
        "seed": "of all that is random",
    }
)
@readable
def simulate(
    c: Context,
    env: str = "local",
    rate: str = "5",
    seconds: str = "60",
    burst: str = "0",
    mix: str = "",
    corrupt: str = "0",
    drift: str = "",
    seed: str = "1",
) -> None:
    """Upload images at a given pace, follow each to its end; Ctrl-C stops it. 1 when any failed, 130 when stopped."""
    from toolkit.infrastructure import Infrastructure
    from toolkit.progress import console
    from toolkit.traffic import TrafficSettings, parse_mix
    from toolkit.traffic import simulate as run

    settings = TrafficSettings(
        rate=_decimal("rate", rate),
        seconds=_decimal("seconds", seconds),
        burst=_number("burst", burst),
        mix=parse_mix(mix),
        corrupt=_decimal("corrupt", corrupt),
        drift=drift,
        seed=_number("seed", seed),
    )
    environment = _activate(env)
    result = run(environment, Infrastructure(environment).service(), settings)
    console.print(result.table())
    console.print(result.file, soft_wrap=True, highlight=False)
    result.check()


@task(
    help={**_ENV, "hyperparameter": "NAME=VALUE, over those of the serving release's job; may be given several times"},
    iterable=["hyperparameter"],
)
@readable
def retrain(c: Context, env: str = "local", hyperparameter: Sequence[str] | None = None) -> None:
    """Train a candidate in the cloud and compare it with the release that serves. Deploys nothing; next: promote."""
    from toolkit.infrastructure import Infrastructure
    from toolkit.progress import console
    from toolkit.retraining import retrain as run

    environment = _activate(env)
    told = run(environment, Infrastructure(environment).service(), hyperparameter or ())
    console.print(told["what"], style="bold", highlight=False)
    console.print("\n".join(told["side_by_side"]), soft_wrap=True, highlight=False, markup=False)
    console.print(f"{told['advice']}\n{told['comparison']}", soft_wrap=True, highlight=False)


@task(help={**_ENV, "job": "the candidate's training job; default: the newest candidate"})
@readable
def promote(c: Context, env: str = "local", job: str = "") -> None:
    """Make a candidate the current release in the release record, with its model card. Deploys nothing; next: plan."""
    from toolkit import pipeline
    from toolkit.progress import console
    from toolkit.promotion import promote as run

    environment = _activate(env)
    release, evaluation = run(environment, pipeline.foundation_of(environment), job)
    _print_release(environment, release, evaluation)
    console.print(f"Next: `invoke plan --env {env}`.")


@task(help=_ENV)
@readable
def costs(c: Context, env: str = "local") -> None:
    """List what is running and billed, and since when. Exit code 1 when a service does not say."""
    from toolkit.costs import costs as run
    from toolkit.progress import console

    found = run(_activate(env))
    console.print(found.table())
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


@task(help={"base": "the commit that the branch is to be merged into"})
@readable
def changed(c: Context, base: str) -> None:
    """Print the environments of accounts that a branch changes, as an output of a workflow's step."""
    import json

    from toolkit.review.github import changed_environments

    print(f"environments={json.dumps(changed_environments(base))}")


@task(
    help={
        "number": "of the pull request",
        "commit": "its head, of which the plans were made",
        "envs": "that it changes, comma-separated",
        "run": "of plan.yml, whose reviews are to be fetched; default: those in build/reviews",
    }
)
@readable
def comment(c: Context, number: str, commit: str, envs: str = "", run: str = "") -> None:
    """Write the reviews into the one comment of a pull request that people read."""
    from toolkit.review import github
    from toolkit.review.files import REVIEWS

    names = [name for name in envs.split(",") if name]
    if run:
        github.fetch_reviews(run, names, REVIEWS)
    github.comment(_number("number", number), commit, names, REVIEWS)


@task
@readable
def reviewed(c: Context) -> None:
    """Print the environments whose plans were reviewed before they were merged; fails when one was not."""
    import json

    from toolkit.review.github import reviewed as run

    print(f"environments={json.dumps([found.environment for found in run()])}")


@task(name="apply", help=_ENV)
@readable
def apply_merged(c: Context, env: str = "dev") -> None:
    """Apply what was reviewed before it was merged: that plan while it is fresh, else one that would do the same."""
    from toolkit import pipeline
    from toolkit.environment import BUILD
    from toolkit.infrastructure import Infrastructure
    from toolkit.review import github
    from toolkit.review.reviewed import apply_reviewed

    environment = _activate(env)
    found = github.reviewed_plan(env)
    infrastructure = Infrastructure(environment)
    infrastructure.init()
    pipeline.package_functions(environment)
    file = github.download(found, BUILD / "reviewed" / env)
    apply_reviewed(infrastructure, infrastructure.plan, effect=found.effect, file=file, sha256=found.sha256)


@task(help=_ENV)
@readable
def drift(c: Context, env: str = "dev") -> None:
    """Keep an issue open while the environment is not as it was applied, by the review of the last `invoke plan`."""
    from toolkit.progress import console
    from toolkit.review.files import REVIEWS
    from toolkit.review.github import report_drift

    console.print(report_drift(env, REVIEWS / env))


@task(help=_ENV)
@readable
def propose_release(c: Context, env: str = "dev") -> None:
    """Open a pull request with the current release: its record and its model card."""
    from toolkit.environment import Environment
    from toolkit.progress import console
    from toolkit.releases import ReleaseRecord
    from toolkit.review import github

    record = Environment(env).releases_file
    release = str(ReleaseRecord.read(record).current_release)
    cards = record.parent / "model_cards"
    console.print(github.propose_release(env, release, [record, cards], (cards / f"{release}.md").read_text()))


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


def _print_release(environment: Any, release: Any, evaluation: Any) -> None:
    from toolkit import model_card
    from toolkit.progress import console

    console.print(f"Release {release.identifier}: accuracy {evaluation.right} on {evaluation.test_images} test images.")
    if len(release.classes) > 2:  # noqa: PLR2004 - of two, one says it all
        for name, right in zip(release.classes, evaluation.right_by_class, strict=True):
            console.print(f"  {name}: {right}")
    console.print(
        f"Recorded in {environment.releases_file}, model card {model_card.path(environment, release)}.", soft_wrap=True
    )


def _price_region(environment: Any) -> str | None:
    """Where AWS's price list is asked for: nowhere, unless somebody works in an account."""
    import os

    return None if environment.is_local else os.environ.get("AWS_REGION")


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


def _decimal(name: str, text: str) -> float:
    """Read a number with a fraction, as `_number` reads whole ones."""
    try:
        return float(text)
    except ValueError:
        raise Exit(f"--{name} takes a number, not `{text}`.", code=2) from None


def _print_status(environment: Any, console: Any) -> None:
    for part in environment.cloud.parts():
        console.print(f"{part.name} runs at {part.url} (process {part.pid})")


ns = Collection(
    *(demo, stage, train, package, plan, review, apply, verify, rollback),
    *(classify, batch, simulate, monitor, retrain, promote, costs, destroy, check),
)
ns.add_collection(Collection("cloud", up, down, status, env))
ns.add_collection(Collection("workflow", reconcile))
ns.add_collection(Collection("github", changed, comment, reviewed, apply_merged, drift, propose_release))
ns.configure({"dataset": {"archive": "", "classes": "bicycle,motorcycle"}, "cloud": {"port": "0"}})
