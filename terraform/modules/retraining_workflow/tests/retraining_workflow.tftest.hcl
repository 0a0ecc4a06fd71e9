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
    defaults = { arn = "arn:aws:events:eu-central-1:123456789012:rule/scones-test-retraining-failed" }
  }

  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/vendedlogs/states/scones-test-retrain" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/scones-test-retrain" }
  }

  mock_resource "aws_sfn_alias" {
    defaults = { arn = "arn:aws:states:eu-central-1:123456789012:stateMachine:scones-test-retrain:live" }
  }

  mock_resource "aws_sfn_state_machine" {
    defaults = {
      arn                       = "arn:aws:states:eu-central-1:123456789012:stateMachine:scones-test-retrain"
      state_machine_version_arn = "arn:aws:states:eu-central-1:123456789012:stateMachine:scones-test-retrain:1"
    }
  }
}

variables {
  bucket  = "scones-test-123456789012-data"
  classes = ["bicycle", "motorcycle"]
  compare_candidate = {
    alias_arn       = "arn:aws:lambda:eu-central-1:123456789012:function:scones-test-compare-candidate:live"
    timeout_seconds = 120
  }
  kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  name        = "scones-test"
  release = {
    algorithm       = "pytorch"
    id              = "20261121-101500-3f2a9c1"
    inference_image = "763104351884.dkr.ecr.eu-central-1.amazonaws.com/pytorch-inference:2.6-cpu-py312"
    model_data_url  = "s3://scones-test-123456789012-data/models/scones-test-20261121-101500-3f2a9c1/output/model.tar.gz"
    source_revision = "bda1a81"
    threshold       = 0.93
    trained_at      = "2026-11-21T10:15:00+00:00"
  }
  topic_arn             = "arn:aws:sns:eu-central-1:123456789012:scones-test-people"
  training_role_arn     = "arn:aws:iam::123456789012:role/scones-test-training"
  undelivered_queue_arn = "arn:aws:sqs:eu-central-1:123456789012:scones-test-undelivered-events"
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
    condition     = local.definition.TimeoutSeconds > var.timeouts.training_seconds + var.timeouts.evaluation_seconds
    error_message = "The machine itself must end, too, and not before its jobs."
  }
}

run "recipe_is_the_job_of_the_release_that_serves" {
  command = plan

  assert {
    condition     = local.definition.States.DescribeServing.Arguments.TrainingJobName == "scones-test-20261121-101500-3f2a9c1"
    error_message = "The job's name is the folder of its artifact."
  }

  assert {
    condition = local.definition.States.Compare.Arguments.Payload.serving == {
      algorithm       = "pytorch"
      answers         = "{% 'evaluation/' & $job_name & '/serving/' %}"
      id              = "20261121-101500-3f2a9c1"
      inference_image = "763104351884.dkr.ecr.eu-central-1.amazonaws.com/pytorch-inference:2.6-cpu-py312"
      model_data_url  = "s3://scones-test-123456789012-data/models/scones-test-20261121-101500-3f2a9c1/output/model.tar.gz"
      source_revision = "bda1a81"
      threshold       = 0.93
      trained_at      = "2026-11-21T10:15:00+00:00"
    }
    error_message = "The comparison must know the release that serves."
  }
}

run "metrics_of_the_built_in_algorithm_are_not_sent_back" {
  command = plan

  variables {
    release = {
      algorithm       = "image-classification"
      id              = "20261121-101500-3f2a9c1"
      inference_image = "813361260812.dkr.ecr.eu-central-1.amazonaws.com/image-classification:1"
      model_data_url  = "s3://scones-test-123456789012-data/models/scones-test-20261121-101500-3f2a9c1/output/model.tar.gz"
      source_revision = "bda1a81"
      threshold       = 0.93
      trained_at      = "2026-11-21T10:15:00+00:00"
    }
  }

  assert {
    condition     = !contains(local.algorithm_fields, "MetricDefinitions")
    error_message = "AWS refuses metrics for the built-in algorithm, its own among them."
  }

  assert {
    condition     = length(local.evaluations.candidate.States.CreateCandidateModel.Arguments.PrimaryContainer.Environment) == 0
    error_message = "The built-in algorithm runs no program of ours."
  }
}

run "both_are_asked_alike_and_both_models_go_again" {
  command = plan

  assert {
    condition = (
      replace(replace(jsonencode(local.evaluations.candidate), "andidate", ""), "{% $c.ModelArtifacts.S3ModelArtifacts %}", var.release.model_data_url) ==
      replace(replace(jsonencode(local.evaluations.serving), "Serving", "C"), "serving", "c")
    )
    error_message = "The two differ in nothing but the model: all else would be compared too."
  }

  assert {
    condition     = toset(local.definition.States.DeleteModels.Items) == toset(["{% $job_name & '-candidate' %}", "{% $job_name & '-serving' %}"])
    error_message = "What was made for the evaluation is deleted."
  }

  assert {
    condition = alltrue([
      for name in ["Evaluate", "Compare"] : one(local.definition.States[name].Catch).Next == "DeleteModels"
    ]) && local.definition.States.Compare.Next == "DeleteModels"
    error_message = "Also when the evaluation or the comparison fails."
  }
}

run "network_is_that_of_the_service" {
  command = plan

  variables {
    network = { security_group_ids = ["sg-0123456789abcdef0"], subnet_ids = ["subnet-0123456789abcdef0"] }
  }

  assert {
    condition = alltrue([
      for key, evaluation in local.evaluations :
      evaluation.States["Create${title(key)}Model"].Arguments.VpcConfig.Subnets == toset(["subnet-0123456789abcdef0"])
    ])
    error_message = "Models must not leave the network."
  }
}

run "job_that_failed_is_not_paid_twice" {
  command = plan

  assert {
    condition = alltrue(flatten([
      for state in concat([local.definition.States.Train], values(local.evaluations.candidate.States), values(local.evaluations.serving.States)) : [
        for retry in state.Retry : length(setintersection(retry.ErrorEquals, ["States.ALL", "States.TaskFailed", "States.Timeout"])) == 0
      ]
    ]))
    error_message = "A training that has failed fails again."
  }
}

run "role_can_touch_nothing_that_serves" {
  command = plan

  # A serving model is called NAME-RELEASE-DIGEST, and the digest is six hexadecimal digits.
  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.retrain.statement : statement.resources
      if contains(statement.actions, "sagemaker:DeleteModel")
      ]) == toset([
      "arn:aws:sagemaker:eu-central-1:123456789012:model/scones-test-*-candidate",
      "arn:aws:sagemaker:eu-central-1:123456789012:model/scones-test-*-serving",
    ])
    error_message = "A retraining must never delete the model that serves."
  }

  assert {
    condition = alltrue(flatten([
      for statement in data.aws_iam_policy_document.retrain.statement : [
        for action in statement.actions : !can(regex("Endpoint|^iam:(Create|Put|Attach)|\\*", action))
      ]
    ]))
    error_message = "It announces, and deploys nothing."
  }

  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.retrain.statement : {
        role     = one(statement.resources)
        services = one(statement.condition).values
      } if contains(statement.actions, "iam:PassRole")
    ]) == { role = "arn:aws:iam::123456789012:role/scones-test-training", services = tolist(["sagemaker.amazonaws.com"]) }
    error_message = "The training role, to SageMaker, and no other."
  }

  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.retrain.statement : statement.resources if contains(statement.actions, "s3:GetObject")
    ]) == toset(["arn:aws:s3:::scones-test-123456789012-data/dataset.json"])
    error_message = "Images and models are read by the jobs, not by the machine."
  }
}

run "people_are_told_of_a_candidate_and_of_a_bad_end" {
  command = plan

  assert {
    condition     = local.definition.States.Announce.Arguments.MessageAttributes.kind.StringValue == "candidate"
    error_message = "Subscribers filter on the kind."
  }

  assert {
    condition     = length(output.failure_rule_arns) == 2
    error_message = "A retraining that fails at night must tell somebody."
  }
}

run "without_a_schedule_nothing_starts_by_itself" {
  command = plan

  assert {
    condition     = length(module.schedule) == 0
    error_message = "Training costs money: only where an environment asks for it."
  }
}

run "schedule_starts_the_published_version" {
  command = plan

  variables {
    schedule = "cron(0 3 1 * ? *)"
  }

  assert {
    condition     = length(module.schedule) == 1 && endswith(module.retrain.alias_arn, ":live")
    error_message = "The schedule starts what was published."
  }

  assert {
    condition = one([
      for statement in data.aws_iam_policy_document.schedule.statement : one(statement.condition).values
    ]) == tolist(["live"])
    error_message = "And nothing else."
  }
}

run "artifact_without_a_job_is_refused" {
  command = plan

  variables {
    release = {
      algorithm       = "pytorch"
      id              = "r1"
      inference_image = "763104351884.dkr.ecr.eu-central-1.amazonaws.com/pytorch-inference:2.6-cpu-py312"
      model_data_url  = "s3://scones-test-123456789012-data/model.tar.gz"
      source_revision = "bda1a81"
      threshold       = 0.93
      trained_at      = "2026-11-21T10:15:00+00:00"
    }
  }

  expect_failures = [var.release]
}

run "one_class_is_refused" {
  command = plan

  variables {
    classes = ["bicycle"]
  }

  expect_failures = [var.classes]
}

run "hurry_is_refused" {
  command = plan

  variables {
    timeouts = { training_seconds = 10 }
  }

  expect_failures = [var.timeouts]
}

run "role_that_is_none_is_refused" {
  command = plan

  variables {
    training_role_arn = "scones-test-training"
  }

  expect_failures = [var.training_role_arn]
}

run "machine_that_is_none_is_refused" {
  command = plan

  variables {
    evaluation_instance_type = "large"
  }

  expect_failures = [var.evaluation_instance_type]
}
