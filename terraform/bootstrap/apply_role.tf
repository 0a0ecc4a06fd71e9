# One role for each protected environment on GitHub, whose reviewers stand between a merge and an apply: what may change
# dev cannot change prod.

locals {
  autoscaling_service  = "sagemaker.application-autoscaling.amazonaws.com"
  autoscaling_role_arn = "arn:${local.partition}:iam::${local.account_id}:role/aws-service-role/${local.autoscaling_service}/AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"

  # One policy would be longer than IAM allows (6,144 characters).
  apply_policies = merge([
    for environment in var.environments : {
      "${environment}-foundation" = {
        environment = environment
        description = "Buckets, keys and roles of ${local.environments[environment]}"
        document    = data.aws_iam_policy_document.apply_foundation[environment].json
      }
      "${environment}-monitoring" = {
        environment = environment
        description = "Topics, queues, alarms, dashboards, logs and budgets of ${local.environments[environment]}"
        document    = data.aws_iam_policy_document.apply_monitoring[environment].json
      }
      "${environment}-service" = {
        environment = environment
        description = "Functions, workflows, schedules and endpoints of ${local.environments[environment]}"
        document    = data.aws_iam_policy_document.apply_service[environment].json
      }
    }
  ]...)
}

resource "aws_iam_role" "apply" {
  for_each = local.environments

  name                 = "${local.prefix}-apply-${each.key}"
  description          = "Applies from the environment ${each.key} of ${var.repository}"
  assume_role_policy   = data.aws_iam_policy_document.apply_trust[each.key].json
  max_session_duration = 7200 # a canary and its wait may take more than the usual hour
  permissions_boundary = aws_iam_policy.boundary.arn
}

data "aws_iam_policy_document" "apply_trust" {
  for_each = local.environments

  # Tokens for AWS, of jobs that run in this environment of this one repository: both to the letter, no pattern.
  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = [local.oidc_provider_arn]
    }

    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:aud"
      values   = ["sts.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:sub"
      values   = ["repo:${var.repository}:environment:${each.key}"]
    }
  }
}

resource "aws_iam_role_policy" "apply_state" {
  for_each = local.environments

  name   = "state"
  role   = aws_iam_role.apply[each.key].id
  policy = data.aws_iam_policy_document.apply_state[each.key].json
}

data "aws_iam_policy_document" "apply_state" {
  for_each = local.environments

  # Terraform looks for workspaces, and tells a state that is not there from one that it may not read.
  statement {
    sid       = "ListStates"
    actions   = ["s3:ListBucket"]
    resources = [local.state_bucket_arn]
  }

  # This environment's state and lock, and no other's.
  statement {
    sid       = "WriteState"
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = [local.state_arns[each.key], local.lock_arns[each.key]]
  }

  # The lock is released; the state is never deleted.
  statement {
    sid       = "ReleaseLock"
    actions   = ["s3:DeleteObject"]
    resources = [local.lock_arns[each.key]]
  }

  # Both are encrypted with it; through S3 alone.
  statement {
    sid       = "UseStateKey"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.state.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${var.region}.amazonaws.com"]
    }
  }
}

resource "aws_iam_policy" "apply" {
  for_each = local.apply_policies

  name        = "${local.prefix}-apply-${each.key}"
  description = each.value.description
  policy      = each.value.document
}

resource "aws_iam_role_policy_attachment" "apply" {
  for_each = local.apply_policies

  role       = aws_iam_role.apply[each.value.environment].name
  policy_arn = aws_iam_policy.apply[each.key].arn
}

resource "aws_iam_role_policy_attachment" "apply_refresh" {
  for_each = local.environments

  role       = aws_iam_role.apply[each.key].name
  policy_arn = aws_iam_policy.refresh.arn
}
