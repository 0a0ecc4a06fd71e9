# The role of pull requests: it reads what a plan compares, and writes nothing but the lock. Whoever may open a pull request
# from a branch can change the workflow that takes it, so it must be harmless in any workflow. GitHub gives no token to pull
# requests from forks.

resource "aws_iam_role" "plan" {
  name                 = "${local.prefix}-plan"
  description          = "Plans of pull requests in ${var.repository}"
  assume_role_policy   = data.aws_iam_policy_document.plan_trust.json
  permissions_boundary = aws_iam_policy.boundary.arn
}

data "aws_iam_policy_document" "plan_trust" {
  # Tokens for AWS, of jobs that a pull request of this one repository started: both to the letter, no pattern.
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
      values   = ["repo:${var.repository}:pull_request"]
    }
  }
}

resource "aws_iam_role_policy" "plan_state" {
  name   = "state"
  role   = aws_iam_role.plan.id
  policy = data.aws_iam_policy_document.plan_state.json
}

data "aws_iam_policy_document" "plan_state" {
  # Terraform looks for workspaces, and tells a state that is not there from one that it may not read.
  statement {
    sid       = "ListStates"
    actions   = ["s3:ListBucket"]
    resources = [local.state_bucket_arn]
  }

  # The environments' states and locks; bootstrap's own state is not for a workflow.
  statement {
    sid       = "ReadStates"
    actions   = ["s3:GetObject"]
    resources = concat(values(local.state_arns), values(local.lock_arns))
  }

  # A plan holds the lock, or it would compare with a state that is being changed. Nothing else is written.
  statement {
    sid       = "HoldLock"
    actions   = ["s3:DeleteObject", "s3:PutObject"]
    resources = values(local.lock_arns)
  }

  # States and locks are encrypted with it; through S3 alone.
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

resource "aws_iam_role_policy_attachment" "plan_refresh" {
  role       = aws_iam_role.plan.name
  policy_arn = aws_iam_policy.refresh.arn
}
