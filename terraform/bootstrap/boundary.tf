# What the roles made here, and every role that an apply role makes, can do at most. It grants nothing: what is allowed
# must stand here and in a policy of the role. So the permission to make roles and to write their policies is no way to
# more permissions.

locals {
  # Spelled out: the policy must name itself.
  boundary_arn = "arn:${local.partition}:iam::${local.account_id}:policy/${local.prefix}-boundary"
}

resource "aws_iam_policy" "boundary" {
  name        = "${local.prefix}-boundary"
  description = "Ceiling of the roles of ${var.name}"
  policy      = data.aws_iam_policy_document.boundary.json
}

data "aws_iam_policy_document" "boundary" {
  # What the modules make, by its name. Each role's own policies choose actions and resources among these.
  statement {
    sid = "NamedResources"
    actions = [
      "application-autoscaling:*",
      "budgets:*",
      "cloudwatch:*",
      "events:*",
      "kms:*",
      "lambda:*",
      "logs:*",
      "s3:*",
      "sagemaker:*",
      "scheduler:*",
      "sns:*",
      "sqs:*",
      "states:*",
    ]
    resources = [
      "arn:${local.partition}:application-autoscaling:${local.regional}:scalable-target/*", # its id is AWS's
      "arn:${local.partition}:budgets::${local.account_id}:budget/${var.name}-*",
      "arn:${local.partition}:cloudwatch::${local.account_id}:dashboard/${var.name}-*",
      "arn:${local.partition}:cloudwatch:${local.regional}:alarm:${var.name}-*",
      "arn:${local.partition}:cloudwatch:${local.regional}:alarm:TargetTracking-endpoint/${var.name}-*",
      "arn:${local.partition}:events:${local.regional}:rule/${var.name}-*",
      "arn:${local.partition}:kms:${local.regional}:alias/${var.name}-*",
      "arn:${local.partition}:lambda:${local.regional}:function:${var.name}-*",
      "arn:${local.partition}:logs:${local.regional}:log-group:/aws/*/${var.name}-*",
      "arn:${local.partition}:logs:${local.regional}:log-group:/aws/sagemaker/*", # training jobs share theirs
      "arn:${local.partition}:s3:::${var.name}-*",
      "arn:${local.partition}:sagemaker:${local.regional}:*/${var.name}-*",
      "arn:${local.partition}:scheduler:${local.regional}:schedule/default/${var.name}-*",
      "arn:${local.partition}:sns:${local.regional}:${var.name}-*",
      "arn:${local.partition}:sqs:${local.regional}:${var.name}-*",
      "arn:${local.partition}:states:${local.regional}:*:${var.name}-*",
    ]
  }

  # Rules that Step Functions manages, one for all machines of the account: they tell it that a job has ended.
  statement {
    sid       = "ManagedRules"
    actions   = ["events:DescribeRule", "events:PutRule", "events:PutTargets"]
    resources = ["arn:${local.partition}:events:${local.regional}:rule/StepFunctionsGetEventsForSageMaker*JobsRule"]
  }

  # Keys have no names: the provider's default tags say whose they are.
  statement {
    sid       = "Keys"
    actions   = ["kms:*"]
    resources = ["arn:${local.partition}:kms:${local.regional}:key/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/project"
      values   = [var.name]
    }
  }

  # A key that is being made is tagged, and has no tag yet.
  statement {
    sid       = "NewKeys"
    actions   = ["kms:CreateKey", "kms:TagResource"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/project"
      values   = [var.name]
    }
  }

  # What knows no resources, or none with names of this project: lists, composite alarms, subscriptions, metrics, log
  # delivery, traces, the containers of AWS, and network interfaces in the subnets that an environment may name.
  statement {
    sid = "UnnamedResources"
    actions = [
      "application-autoscaling:DescribeScalableTargets",
      "application-autoscaling:DescribeScalingPolicies",
      "cloudwatch:DeleteAlarms",
      "cloudwatch:DescribeAlarms",
      "cloudwatch:PutCompositeAlarm",
      "cloudwatch:PutMetricData",
      "ec2:AssignPrivateIpAddresses",
      "ec2:CreateNetworkInterface",
      "ec2:CreateNetworkInterfacePermission",
      "ec2:DeleteNetworkInterface",
      "ec2:DeleteNetworkInterfacePermission",
      "ec2:DescribeDhcpOptions",
      "ec2:DescribeNetworkInterfaces",
      "ec2:DescribeSecurityGroups",
      "ec2:DescribeSubnets",
      "ec2:DescribeVpcEndpoints",
      "ec2:DescribeVpcs",
      "ec2:UnassignPrivateIpAddresses",
      "ecr:BatchCheckLayerAvailability",
      "ecr:BatchGetImage",
      "ecr:GetAuthorizationToken",
      "ecr:GetDownloadUrlForLayer",
      "kms:ListAliases",
      "logs:CreateLogDelivery",
      "logs:DeleteLogDelivery",
      "logs:DescribeLogGroups",
      "logs:DescribeResourcePolicies",
      "logs:GetLogDelivery",
      "logs:ListLogDeliveries",
      "logs:PutResourcePolicy",
      "logs:UpdateLogDelivery",
      "sns:GetSubscriptionAttributes",
      "sns:SetSubscriptionAttributes",
      "sns:Unsubscribe",
      "states:ValidateStateMachineDefinition",
      "xray:GetSamplingRules",
      "xray:GetSamplingTargets",
      "xray:PutTelemetryRecords",
      "xray:PutTraceSegments",
    ]
    resources = ["*"]
  }

  # Roles of the environments, with inline policies only: nothing managed is attached to them.
  statement {
    sid = "Roles"
    actions = [
      "iam:CreateRole",
      "iam:DeleteRole",
      "iam:DeleteRolePolicy",
      "iam:GetRole",
      "iam:GetRolePolicy",
      "iam:ListAttachedRolePolicies",
      "iam:ListInstanceProfilesForRole",
      "iam:ListRolePolicies",
      "iam:ListRoleTags",
      "iam:PassRole",
      "iam:PutRolePermissionsBoundary",
      "iam:PutRolePolicy",
      "iam:TagRole",
      "iam:UntagRole",
      "iam:UpdateAssumeRolePolicy",
      "iam:UpdateRole",
      "iam:UpdateRoleDescription",
    ]
    resources = ["arn:${local.partition}:iam::${local.account_id}:role/${var.name}-*"]
  }

  # The role under which Application Auto Scaling changes an endpoint's instances; AWS writes its policy.
  statement {
    sid       = "AutoscalingRole"
    actions   = ["iam:CreateServiceLinkedRole"]
    resources = [local.autoscaling_role_arn]
  }

  # A role without this boundary is neither made nor given permissions.
  statement {
    sid    = "DenyRolesWithoutBoundary"
    effect = "Deny"
    actions = [
      "iam:AttachRolePolicy",
      "iam:CreateRole",
      "iam:PutRolePermissionsBoundary",
      "iam:PutRolePolicy",
    ]
    resources = ["*"]

    condition {
      test     = "StringNotEquals"
      variable = "iam:PermissionsBoundary"
      values   = [local.boundary_arn]
    }
  }

  # Nor does a role lose it.
  statement {
    sid       = "DenyRemovingBoundary"
    effect    = "Deny"
    actions   = ["iam:DeleteRolePermissionsBoundary"]
    resources = ["*"]
  }

  # Who may do what in the account is not for a workflow to change: users and their access keys, groups, identity
  # providers (GitHub's among them), managed policies (this one among them), and the roles made here.
  statement {
    sid     = "DenyAdministeringAccess"
    effect  = "Deny"
    actions = ["iam:*"]
    resources = [
      "arn:${local.partition}:iam::${local.account_id}:group/*",
      "arn:${local.partition}:iam::${local.account_id}:oidc-provider/*",
      "arn:${local.partition}:iam::${local.account_id}:policy/*",
      "arn:${local.partition}:iam::${local.account_id}:role/${local.prefix}-*",
      "arn:${local.partition}:iam::${local.account_id}:saml-provider/*",
      "arn:${local.partition}:iam::${local.account_id}:user/*",
    ]
  }

  # States are read, written and locked, and their older versions stay; the bucket itself is not touched.
  statement {
    sid    = "DenyAdministeringStateBucket"
    effect = "Deny"
    not_actions = [
      "s3:DeleteObject",
      "s3:GetObject",
      "s3:ListBucket",
      "s3:PutObject",
    ]
    resources = [local.state_bucket_arn, "${local.state_bucket_arn}/*"]
  }

  # A state is deleted by nobody; a lock is, by who holds it.
  statement {
    sid       = "DenyDeletingStates"
    effect    = "Deny"
    actions   = ["s3:DeleteObject"]
    resources = ["${local.state_bucket_arn}/*.tfstate"]
  }

  # The key of the states is used, and not administered.
  statement {
    sid    = "DenyAdministeringStateKey"
    effect = "Deny"
    not_actions = [
      "kms:Decrypt",
      "kms:DescribeKey",
      "kms:GenerateDataKey",
    ]
    resources = [aws_kms_key.state.arn]
  }
}
