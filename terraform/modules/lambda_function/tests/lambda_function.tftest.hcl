mock_provider "aws" {
  override_during = plan

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
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
