mock_provider "aws" {
  override_during = plan

  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }

  mock_resource "aws_cloudwatch_event_rule" {
    defaults = { arn = "arn:aws:events:eu-central-1:123456789012:rule/scones-test-execution-failed" }
  }
}

variables {
  name                  = "scones-test-execution"
  state_machine_arns    = ["arn:aws:states:eu-central-1:123456789012:stateMachine:scones-test-classify-vehicle"]
  topic_arn             = "arn:aws:sns:eu-central-1:123456789012:scones-test-people"
  undelivered_queue_arn = "arn:aws:sqs:eu-central-1:123456789012:scones-test-undelivered-events"
}

run "every_bad_end_of_the_machines_is_told" {
  command = plan

  assert {
    condition = alltrue([
      for rule in aws_cloudwatch_event_rule.failure :
      jsonencode(jsondecode(rule.event_pattern).detail.stateMachineArn) == jsonencode(var.state_machine_arns)
    ])
    error_message = "The rules watch these machines and no others."
  }

  assert {
    condition = toset(flatten([
      for rule in aws_cloudwatch_event_rule.failure : jsondecode(rule.event_pattern).detail.status
    ])) == toset(["ABORTED", "FAILED", "TIMED_OUT"])
    error_message = "A failure, a timeout and an abort are told."
  }

  assert {
    condition     = !can(jsondecode(aws_cloudwatch_event_rule.failure["failed"].event_pattern).detail.error)
    error_message = "Where no error tells by itself, the rule leaves none out."
  }
}

run "an_error_that_has_told_is_not_told_again" {
  command = plan

  variables {
    told_errors = ["ThresholdConfidenceNotMet"]
  }

  assert {
    condition = jsonencode(jsondecode(aws_cloudwatch_event_rule.failure["failed"].event_pattern).detail.error) == jsonencode([
      { anything-but = ["ThresholdConfidenceNotMet"] },
      { exists = false },
    ])
    error_message = "One failure, one message; and a failure without a name is told as well."
  }
}

run "messages_are_json" {
  command = plan

  # With every variable replaced by a JSON string, or by a word where it stands inside one, a template must be JSON.
  assert {
    condition = alltrue([
      for target in aws_cloudwatch_event_target.failure :
      jsondecode(replace(replace(target.input_transformer[0].input_template, "/: <[a-z]+>/", ": \"value\""), "/<[a-z]+>/", "value")).kind == "failure"
    ])
    error_message = "A message that is no JSON reaches nobody."
  }

  # EventBridge leaves a variable out whose path an event lacks, which breaks the JSON around it.
  assert {
    condition = alltrue(flatten([
      for target in aws_cloudwatch_event_target.failure : [
        for variable in flatten(regexall("<([a-z]+)>", target.input_transformer[0].input_template)) :
        contains(keys(target.input_transformer[0].input_paths), variable)
      ]
    ]))
    error_message = "Every variable of a template needs its path."
  }
}

run "what_the_topic_does_not_take_is_kept" {
  command = plan

  assert {
    condition     = alltrue([for target in aws_cloudwatch_event_target.failure : target.dead_letter_config[0].arn == var.undelivered_queue_arn])
    error_message = "An event that no one took must not be lost."
  }
}

run "no_machine_is_refused" {
  command = plan

  variables {
    state_machine_arns = []
  }

  expect_failures = [var.state_machine_arns]
}

run "name_that_makes_no_rule_is_refused" {
  command = plan

  variables {
    name = "scones test"
  }

  expect_failures = [var.name]
}

run "topic_that_is_none_is_refused" {
  command = plan

  variables {
    topic_arn = "scones-test-people"
  }

  expect_failures = [var.topic_arn]
}

run "queue_that_is_none_is_refused" {
  command = plan

  variables {
    undelivered_queue_arn = "scones-test-undelivered-events"
  }

  expect_failures = [var.undelivered_queue_arn]
}
