# Starts something at its times: the schedule, and a role that may start that and keep what could not be started.

data "aws_caller_identity" "current" {}

resource "aws_scheduler_schedule" "start" {
  name                = var.name
  description         = var.description
  schedule_expression = var.expression # in UTC

  # Scheduler spreads starts over a window where one is given: these are few, and people look for them at their time.
  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = var.target_arn
    input    = jsonencode(var.input)
    role_arn = aws_iam_role.schedule.arn

    retry_policy {
      maximum_event_age_in_seconds = 3600
      maximum_retry_attempts       = 20
    }

    dead_letter_config {
      arn = var.undelivered_queue_arn
    }
  }

  # The first start may come at once.
  depends_on = [aws_iam_role_policy.start, aws_iam_role_policy.undelivered]
}

resource "aws_iam_role" "schedule" {
  name                 = "${var.name}-schedule" # ${var.name} is often the role of what is started
  description          = "Schedule ${var.name}"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  permissions_boundary = var.permissions_boundary_arn
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["scheduler.amazonaws.com"]
    }

    # Scheduler may take the role only for this account's schedules (confused deputy).
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

resource "aws_iam_role_policy" "start" {
  name   = "start"
  role   = aws_iam_role.schedule.id
  policy = var.policy
}

resource "aws_iam_role_policy" "undelivered" {
  name   = "undelivered"
  role   = aws_iam_role.schedule.id
  policy = data.aws_iam_policy_document.undelivered.json
}

data "aws_iam_policy_document" "undelivered" {
  # A start that Scheduler gave up is kept, by this very role.
  statement {
    sid       = "KeepUndeliveredStarts"
    actions   = ["sqs:SendMessage"]
    resources = [var.undelivered_queue_arn]
  }
}
