resource "aws_iam_role" "execution" {
  name                 = var.name
  description          = "Lambda function ${var.name}"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  permissions_boundary = var.permissions_boundary_arn
}

# No condition on the account: IAM passes a role to functions of its own account only.
data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

resource "aws_iam_role_policy" "basics" {
  name   = "basics"
  role   = aws_iam_role.execution.id
  policy = data.aws_iam_policy_document.basics.json
}

data "aws_iam_policy_document" "basics" {
  # Its own log group, which Terraform makes: the function needs no CreateLogGroup, and no retention is ever lost.
  statement {
    sid       = "WriteLog"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.handler.arn}:*"]
  }

  dynamic "statement" {
    for_each = var.tracing ? [true] : []

    # X-Ray knows no resources for writing.
    content {
      sid       = "WriteTraces"
      actions   = ["xray:PutTelemetryRecords", "xray:PutTraceSegments"]
      resources = ["*"]
    }
  }
}

resource "aws_iam_role_policy" "extra" {
  for_each = var.policies

  name   = each.key
  role   = aws_iam_role.execution.id
  policy = each.value
}
