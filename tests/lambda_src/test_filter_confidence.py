"""What comes through the filter, and what a person gets to see."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def function(load_handler):
    return load_handler("filter_confidence", THRESHOLD="0.93", AWS_LAMBDA_FUNCTION_NAME="filter-dev")


def declared(line):
    """The metrics of a line that CloudWatch will find, with their dimensions."""
    directives = line["_aws"]["CloudWatchMetrics"]
    assert {directive["Namespace"] for directive in directives} == {"VehicleClassification"}
    assert all(name in line for directive in directives for names in directive["Dimensions"] for name in names)
    return {metric["Name"]: directive["Dimensions"] for directive in directives for metric in directive["Metrics"]}


def test_the_example_passes(function, example, printed_metrics):
    event, expected = example("filter_confidence")
    assert function.handler(event, None) == expected
    [metrics] = printed_metrics()
    assert (metrics["FunctionName"], metrics["Confidence"], metrics["LowConfidence"]) == ("filter-dev", 0.96, 0)
    assert declared(metrics) == {"Confidence": [["FunctionName"]], "LowConfidence": [["FunctionName"]]}
    assert metrics["execution"] == event["execution"]
    assert (metrics["s3_bucket"], metrics["s3_key"]) == (event["s3_bucket"], event["s3_key"])


def test_the_images_of_each_class_are_counted(load_handler, printed_metrics):
    function = load_handler("filter_confidence", THRESHOLD="0.9", CLASSES='["bicycle", "motorcycle"]')
    for inferences in ([0.95, 0.05], [0.02, 0.98]):
        function.handler({"inferences": inferences}, None)
    with pytest.raises(function.ThresholdConfidenceNotMet):
        function.handler({"inferences": [0.6, 0.4]}, None)
    bicycle, motorcycle, unsure = printed_metrics()
    assert (bicycle["Vehicle"], bicycle["Accepted"]) == ("bicycle", 1)
    assert (motorcycle["Vehicle"], motorcycle["Accepted"]) == ("motorcycle", 1)
    assert declared(bicycle)["Accepted"] == [["FunctionName", "Vehicle"]]
    assert "Accepted" not in unsure | declared(unsure)


def test_an_inference_for_each_class(load_handler):
    function = load_handler("filter_confidence", THRESHOLD="0.9", CLASSES='["bicycle", "motorcycle"]')
    with pytest.raises(function.MalformedInference, match="one for each"):
        function.handler({"inferences": [0.95, 0.03, 0.02]}, None)


def test_an_unsure_model_fails_loudly(function, printed_metrics):
    with pytest.raises(function.ThresholdConfidenceNotMet) as failure:
        function.handler({"s3_bucket": "b", "s3_key": "k.png", "inferences": [0.4, 0.6]}, None)
    message = str(failure.value)
    assert message.startswith("THRESHOLD_CONFIDENCE_NOT_MET: ")
    assert all(part in message for part in ("[0.4, 0.6]", "0.93", "s3://b/k.png"))
    [metrics] = printed_metrics()
    assert (metrics["Confidence"], metrics["LowConfidence"]) == (0.6, 1)


@pytest.mark.parametrize(("best", "passes"), [(0.93, True), (0.9299999, False), (1, True)])
def test_the_threshold_itself_is_enough(function, best, passes):
    event = {"s3_bucket": "b", "s3_key": "k", "inferences": [best, 1 - best]}
    if passes:
        assert function.handler(event, None) == {**event, "confidence": best}
    else:
        with pytest.raises(function.ThresholdConfidenceNotMet):
            function.handler(event, None)


@pytest.mark.parametrize(
    "inferences",
    [None, [], "0.99", {"a": 1}, [None], ["0.99"], [True], [1.2, -0.2], [float("nan"), 0.95], [float("inf")], [[0.95]]],
)
def test_what_is_no_list_of_probabilities_is_malformed(function, inferences, printed):
    with pytest.raises(function.MalformedInference):
        function.handler({"s3_bucket": "b", "s3_key": "k", "inferences": inferences, "execution": "arn:e"}, None)
    [line] = printed()
    assert (line["level"], line["error"], line["execution"]) == ("WARN", "MalformedInference", "arn:e")
    assert "_aws" not in line


def test_a_record_without_inferences_is_malformed(function):
    with pytest.raises(function.MalformedInference):
        function.handler({}, None)


@pytest.mark.parametrize("threshold", ["0", "-0.1", "1.01", "nan"])
def test_a_senseless_threshold_stops_the_function_before_its_first_record(load_handler, threshold):
    with pytest.raises(ValueError, match="THRESHOLD"):
        load_handler("filter_confidence", THRESHOLD=threshold)
