mock_provider "aws" {
  override_during = plan

  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }

  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/scones-test-serialize-image" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/scones-test-serialize-image" }
  }
}

variables {
  description = "Fetches and bounds an image"
  kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  name        = "scones-test-serialize-image"
  package     = "./main.tf" # any file does: nothing is uploaded here
}

run "role_writes_its_own_log_and_no_other" {
  command = plan

  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.basics.statement : statement.resources if statement.sid == "WriteLog"
    ]) == toset(["arn:aws:logs:eu-central-1:123456789012:log-group:/aws/lambda/scones-test-serialize-image:*"])
    error_message = "The function may write into its own log group alone."
  }

  assert {
    condition     = aws_lambda_function.handler.publish && aws_lambda_alias.live.name == "live"
    error_message = "Callers reach a published version behind the alias live."
  }
}

run "without_tracing_there_is_no_right_to_trace" {
  command = plan

  variables {
    tracing = false
  }

  assert {
    condition     = !strcontains(jsonencode(data.aws_iam_policy_document.basics.statement), "xray")
    error_message = "A function that does not trace needs no right to."
  }
}

run "missing_package_says_how_to_build_it" {
  command = plan

  variables {
    package = "./nowhere.zip"
  }

  expect_failures = [var.package]
}

run "unknown_retention_is_refused" {
  command = plan

  variables {
    log_retention_days = 31
  }

  expect_failures = [var.log_retention_days]
}

run "network_reaches_the_function_and_not_its_code" {
  command = plan

  variables {
    network = { security_group_ids = ["sg-0123456789abcdef0"], subnet_ids = ["subnet-0123456789abcdef0"] }
  }

  assert {
    condition     = aws_lambda_function.handler.vpc_config[0].subnet_ids == toset(["subnet-0123456789abcdef0"])
    error_message = "The function must run in the network that was asked for."
  }

  # What Lambda may do to set the function up, the function's own code may not.
  assert {
    condition = length(setsubtract(
      flatten([for statement in data.aws_iam_policy_document.network[0].statement : statement.actions if statement.effect != "Deny"]),
      flatten([for statement in data.aws_iam_policy_document.network[0].statement : statement.actions if statement.effect == "Deny"]),
    )) == 0
    error_message = "Every right to the network must be denied to the function's own code."
  }
}

run "without_a_network_there_is_no_right_to_one" {
  command = plan

  assert {
    condition     = length(aws_iam_role_policy.network) == 0 && length(aws_lambda_function.handler.vpc_config) == 0
    error_message = "A function that enters no network needs no right to."
  }
}

run "boundary_bounds_the_role" {
  command = plan

  variables {
    permissions_boundary_arn = "arn:aws:iam::123456789012:policy/scones-boundary"
  }

  assert {
    condition     = aws_iam_role.execution.permissions_boundary == "arn:aws:iam::123456789012:policy/scones-boundary"
    error_message = "An apply role that must bound every role cannot make this one."
  }
}

run "network_without_subnets_is_refused" {
  command = plan

  variables {
    network = { security_group_ids = ["sg-0123456789abcdef0"], subnet_ids = [] }
  }

  expect_failures = [var.network]
}

run "security_group_by_its_name_is_refused" {
  command = plan

  variables {
    network = { security_group_ids = ["default"], subnet_ids = ["subnet-0123456789abcdef0"] }
  }

  expect_failures = [var.network]
}

run "policy_that_is_a_role_is_refused" {
  command = plan

  variables {
    permissions_boundary_arn = "arn:aws:iam::123456789012:role/admin"
  }

  expect_failures = [var.permissions_boundary_arn]
}

run "unknown_architecture_is_refused" {
  command = plan

  variables {
    architecture = "riscv"
  }

  expect_failures = [var.architecture]
}

run "too_little_memory_is_refused" {
  command = plan

  variables {
    memory_mb = 64
  }

  expect_failures = [var.memory_mb]
}

run "timeout_over_lambdas_own_is_refused" {
  command = plan

  variables {
    timeout_seconds = 901
  }

  expect_failures = [var.timeout_seconds]
}

run "variable_in_small_letters_is_refused" {
  command = plan

  variables {
    environment = { threshold = "0.9" }
  }

  expect_failures = [var.environment]
}

run "name_with_a_blank_is_refused" {
  command = plan

  variables {
    name = "classify image"
  }

  expect_failures = [var.name]
}

run "negative_concurrency_is_refused" {
  command = plan

  variables {
    reserved_concurrency = -2
  }

  expect_failures = [var.reserved_concurrency]
}
