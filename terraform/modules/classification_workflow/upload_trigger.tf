# An upload under incoming/ starts one execution of classify-vehicle. EventBridge delivers an event at least once and
# cannot name executions; a state machine can: its name is made of the object's version, and Step Functions starts a name
# only once.

module "start_on_upload" {
  source = "../state_machine"

  kms_key_arn              = var.kms_key_arn
  log_retention_days       = var.log_retention_days
  name                     = "${var.name}-start-on-upload"
  permissions_boundary_arn = var.permissions_boundary_arn
  policies                 = { start = data.aws_iam_policy_document.start_on_upload.json }

  definition = {
    Comment        = "Starts ${local.state_machine_name} for an object that has arrived, once for each of its versions"
    QueryLanguage  = "JSONata"
    StartAt        = "StartClassification"
    TimeoutSeconds = 300

    States = {
      StartClassification = {
        Type           = "Task"
        Resource       = "arn:${local.partition}:states:::states:startExecution"
        TimeoutSeconds = 30
        Arguments = {
          StateMachineArn = local.alias_arn
          Name            = "{% $hash(${local.arrived_object}, 'SHA-256') %}"
          Input = {
            s3_bucket = "{% $states.input.detail.bucket.name %}"
            s3_key    = "{% $states.input.detail.object.key %}"
          }
        }
        Retry = [
          # Delivered twice: not an error, and the same at every try.
          { ErrorEquals = [local.already_started], MaxAttempts = 0 },
          merge(local.backoff, { ErrorEquals = ["States.TaskFailed", "States.Timeout"] }),
        ]
        Catch = [{ ErrorEquals = [local.already_started], Next = "AlreadyStarted" }]
        End   = true
      }

      AlreadyStarted = { Type = "Succeed" }
    }
  }
}

locals {
  already_started = "StepFunctions.ExecutionAlreadyExistsException"
  arrived_object = join(" & '\n' & ", [
    "$states.input.detail.bucket.name",
    "$states.input.detail.object.key",
    "$states.input.detail.object.`version-id`",
  ])
}

data "aws_iam_policy_document" "start_on_upload" {
  # Executions of the published version, and of nothing else.
  statement {
    sid       = "StartExecutions"
    actions   = ["states:StartExecution"]
    resources = [module.classify_vehicle.arn]

    # Step Functions checks against the machine's own ARN, whatever the request names, and tells the alias apart from it.
    # https://docs.aws.amazon.com/step-functions/latest/dg/auth-version-alias.html
    condition {
      test     = "ForAnyValue:StringEquals"
      variable = "states:StateMachineQualifier"
      values   = ["live"]
    }
  }
}

resource "aws_cloudwatch_event_rule" "upload" {
  name        = "${var.name}-upload"
  description = "Every object that arrives under ${var.upload_prefix}"

  event_pattern = jsonencode({
    source      = ["aws.s3"]
    detail-type = ["Object Created"]
    detail = {
      bucket = { name = [var.bucket] }
      object = { key = [{ prefix = var.upload_prefix }] }
    }
  })
}

resource "aws_cloudwatch_event_target" "upload" {
  rule      = aws_cloudwatch_event_rule.upload.name
  target_id = "start-on-upload"
  arn       = module.start_on_upload.alias_arn
  role_arn  = aws_iam_role.upload.arn

  retry_policy {
    maximum_event_age_in_seconds = 3600
    maximum_retry_attempts       = 20
  }

  dead_letter_config {
    arn = aws_sqs_queue.undelivered.arn
  }
}

resource "aws_iam_role" "upload" {
  name                 = "${var.name}-upload"
  description          = "EventBridge rule ${var.name}-upload"
  assume_role_policy   = data.aws_iam_policy_document.upload_trust.json
  permissions_boundary = var.permissions_boundary_arn
}

data "aws_iam_policy_document" "upload_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }

    # EventBridge may take the role only for this account's rules (confused deputy).
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account_id]
    }
  }
}

resource "aws_iam_role_policy" "upload" {
  name   = "upload"
  role   = aws_iam_role.upload.id
  policy = data.aws_iam_policy_document.upload.json
}

data "aws_iam_policy_document" "upload" {
  # Executions of the published version, and of nothing else.
  statement {
    sid       = "StartExecutions"
    actions   = ["states:StartExecution"]
    resources = [module.start_on_upload.arn]

    # As above.
    condition {
      test     = "ForAnyValue:StringEquals"
      variable = "states:StateMachineQualifier"
      values   = ["live"]
    }
  }
}
