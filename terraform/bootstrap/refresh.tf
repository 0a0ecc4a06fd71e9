# What the provider reads of each resource when it compares the state with reality: for the plan role and the apply roles.
# AWS's own ReadOnlyAccess would also read the customers' images.

resource "aws_iam_policy" "refresh" {
  name        = "${local.prefix}-refresh"
  description = "Reads settings, and no data, of all environments of ${var.name}"
  policy      = data.aws_iam_policy_document.refresh.json
}

data "aws_iam_policy_document" "refresh" {
  # The provider reads every setting of a bucket, those that we do not set too. s3:ListBucket is its look whether the
  # bucket is there; no object is read.
  statement {
    sid = "Buckets"
    actions = [
      "s3:GetAccelerateConfiguration",
      "s3:GetBucketAcl",
      "s3:GetBucketCORS",
      "s3:GetBucketLocation",
      "s3:GetBucketLogging",
      "s3:GetBucketNotification",
      "s3:GetBucketObjectLockConfiguration",
      "s3:GetBucketOwnershipControls",
      "s3:GetBucketPolicy",
      "s3:GetBucketPublicAccessBlock",
      "s3:GetBucketRequestPayment",
      "s3:GetBucketTagging",
      "s3:GetBucketVersioning",
      "s3:GetBucketWebsite",
      "s3:GetEncryptionConfiguration",
      "s3:GetLifecycleConfiguration",
      "s3:GetReplicationConfiguration",
      "s3:ListBucket",
    ]
    resources = ["arn:${local.partition}:s3:::${var.name}-*"]
  }

  # Keys have no names: the provider's default tags say whose they are.
  statement {
    sid = "Keys"
    actions = [
      "kms:DescribeKey",
      "kms:GetKeyPolicy",
      "kms:GetKeyRotationStatus",
      "kms:ListResourceTags",
    ]
    resources = ["arn:${local.partition}:kms:${local.regional}:key/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/project"
      values   = [var.name]
    }
  }

  statement {
    sid = "Roles"
    actions = [
      "iam:GetRole",
      "iam:GetRolePolicy",
      "iam:ListAttachedRolePolicies",
      "iam:ListRolePolicies",
      "iam:ListRoleTags",
    ]
    resources = ["arn:${local.partition}:iam::${local.account_id}:role/${var.name}-*"]
  }

  statement {
    sid = "Functions"
    actions = [
      "lambda:GetAlias",
      "lambda:GetFunction",
      "lambda:GetFunctionCodeSigningConfig",
      "lambda:GetFunctionConfiguration",
      "lambda:ListTags",
      "lambda:ListVersionsByFunction",
    ]
    resources = ["arn:${local.partition}:lambda:${local.regional}:function:${var.name}-*"]
  }

  statement {
    sid = "Workflows"
    actions = [
      "states:DescribeStateMachine",
      "states:DescribeStateMachineAlias",
      "states:ListStateMachineVersions",
      "states:ListTagsForResource",
    ]
    resources = ["arn:${local.partition}:states:${local.regional}:stateMachine:${var.name}-*"]
  }

  statement {
    sid = "Rules"
    actions = [
      "events:DescribeRule",
      "events:ListTagsForResource",
      "events:ListTargetsByRule",
    ]
    resources = ["arn:${local.partition}:events:${local.regional}:rule/${var.name}-*"]
  }

  # In Scheduler's own group.
  statement {
    sid       = "Schedules"
    actions   = ["scheduler:GetSchedule"]
    resources = ["arn:${local.partition}:scheduler:${local.regional}:schedule/default/${var.name}-*"]
  }

  statement {
    sid = "Endpoints"
    actions = [
      "sagemaker:DescribeEndpoint",
      "sagemaker:DescribeEndpointConfig",
      "sagemaker:DescribeModel",
      "sagemaker:ListTags",
    ]
    resources = ["arn:${local.partition}:sagemaker:${local.regional}:*/${var.name}-*"]
  }

  # A scaling target's ARN ends with an id that AWS gives.
  statement {
    sid       = "ScalingTargets"
    actions   = ["application-autoscaling:ListTagsForResource"]
    resources = ["arn:${local.partition}:application-autoscaling:${local.regional}:scalable-target/*"]
  }

  statement {
    sid = "TopicsAndQueues"
    actions = [
      "sns:GetTopicAttributes",
      "sns:ListTagsForResource",
      "sqs:GetQueueAttributes",
      "sqs:GetQueueUrl",
      "sqs:ListQueueTags",
    ]
    resources = [
      "arn:${local.partition}:sns:${local.regional}:${var.name}-*",
      "arn:${local.partition}:sqs:${local.regional}:${var.name}-*",
    ]
  }

  statement {
    sid = "Monitoring"
    actions = [
      "budgets:ListTagsForResource",
      "budgets:ViewBudget",
      "cloudwatch:GetDashboard",
      "cloudwatch:ListTagsForResource",
      "logs:ListTagsForResource",
    ]
    resources = [
      "arn:${local.partition}:budgets::${local.account_id}:budget/${var.name}-*",
      "arn:${local.partition}:cloudwatch::${local.account_id}:dashboard/${var.name}-*",
      "arn:${local.partition}:cloudwatch:${local.regional}:alarm:${var.name}-*",
      "arn:${local.partition}:logs:${local.regional}:log-group:/aws/*/${var.name}-*",
    ]
  }

  # None of these knows resources, or not all that it answers for: DescribeAlarms on one name never finds a composite alarm.
  statement {
    sid = "Lists"
    actions = [
      "application-autoscaling:DescribeScalableTargets",
      "application-autoscaling:DescribeScalingPolicies",
      "cloudwatch:DescribeAlarms",
      "kms:ListAliases",
      "logs:DescribeLogGroups",
      "sns:GetSubscriptionAttributes",
      "states:ValidateStateMachineDefinition",
    ]
    resources = ["*"]
  }
}
