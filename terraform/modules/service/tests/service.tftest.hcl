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

  mock_resource "aws_cloudwatch_event_rule" {
    defaults = { arn = "arn:aws:events:eu-central-1:123456789012:rule/scones-test-rule" }
  }

  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:scones-test" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/scones-test" }
  }

  mock_resource "aws_lambda_alias" {
    defaults = { arn = "arn:aws:lambda:eu-central-1:123456789012:function:scones-test:live" }
  }

  mock_resource "aws_lambda_function" {
    defaults = { version = "1" }
  }

  mock_resource "aws_sfn_alias" {
    defaults = { arn = "arn:aws:states:eu-central-1:123456789012:stateMachine:scones-test-classify-vehicle:live" }
  }

  mock_resource "aws_sfn_state_machine" {
    defaults = {
      arn                       = "arn:aws:states:eu-central-1:123456789012:stateMachine:scones-test-classify-vehicle"
      state_machine_version_arn = "arn:aws:states:eu-central-1:123456789012:stateMachine:scones-test-classify-vehicle:1"
    }
  }

  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:eu-central-1:123456789012:scones-test-people" }
  }

  mock_resource "aws_sqs_queue" {
    defaults = { arn = "arn:aws:sqs:eu-central-1:123456789012:scones-test-undelivered-events" }
  }
}

variables {
  bucket          = "scones-test-123456789012-data"
  current_release = "r2"
  kms_key_arn     = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  lambda_packages = "./tests/packages"
  name            = "scones-test"
  releases = {
    r1 = {
      accuracy        = 0.95
      algorithm       = "image-classification"
      classes         = ["bicycle", "motorcycle"]
      image_shape     = "3,32,32"
      inference_image = "813361260812.dkr.ecr.eu-central-1.amazonaws.com/image-classification:1"
      model_data_url  = "s3://scones-test-123456789012-data/models/r1/output/model.tar.gz"
      dataset_sha256  = "d1"
      model_sha256    = "m1"
      test_images     = 100
      threshold       = 0.8
    }
    r2 = {
      accuracy        = 0.97
      algorithm       = "pytorch"
      classes         = ["bicycle", "motorcycle"]
      image_shape     = "3,32,32"
      inference_image = "763104351884.dkr.ecr.eu-central-1.amazonaws.com/pytorch-inference:2.6-cpu-py312"
      model_data_url  = "s3://scones-test-123456789012-data/models/r2/output/model.tar.gz"
      dataset_sha256  = "d2"
      model_sha256    = "m2"
      test_images     = 100
      threshold       = 0.93
    }
  }
  training_role_arn = "arn:aws:iam::123456789012:role/scones-test-training"
}

run "threshold_comes_from_the_current_release" {
  command = plan

  assert {
    condition     = output.release.threshold == 0.93 && output.release.id == "r2"
    error_message = "The release that serves brings its threshold."
  }
}

run "rolling_back_brings_the_threshold_back" {
  command = plan

  variables {
    current_release = "r1"
  }

  assert {
    condition     = output.release.threshold == 0.8
    error_message = "The threshold belongs to the release, not to the service."
  }
}

run "serialize_image_reads_images_alone" {
  command = plan

  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.serialize_image.statement : statement.resources
      if contains(statement.actions, "s3:GetObject")
      ]) == toset([
      "arn:aws:s3:::scones-test-123456789012-data/incoming/*",
      "arn:aws:s3:::scones-test-123456789012-data/test/*",
      "arn:aws:s3:::scones-test-123456789012-data/uploads/*",
    ])
    error_message = "Models and captured data are none of its business."
  }

  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.classify_image.statement : statement.resources
      ]) == toset([
      "arn:aws:sagemaker:eu-central-1:123456789012:endpoint/scones-test",
      "arn:aws:sagemaker:eu-central-1:123456789012:endpoint/scones-test-serverless",
    ])
    error_message = "classify_image may invoke this endpoint alone."
  }
}

run "unknown_current_release_is_refused" {
  command = plan

  variables {
    current_release = "r9"
  }

  expect_failures = [var.current_release]
}

run "image_too_large_for_the_payload_is_refused" {
  command = plan

  variables {
    image_limits = { side = 512 }
  }

  expect_failures = [var.image_limits]
}

run "without_a_check_there_is_no_function_and_no_schedule" {
  command = plan

  assert {
    condition     = output.drift_function_name == null && length(module.drift_schedule) == 0
    error_message = "Nobody asked for a check."
  }
}

run "check_tells_people_and_starts_nothing_by_itself" {
  command = plan

  variables {
    drift_check = { schedule = "rate(6 hours)", window_hours = 48 }
  }

  assert {
    condition     = output.drift_function_name == "scones-test-check-drift" && length(module.drift_schedule) == 1
    error_message = "The check runs on its schedule."
  }

  assert {
    condition = {
      for name, value in local.functions.check_drift.environment : name => value
      } == {
      BUCKET                       = "scones-test-123456789012-data"
      CAPTURE_PREFIX               = "data_capture/scones-test/"
      CONSOLE_REGION               = "eu-central-1"
      REPORTS_PREFIX               = "reports/"
      RETRAINING_STATE_MACHINE_ARN = ""
      TOPIC_ARN                    = "arn:aws:sns:eu-central-1:123456789012:scones-test-people"
    }
    error_message = "The function's contract."
  }

  assert {
    condition = toset(flatten([
      for statement in data.aws_iam_policy_document.check_drift.statement : tolist(statement.actions)
    ])) == toset(["kms:Decrypt", "kms:GenerateDataKey", "s3:GetObject", "s3:ListBucket", "s3:PutObject", "sns:Publish"])
    error_message = "It may start no training."
  }

  assert {
    condition = toset(flatten([
      for statement in data.aws_iam_policy_document.check_drift.statement : tolist(statement.resources)
      if contains(statement.actions, "s3:PutObject") || contains(statement.actions, "s3:GetObject")
      ])) == toset([
      "arn:aws:s3:::scones-test-123456789012-data/data_capture/scones-test/*",
      "arn:aws:s3:::scones-test-123456789012-data/reports/*",
    ])
    error_message = "Models and uploads are none of its business."
  }
}

run "drift_starts_the_published_retraining_where_it_may" {
  command = plan

  variables {
    drift_check = {}
    retraining  = { on_drift = true }
  }

  # The ARN is spelled out: it must be that of the machine.
  assert {
    condition     = local.retraining_arn == "arn:aws:states:eu-central-1:123456789012:stateMachine:scones-test-retrain"
    error_message = "The check must start the machine that there is."
  }

  assert {
    condition     = local.functions.check_drift.environment.RETRAINING_STATE_MACHINE_ARN == "${local.retraining_arn}:live"
    error_message = "What starts is the published version."
  }

  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.check_drift.statement : statement.resources
      if contains(statement.actions, "states:StartExecution") && try(one(statement.condition).values == tolist(["live"]), false)
    ]) == toset(["arn:aws:states:eu-central-1:123456789012:stateMachine:scones-test-retrain"])
    error_message = "It may start that machine's published version alone."
  }
}

run "links_lead_nowhere_where_there_is_no_console" {
  command = plan

  variables {
    console     = false
    drift_check = {}
  }

  assert {
    condition     = alltrue([for key in ["check_drift", "compare_candidate"] : local.functions[key].environment.CONSOLE_REGION == ""])
    error_message = "The embedded AWS has no console."
  }
}

run "comparison_writes_candidates_alone" {
  command = plan

  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.compare_candidate.statement : statement.resources
      if contains(statement.actions, "s3:PutObject")
    ]) == toset(["arn:aws:s3:::scones-test-123456789012-data/candidates/*"])
    error_message = "A comparison must not be able to replace a model."
  }
}

run "drift_that_nobody_looks_for_starts_nothing" {
  command = plan

  variables {
    retraining = { on_drift = true }
  }

  expect_failures = [var.retraining]
}

run "part_of_a_second_is_refused" {
  command = plan

  variables {
    retraining = { train_hours = 1.333 }
  }

  expect_failures = [var.retraining]
}

run "window_of_a_year_is_refused" {
  command = plan

  variables {
    drift_check = { window_hours = 8760 }
  }

  expect_failures = [var.drift_check]
}
