mock_provider "aws" {
  override_during = plan

  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/scones-test-check-drift-schedule" }
  }
}

variables {
  description           = "Asks every hour whether the photos have changed"
  expression            = "rate(1 hour)"
  input                 = { release = "r2", threshold = 0.93, baseline = null }
  name                  = "scones-test-check-drift"
  policy                = "{\"Version\":\"2012-10-17\",\"Statement\":[]}"
  target_arn            = "arn:aws:lambda:eu-central-1:123456789012:function:scones-test-check-drift:live"
  undelivered_queue_arn = "arn:aws:sqs:eu-central-1:123456789012:scones-test-undelivered-events"
}

run "target_gets_its_input_as_json" {
  command = plan

  assert {
    condition     = jsonencode(jsondecode(aws_scheduler_schedule.start.target[0].input)) == jsonencode(var.input)
    error_message = "The target reads JSON."
  }

  assert {
    condition     = aws_scheduler_schedule.start.schedule_expression == "rate(1 hour)" && aws_scheduler_schedule.start.flexible_time_window[0].mode == "OFF"
    error_message = "It starts at its times, not around them."
  }
}

run "role_is_for_schedules_of_this_account_and_has_two_rights" {
  command = plan

  variables {
    permissions_boundary_arn = "arn:aws:iam::123456789012:policy/scones-boundary"
  }

  assert {
    condition = {
      for statement in data.aws_iam_policy_document.trust.statement :
      one(one(statement.principals).identifiers) => { for condition in statement.condition : condition.variable => tolist(condition.values) }
    } == { "scheduler.amazonaws.com" = { "aws:SourceAccount" = tolist(["123456789012"]) } }
    error_message = "No schedule of another account may take the role."
  }

  assert {
    condition     = aws_iam_role_policy.start.policy == var.policy
    error_message = "It may start what the caller of this module says."
  }

  assert {
    condition = {
      for statement in data.aws_iam_policy_document.undelivered.statement : one(statement.actions) => one(statement.resources)
    } == { "sqs:SendMessage" = "arn:aws:sqs:eu-central-1:123456789012:scones-test-undelivered-events" }
    error_message = "And it may keep a start that failed, and nothing else."
  }

  assert {
    condition     = aws_iam_role.schedule.permissions_boundary == "arn:aws:iam::123456789012:policy/scones-boundary"
    error_message = "An apply role that must bound every role cannot make this one."
  }
}

run "start_that_fails_is_tried_again_and_then_kept" {
  command = plan

  assert {
    condition     = aws_scheduler_schedule.start.target[0].retry_policy[0].maximum_retry_attempts > 0 && aws_scheduler_schedule.start.target[0].dead_letter_config[0].arn == var.undelivered_queue_arn
    error_message = "A check that did not run must tell somebody."
  }
}

run "version_that_nobody_published_is_refused" {
  command = plan

  variables {
    target_arn = "arn:aws:states:eu-central-1:123456789012:stateMachine:scones-test-retrain"
  }

  expect_failures = [var.target_arn]
}

run "time_that_is_none_is_refused" {
  command = plan

  variables {
    expression = "every hour"
  }

  expect_failures = [var.expression]
}

run "schedule_without_a_description_is_refused" {
  command = plan

  variables {
    description = ""
  }

  expect_failures = [var.description]
}

run "name_with_a_blank_is_refused" {
  command = plan

  variables {
    name = "check drift"
  }

  expect_failures = [var.name]
}

run "boundary_that_is_no_policy_is_refused" {
  command = plan

  variables {
    permissions_boundary_arn = "scones-boundary"
  }

  expect_failures = [var.permissions_boundary_arn]
}

run "queue_that_is_none_is_refused" {
  command = plan

  variables {
    undelivered_queue_arn = "scones-test-undelivered-events"
  }

  expect_failures = [var.undelivered_queue_arn]
}
