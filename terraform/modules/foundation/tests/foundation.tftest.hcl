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

  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000" }
  }
}

variables {
  name = "scones-test"
}

run "bucket_is_named_after_the_account_and_closed" {
  command = plan

  assert {
    condition     = aws_s3_bucket.data.bucket == "scones-test-123456789012-data"
    error_message = "The bucket's name must hold the account, for bucket names are global."
  }

  assert {
    condition     = !aws_s3_bucket.data.force_destroy
    error_message = "Destroying must not delete data unless an environment asks for it."
  }

  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.data.block_public_acls,
      aws_s3_bucket_public_access_block.data.block_public_policy,
      aws_s3_bucket_public_access_block.data.ignore_public_acls,
      aws_s3_bucket_public_access_block.data.restrict_public_buckets,
    ])
    error_message = "The bucket must not be public in any way."
  }

  assert {
    condition     = aws_s3_bucket_notification.data.eventbridge
    error_message = "Without EventBridge an upload starts no classification."
  }
}

run "training_reads_and_writes_only_its_own_prefixes" {
  command = plan

  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.training.statement :
      !strcontains(jsonencode(statement.resources), "data_capture") && !strcontains(jsonencode(statement.actions), "s3:*")
    ])
    error_message = "Training has no business with captured data."
  }

  assert {
    condition = toset(flatten([
      for statement in data.aws_iam_policy_document.training.statement : tolist(statement.resources)
      if contains(statement.actions, "s3:PutObject")
      ])) == toset([
      "arn:aws:s3:::scones-test-123456789012-data/checkpoints/*",
      "arn:aws:s3:::scones-test-123456789012-data/evaluation/*",
      "arn:aws:s3:::scones-test-123456789012-data/models/*",
    ])
    error_message = "Training writes checkpoints, models and evaluations, nothing else."
  }
}

run "events_reach_the_encrypted_topic" {
  command = plan

  # With aws:SourceAccount or aws:SourceArn in this statement EventBridge's delivery to an encrypted topic fails silently.
  assert {
    condition = alltrue(flatten([
      for statement in data.aws_iam_policy_document.key.statement : [
        for condition in statement.condition : !startswith(condition.variable, "aws:Source")
      ] if strcontains(jsonencode(statement.principals), "events.amazonaws.com")
    ]))
    error_message = "SNS does not support source conditions in the key policy for EventBridge."
  }
}

run "name_with_capitals_is_refused" {
  command = plan

  variables {
    name = "Scones_Test"
  }

  expect_failures = [var.name]
}

run "key_deletion_window_out_of_range_is_refused" {
  command = plan

  variables {
    key_deletion_window_days = 3
  }

  expect_failures = [var.key_deletion_window_days]
}

run "puts_under_another_key_are_refused" {
  command = plan

  # A header that is missing would match StringNotEquals: only a header that is there may be refused.
  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.bucket.statement :
      anytrue([for condition in statement.condition : condition.test == "Null" && condition.values == tolist(["false"])])
      if contains(statement.actions, "s3:PutObject")
    ])
    error_message = "A put without headers gets our key by default and must pass."
  }

  assert {
    condition = contains(flatten([
      for statement in data.aws_iam_policy_document.bucket.statement : [
        for condition in statement.condition : condition.values if condition.variable == "s3:x-amz-server-side-encryption-aws-kms-key-id"
      ]
    ]), "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000")
    error_message = "Our key is the one that may be named."
  }
}

run "network_is_handed_on_and_jobs_may_enter_it" {
  command = plan

  variables {
    network = { security_group_ids = ["sg-0123456789abcdef0"], subnet_ids = ["subnet-0123456789abcdef0"] }
  }

  assert {
    condition     = output.network.subnet_ids == toset(["subnet-0123456789abcdef0"])
    error_message = "The service and the toolkit read the network here."
  }

  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.training_network[0].statement :
      statement.resources != toset(["*"]) || alltrue([for action in statement.actions : startswith(action, "ec2:Describe")])
    ])
    error_message = "Only looking up may be allowed everywhere."
  }
}

run "without_a_network_there_is_no_right_to_one" {
  command = plan

  assert {
    condition     = length(aws_iam_role_policy.training_network) == 0 && output.network == null
    error_message = "A role that enters no network needs no right to."
  }
}

run "boundary_bounds_the_role" {
  command = plan

  variables {
    permissions_boundary_arn = "arn:aws:iam::123456789012:policy/scones-boundary"
  }

  assert {
    condition     = aws_iam_role.training.permissions_boundary == "arn:aws:iam::123456789012:policy/scones-boundary"
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

run "capture_kept_for_no_day_is_refused" {
  command = plan

  variables {
    data_capture_retention_days = 0
  }

  expect_failures = [var.data_capture_retention_days]
}

run "half_a_day_is_refused" {
  command = plan

  variables {
    noncurrent_version_retention_days = 1.5
  }

  expect_failures = [var.noncurrent_version_retention_days]
}

run "what_is_captured_and_reported_expires" {
  command = plan

  variables {
    report_retention_days = 14
  }

  assert {
    condition = {
      for rule in aws_s3_bucket_lifecycle_configuration.data.rule : rule.filter[0].prefix => rule.expiration[0].days
      if length(rule.expiration) > 0
      } == {
      "candidates/"   = 14
      "checkpoints/"  = 30
      "data_capture/" = 90
      "evaluation/"   = 14
      "reports/"      = 14
    }
    error_message = "What nobody needs any more must not stay for ever; the dataset, the program and the models must."
  }
}

run "reports_that_nobody_has_time_for_are_refused" {
  command = plan

  variables {
    report_retention_days = 1
  }

  expect_failures = [var.report_retention_days]
}
