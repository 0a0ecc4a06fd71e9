# The role of the nightly comparison with reality, which runs on the main branch: it may what the plan role may.

resource "aws_iam_role" "drift" {
  name                 = "${local.prefix}-drift"
  description          = "Nightly plans of the main branch of ${var.repository}"
  assume_role_policy   = data.aws_iam_policy_document.drift_trust.json
  permissions_boundary = aws_iam_policy.boundary.arn
}

data "aws_iam_policy_document" "drift_trust" {
  # Tokens for AWS, of jobs on the main branch of this one repository: both to the letter, no pattern.
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
      values   = ["repo:${var.repository}:ref:refs/heads/main"]
    }
  }
}

resource "aws_iam_role_policy" "drift_state" {
  name   = "state"
  role   = aws_iam_role.drift.id
  policy = data.aws_iam_policy_document.plan_state.json
}

resource "aws_iam_role_policy_attachment" "drift_refresh" {
  role       = aws_iam_role.drift.name
  policy_arn = aws_iam_policy.refresh.arn
}
