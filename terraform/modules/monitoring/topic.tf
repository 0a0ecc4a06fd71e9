# Messages are JSON with a "kind": low_confidence, drift and candidate (also a message attribute), or failure. A
# subscription that wants one kind filters on the body (filter policy scope MessageBody).

resource "aws_sns_topic" "people" {
  name              = "${var.name}-people"
  display_name      = "Vehicle classification"
  kms_master_key_id = var.kms_key_arn
}

resource "aws_sns_topic_subscription" "email" {
  for_each = var.emails

  topic_arn = aws_sns_topic.people.arn
  protocol  = "email"
  endpoint  = each.key
}

resource "aws_sns_topic_policy" "people" {
  arn    = aws_sns_topic.people.arn
  policy = data.aws_iam_policy_document.topic.json
}

data "aws_iam_policy_document" "topic" {
  # classify-vehicle asks for a human look, retrain announces a candidate, the drift check says that the photos changed.
  statement {
    sid       = "RolesPublish"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.people.arn]

    principals {
      type        = "AWS"
      identifiers = var.publisher_role_arns
    }
  }

  # The rules on executions that end badly, and no other rule.
  statement {
    sid       = "RulesPublish"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.people.arn]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = var.publisher_rule_arns
    }
  }

  # This account's alarms.
  statement {
    sid       = "AlarmsPublish"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.people.arn]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account_id]
    }
  }

  # This account's budgets, where one is set. Narrower than Budgets documents it would be a guess:
  # https://docs.aws.amazon.com/cost-management/latest/userguide/budgets-sns-policy.html
  dynamic "statement" {
    for_each = var.budget_usd == null ? [] : ["budgets"]

    content {
      sid       = "BudgetsPublish"
      actions   = ["sns:Publish"]
      resources = [aws_sns_topic.people.arn]

      principals {
        type        = "Service"
        identifiers = ["budgets.amazonaws.com"]
      }

      condition {
        test     = "StringEquals"
        variable = "aws:SourceAccount"
        values   = [local.account_id]
      }

      condition {
        test     = "ArnLike"
        variable = "aws:SourceArn"
        values   = ["arn:${local.partition}:budgets::${local.account_id}:*"]
      }
    }
  }

  # Messages name customers' images: never in clear text.
  statement {
    sid       = "DenyInsecureTransport"
    effect    = "Deny"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.people.arn]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}
