# An upload under incoming/ starts an execution.

resource "aws_cloudwatch_event_rule" "upload" {
  name        = "${var.name}-upload"
  description = "Starts ${local.state_machine_name} for every object that arrives under ${var.upload_prefix}"

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
  target_id = "classify-vehicle"
  arn       = aws_sfn_alias.live.arn
  role_arn  = aws_iam_role.upload.arn

  # A template of EventBridge, not JSON: it puts the quotes itself, and escapes what is between them.
  input_transformer {
    input_paths = {
      bucket = "$.detail.bucket.name"
      key    = "$.detail.object.key"
    }
    input_template = "{\"s3_bucket\": <bucket>, \"s3_key\": <key>}"
  }

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
  # Executions of the published version, and of nothing else. Spelled out: a reference to the alias would make this
  # policy a change in the plan of every release.
  statement {
    sid       = "StartExecutions"
    actions   = ["states:StartExecution"]
    resources = ["arn:${local.partition}:states:${local.region}:${local.account_id}:stateMachine:${local.state_machine_name}:live"]
  }
}
