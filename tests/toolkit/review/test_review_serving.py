"""Which model would serve, and whether it is worse."""

from tests.plan_json import plan, release, serves
from toolkit.review.proposal import Proposal
from toolkit.review.serving import model_change


def change(before, after, online=True, **more):
    return model_change(Proposal.of(plan(output_changes=serves(before, after, online=online), **more)))


def test_a_release_that_is_less_accurate_is_worse():
    found = change(release("r1"), release("r2", accuracy=0.905))
    assert found.is_worse
    assert [quality.worse for quality in found.qualities if quality.worse] == ["4.5 points worse"]


def test_a_release_that_is_more_accurate_is_not():
    found = change(release("r1"), release("r2", accuracy=0.96))
    assert not found.is_worse
    assert not any(quality.worse for quality in found.qualities)


def test_a_class_that_is_gone_and_fewer_test_images_are_worse():
    found = change(release("r1"), release("r2", classes=["bicycle", "truck"], test_images=20))
    assert [quality.worse for quality in found.qualities if quality.worse] == [
        "measured on fewer images",
        "motorcycle would no longer be told",
    ]


def test_the_first_release_is_worse_than_nothing():
    found = change(None, release("r1"))
    assert (found.changes, found.is_worse, found.release_before) == (True, False, "")


def test_an_endpoint_that_is_switched_off_serves_nothing():
    found = change(release(), release(), online=False)
    assert found.changes
    assert found.notes == ("Nothing serves after this: the endpoint goes.",)


def test_accuracies_on_other_data_or_on_drawings_cannot_be_compared():
    releases = {"releases": {"value": {"r2": {"comparable": False}}}}
    found = change(release("r1"), release("r2", dataset_sha256="e" * 64), variables=releases)
    assert found.notes == (
        "Its accuracy was measured on drawings: it says nothing about vehicles.",
        "The two accuracies were measured on different data sets.",
    )


def test_without_a_service_there_is_no_model():
    found = change(None, None)
    assert (found.changes, found.release_after, found.online_after) == (False, "", False)
