"""What people see of a plan's values: nothing sensitive, and nothing that is not known."""

from toolkit.review.values import UNKNOWN, Difference, differences, visible


def test_sensitive_values_are_hidden_at_any_depth():
    shown = visible(
        {"a": {"password": "hunter2", "user": "x"}, "b": ["s3cret"]}, {"a": {"password": True}, "b": [True]}
    )
    assert str(shown) == "{'a': {'password': (sensitive), 'user': 'x'}, 'b': [(sensitive)]}"


def test_that_a_sensitive_value_changes_is_seen_and_the_value_is_not():
    before, after = visible({"p": "old"}, {"p": True}), visible({"p": "new"}, {"p": True})
    (difference,) = differences(before, after)
    assert (difference.path, str(difference.before), str(difference.after)) == ("p", "(sensitive)", "(sensitive)")
    assert differences(before, visible({"p": "old"}, {"p": True})) == ()
    assert "old" not in repr(difference)


def test_a_resource_that_is_sensitive_as_a_whole_shows_nothing():
    assert str(visible({"a": 1}, True)) == "(sensitive)"


def test_what_only_an_apply_knows_is_said_to_be_so():
    assert visible({"a": 1}, {}, {"arn": True, "list": [True]}) == {"a": 1, "arn": UNKNOWN, "list": [UNKNOWN]}
    assert str(UNKNOWN) == "(known after apply)"


def test_something_sensitive_that_is_not_known_yet_is_sensitive():
    assert str(visible({}, {"p": True}, {"p": True})["p"]) == "(sensitive)"


def test_differences_are_places():
    before = {"same": 1, "gone": "x", "deep": {"a": [{"b": 1}]}}
    after = {"same": 1, "deep": {"a": [{"b": 2}]}, "new": "y"}
    assert differences(before, after) == (
        Difference("deep.a[0].b", 1, 2),
        Difference("gone", "x", None),
        Difference("new", None, "y"),
    )


def test_a_text_that_is_json_is_compared_by_its_content():
    (difference,) = differences({"definition": '{"a": 1, "b": 2}'}, {"definition": '{"b":3,"a":1}'})
    assert difference == Difference("definition.b", 2, 3)


def test_nothing_in_another_guise_is_no_difference():
    assert differences({"a": None, "b": ""}, {"a": "", "c": None}) == ()


def test_a_list_of_texts_tells_what_comes_and_what_goes():
    assert differences({"names": ["a", "b", "c"]}, {"names": ["a", "c", "d"]}) == (
        Difference("names[]", "b", None),
        Difference("names[]", None, "d"),
    )
    assert differences({"names": ["a", "b"]}, {"names": ["b", "a"]}) == (Difference("names", "a, b", "b, a"),)
