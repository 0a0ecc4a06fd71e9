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
    defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/vendedlogs/states/scones-test-classify-vehicle" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/scones-test" }
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

  mock_resource "aws_sqs_queue" {
    defaults = { arn = "arn:aws:sqs:eu-central-1:123456789012:scones-test-undelivered-events" }
  }
}

variables {
  bucket  = "scones-test-123456789012-data"
  classes = ["bicycle", "motorcycle"]
  functions = {
    classify_image = {
      alias_arn       = "arn:aws:lambda:eu-central-1:123456789012:function:scones-test-classify-image:live"
      timeout_seconds = 30
    }
    filter_confidence = {
      alias_arn       = "arn:aws:lambda:eu-central-1:123456789012:function:scones-test-filter-confidence:live"
      timeout_seconds = 10
    }
    serialize_image = {
      alias_arn       = "arn:aws:lambda:eu-central-1:123456789012:function:scones-test-serialize-image:live"
      timeout_seconds = 30
    }
  }
  kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  name        = "scones-test"
  release     = "20261121-101500-3f2a9c1"
  routing_table = {
    bicycle    = { loading_bay = "A", order_radius_km = 3 }
    motorcycle = { loading_bay = "B", order_radius_km = 15 }
  }
  threshold = 0.93
  topic_arn = "arn:aws:sns:eu-central-1:123456789012:scones-test-people"
}

run "every_task_ends_in_time_and_every_error_is_caught" {
  command = plan

  assert {
    condition = alltrue([
      for state in local.definition.States :
      state.TimeoutSeconds > 0 && anytrue([for catch in state.Catch : contains(catch.ErrorEquals, "States.ALL")])
      if state.Type == "Task"
    ])
    error_message = "A task without timeout or without a way for its errors can hang or vanish."
  }

  assert {
    condition     = local.definition.TimeoutSeconds == 300
    error_message = "The machine itself must end, too."
  }
}

run "only_transient_errors_are_tried_again" {
  command = plan

  assert {
    condition = alltrue([
      for name in ["SerializeImage", "ClassifyImage", "FilterConfidence"] : alltrue(flatten([
        for retry in local.definition.States[name].Retry : [
          for error in retry.ErrorEquals : startswith(error, "Lambda.") || contains(["EndpointUnavailable", "StorageUnavailable"], error)
        ]
      ]))
    ])
    error_message = "A broken image stays broken however often it is tried."
  }
}

run "low_confidence_tells_people_and_fails" {
  command = plan

  assert {
    condition     = local.definition.States.FilterConfidence.Catch[0].ErrorEquals == ["ThresholdConfidenceNotMet"]
    error_message = "The typed error comes before States.ALL, which would swallow it."
  }

  assert {
    condition     = local.definition.States.NotifyLowConfidence.Next == "ThresholdConfidenceNotMet"
    error_message = "Whoever was told is still told by a failed execution."
  }
}

run "image_data_goes_no_further_than_the_endpoint" {
  command = plan

  assert {
    condition     = sort(keys(local.definition.States.ClassifyImage.Output)) == tolist(["inferences", "s3_bucket", "s3_key"])
    error_message = "FilterConfidence needs no image."
  }
}

run "starts_and_calls_go_through_published_versions" {
  command = plan

  assert {
    condition     = endswith(aws_cloudwatch_event_target.upload.arn, ":live")
    error_message = "An upload starts the published version."
  }

  assert {
    condition = alltrue([
      for arn in one([for statement in data.aws_iam_policy_document.classify_vehicle.statement : statement.resources if statement.sid == "InvokeFunctions"]) :
      endswith(arn, ":live")
    ])
    error_message = "The workflow may invoke the functions' published versions alone."
  }
}

run "whatever_ends_badly_is_told" {
  command = plan

  assert {
    condition     = toset(local.state_machine_arns) == toset([module.classify_batch.arn, module.classify_vehicle.arn, module.start_on_upload.arn])
    error_message = "An upload that could not be started would be lost in silence."
  }
}

run "queue_keeps_events_of_named_rules_alone" {
  command = plan

  variables {
    undelivered_rule_arns = ["arn:aws:events:eu-central-1:123456789012:rule/scones-test-retraining-failed"]
  }

  assert {
    condition = toset(one([
      for statement in data.aws_iam_policy_document.undelivered.statement : one(statement.condition).values
      if contains(statement.actions, "sqs:SendMessage")
    ])) == toset(concat([aws_cloudwatch_event_rule.upload.arn], module.failure_notice.rule_arns, var.undelivered_rule_arns))
    error_message = "Whoever may write to the queue is named."
  }
}

run "class_without_a_place_is_refused" {
  command = plan

  variables {
    classes = ["bicycle", "motorcycle", "truck"]
  }

  expect_failures = [var.classes]
}

run "missing_function_is_refused" {
  command = plan

  variables {
    functions = {}
  }

  expect_failures = [var.functions]
}

run "boundary_bounds_the_role" {
  command = plan

  variables {
    permissions_boundary_arn = "arn:aws:iam::123456789012:policy/scones-boundary"
  }

  assert {
    condition     = aws_iam_role.upload.permissions_boundary == "arn:aws:iam::123456789012:policy/scones-boundary"
    error_message = "An apply role that must bound every role cannot make this one."
  }
}

run "policy_that_is_a_role_is_refused" {
  command = plan

  variables {
    permissions_boundary_arn = "arn:aws:iam::123456789012:role/admin"
  }

  expect_failures = [var.permissions_boundary_arn]
}

run "threshold_out_of_range_is_refused" {
  command = plan

  variables {
    threshold = 1.1
  }

  expect_failures = [var.threshold]
}

run "place_without_a_bay_is_refused" {
  command = plan

  variables {
    routing_table = {
      bicycle    = { loading_bay = "", order_radius_km = 3 }
      motorcycle = { loading_bay = "B", order_radius_km = 15 }
    }
  }

  expect_failures = [var.routing_table]
}

run "timeout_shorter_than_a_function_is_refused" {
  command = plan

  variables {
    timeout_seconds = 30
  }

  expect_failures = [var.timeout_seconds]
}

run "prefix_without_a_slash_is_refused" {
  command = plan

  variables {
    upload_prefix = "incoming"
  }

  expect_failures = [var.upload_prefix]
}

run "batch_ends_in_time_and_every_error_of_an_image_is_caught" {
  command = plan

  assert {
    condition = alltrue(flatten([
      for state in local.batch_definition.States : [
        for step in state.ItemProcessor.States :
        step.TimeoutSeconds > 0 && anytrue([for catch in step.Catch : contains(catch.ErrorEquals, "States.ALL")])
        if step.Type == "Task"
      ] if state.Type == "Map"
    ]))
    error_message = "A task without timeout or without a way for its errors can hang or vanish."
  }

  assert {
    condition     = local.batch_definition.TimeoutSeconds == 21600
    error_message = "The machine itself must end, too."
  }
}

run "batch_does_with_an_image_what_classify_vehicle_does" {
  command = plan

  assert {
    condition = alltrue(flatten([
      for name in ["SerializeImage", "ClassifyImage", "FilterConfidence"] : [
        for member in ["Arguments", "Resource", "Retry", "TimeoutSeconds", "Output", "Next"] :
        jsonencode(local.batch_item_processor.States[name][member]) == jsonencode(local.definition.States[name][member])
      ]
    ]))
    error_message = "Two ways to classify would come apart."
  }
}

run "bad_photos_are_outcomes_and_a_sick_service_is_a_failure" {
  command = plan

  assert {
    condition = alltrue([
      toset(local.batch_item_processor.States.SerializeImage.Catch[0].ErrorEquals) == toset(["ImageNotFound", "ImageTooLarge", "ImageUnreadable"]),
      local.batch_item_processor.States.SerializeImage.Catch[0].Next == "Judged",
      local.batch_item_processor.States.FilterConfidence.Catch[0].ErrorEquals == ["ThresholdConfidenceNotMet"],
      local.batch_item_processor.States.FilterConfidence.Catch[0].Next == "Judged",
      local.batch_item_processor.States.ClassifyImage.Catch == [local.catch_failure],
    ])
    error_message = "The tolerated percentage must count what might have gone well, and nothing else."
  }
}

run "batch_is_bounded" {
  command = plan

  variables {
    batch = { max_concurrency = 7, tolerated_failure_percentage = 12, timeout_seconds = 900 }
  }

  assert {
    condition = alltrue([
      for state in local.batch_definition.States : state.MaxConcurrency == 7 && state.ToleratedFailurePercentage == 12
      if state.Type == "Map"
    ]) && local.batch_definition.TimeoutSeconds == 900
    error_message = "The bounds are variables."
  }
}

run "batch_lists_what_may_be_classified_and_writes_results_alone" {
  command = plan

  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.classify_batch.statement : one(statement.condition).values
      if contains(statement.actions, "s3:ListBucket")
    ]) == tolist(["incoming/*", "test/*", "uploads/*"])
    error_message = "Models and captured data are none of its business."
  }

  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.classify_batch.statement : statement.resources
      if contains(statement.actions, "s3:PutObject")
    ]) == toset(["arn:aws:s3:::scones-test-123456789012-data/batch/*"])
    error_message = "Results belong under batch/."
  }

  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.classify_batch.statement : statement.resources
      if contains(statement.actions, "states:StartExecution")
    ]) == toset(["arn:aws:states:eu-central-1:123456789012:stateMachine:scones-test-classify-batch"])
    error_message = "It starts executions of itself alone."
  }
}

run "bad_end_of_a_batch_is_told" {
  command = plan

  assert {
    condition     = contains(local.state_machine_arns, module.classify_batch.arn)
    error_message = "A batch that fails at night must tell somebody."
  }
}

run "batch_without_a_bound_is_refused" {
  command = plan

  variables {
    batch = { max_concurrency = 0 }
  }

  expect_failures = [var.batch]
}

run "batch_that_tolerates_everything_is_refused" {
  command = plan

  variables {
    batch = { tolerated_failure_percentage = 100 }
  }

  expect_failures = [var.batch]
}

run "batch_of_the_whole_bucket_is_refused" {
  command = plan

  variables {
    batch = { prefixes = [""] }
  }

  expect_failures = [var.batch]
}

run "batch_shorter_than_an_image_is_refused" {
  command = plan

  variables {
    batch = { timeout_seconds = 60 }
  }

  expect_failures = [var.batch]
}
