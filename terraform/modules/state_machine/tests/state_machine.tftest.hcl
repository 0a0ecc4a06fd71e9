mock_provider "aws" {
  override_during = plan

  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }

  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/vendedlogs/states/scones-test" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/scones-test" }
  }

  mock_resource "aws_sfn_state_machine" {
    defaults = { state_machine_version_arn = "arn:aws:states:eu-central-1:123456789012:stateMachine:scones-test:1" }
  }
}

variables {
  definition = {
    StartAt        = "Nothing"
    States         = { Nothing = { Type = "Succeed" } }
    TimeoutSeconds = 60
  }
  kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  name        = "scones-test"
  policies    = { start = "{}" }
}

run "callers_reach_a_published_version_whose_log_holds_no_images" {
  command = plan

  assert {
    condition     = aws_sfn_state_machine.workflow.publish && aws_sfn_alias.live.name == "live"
    error_message = "Callers reach a published version behind the alias live."
  }

  assert {
    condition     = !aws_sfn_state_machine.workflow.logging_configuration[0].include_execution_data
    error_message = "The log must hold no images."
  }

  assert {
    condition     = aws_cloudwatch_log_group.workflow.kms_key_id == var.kms_key_arn && aws_cloudwatch_log_group.workflow.retention_in_days == 30
    error_message = "The log is encrypted and does not stay for ever."
  }
}

run "what_it_may_do_is_what_it_was_given" {
  command = plan

  variables {
    permissions_boundary_arn = "arn:aws:iam::123456789012:policy/scones-boundary"
  }

  assert {
    condition     = toset(keys(aws_iam_role_policy.extra)) == toset(["start"])
    error_message = "Besides logs and traces there is nothing but the policies."
  }

  assert {
    condition     = aws_iam_role.execution.permissions_boundary == "arn:aws:iam::123456789012:policy/scones-boundary"
    error_message = "An apply role that must bound every role cannot make this one."
  }
}

run "definition_without_a_time_limit_is_refused" {
  command = plan

  variables {
    definition = { StartAt = "Nothing", States = { Nothing = { Type = "Succeed" } } }
  }

  expect_failures = [var.definition]
}

run "definition_that_starts_nowhere_is_refused" {
  command = plan

  variables {
    definition = { StartAt = "Elsewhere", States = { Nothing = { Type = "Succeed" } }, TimeoutSeconds = 60 }
  }

  expect_failures = [var.definition]
}

run "task_that_can_hang_is_refused" {
  command = plan

  variables {
    definition = { StartAt = "First", TimeoutSeconds = 60, States = { First = { Type = "Task", Catch = [{ ErrorEquals = ["States.ALL"], Next = "Last" }], Next = "Last" }, Last = { Type = "Succeed" } } }
  }

  expect_failures = [aws_sfn_state_machine.workflow]
}

run "task_whose_errors_go_nowhere_is_refused" {
  command = plan

  variables {
    definition = { StartAt = "First", TimeoutSeconds = 60, States = { First = { Type = "Task", TimeoutSeconds = 5, Next = "Last" }, Last = { Type = "Succeed" } } }
  }

  expect_failures = [aws_sfn_state_machine.workflow]
}

run "state_that_is_missing_is_refused" {
  command = plan

  variables {
    definition = { StartAt = "First", TimeoutSeconds = 60, States = { First = { Type = "Pass", Next = "Nowhere" } } }
  }

  expect_failures = [aws_sfn_state_machine.workflow]
}

run "state_that_nobody_reaches_is_refused" {
  command = plan

  variables {
    definition = { StartAt = "First", TimeoutSeconds = 60, States = { First = { Type = "Pass", End = true }, Last = { Type = "Succeed" } } }
  }

  expect_failures = [aws_sfn_state_machine.workflow]
}

run "item_of_a_map_is_looked_at_as_well" {
  command = plan

  variables {
    definition = { StartAt = "First", TimeoutSeconds = 60, States = { First = { Type = "Map", End = true, ItemProcessor = { StartAt = "Item", States = { Item = { Type = "Task", TimeoutSeconds = 5, End = true } } } } } }
  }

  expect_failures = [aws_sfn_state_machine.workflow]
}

run "branch_of_a_parallel_state_is_looked_at_as_well" {
  command = plan

  variables {
    definition = { StartAt = "Both", TimeoutSeconds = 60, States = { Both = { Type = "Parallel", End = true, Branches = [{ StartAt = "One", States = { One = { Type = "Task", TimeoutSeconds = 5, End = true } } }] } } }
  }

  expect_failures = [aws_sfn_state_machine.workflow]
}

run "branch_may_leave_its_errors_to_the_parallel_state" {
  command = plan

  variables {
    definition = { StartAt = "Both", TimeoutSeconds = 60, States = { Both = { Type = "Parallel", Catch = [{ ErrorEquals = ["States.ALL"], Next = "Last" }], Next = "Last", Branches = [{ StartAt = "One", States = { One = { Type = "Task", TimeoutSeconds = 5, End = true } } }] }, Last = { Type = "Succeed" } } }
  }

  assert {
    condition     = length(local.careless_tasks) == 0
    error_message = "An error in a branch is the parallel state's error."
  }
}

run "branch_that_can_hang_is_refused" {
  command = plan

  variables {
    definition = { StartAt = "Both", TimeoutSeconds = 60, States = { Both = { Type = "Parallel", Catch = [{ ErrorEquals = ["States.ALL"], Next = "Last" }], Next = "Last", Branches = [{ StartAt = "One", States = { One = { Type = "Task", End = true } } }] }, Last = { Type = "Succeed" } } }
  }

  expect_failures = [aws_sfn_state_machine.workflow]
}

run "key_that_is_none_is_refused" {
  command = plan

  variables {
    kms_key_arn = "alias/scones"
  }

  expect_failures = [var.kms_key_arn]
}

run "unknown_retention_is_refused" {
  command = plan

  variables {
    log_retention_days = 31
  }

  expect_failures = [var.log_retention_days]
}

run "name_with_a_blank_is_refused" {
  command = plan

  variables {
    name = "classify vehicle"
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
