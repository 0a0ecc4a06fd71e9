# What an apply role writes; what it reads is in refresh.tf. Each is limited to the names, or the tags, of one environment:
# each.value is their prefix, such as scones-dev.

data "aws_iam_policy_document" "apply_foundation" {
  for_each = local.environments

  # Buckets and their settings. No object: an apply neither reads data nor deletes it, so a bucket with data in it stays.
  statement {
    sid = "Buckets"
    actions = [
      "s3:CreateBucket",
      "s3:DeleteBucket",
      "s3:DeleteBucketPolicy",
      "s3:PutBucketNotification",
      "s3:PutBucketOwnershipControls",
      "s3:PutBucketPolicy",
      "s3:PutBucketPublicAccessBlock",
      "s3:PutBucketTagging",
      "s3:PutBucketVersioning",
      "s3:PutEncryptionConfiguration",
      "s3:PutLifecycleConfiguration",
    ]
    resources = ["arn:${local.partition}:s3:::${each.value}-*"]
  }

  # A key that is being made has no ARN and no tags yet: the tags that it will have are the limit. KMS does not tell tagging
  # a new key from tagging an old one, so keys of others are safe from this only by their own key policies.
  statement {
    sid       = "NewKeys"
    actions   = ["kms:CreateKey", "kms:TagResource"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/environment"
      values   = [each.key]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/project"
      values   = [var.name]
    }
  }

  # Keys have no names: the provider's default tags say whose they are.
  statement {
    sid = "Keys"
    actions = [
      "kms:CreateAlias",
      "kms:DeleteAlias",
      "kms:DisableKeyRotation",
      "kms:EnableKeyRotation",
      "kms:PutKeyPolicy",
      "kms:ScheduleKeyDeletion",
      "kms:TagResource",
      "kms:UntagResource",
      "kms:UpdateAlias",
      "kms:UpdateKeyDescription",
    ]
    resources = ["arn:${local.partition}:kms:${local.regional}:key/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/environment"
      values   = [each.key]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/project"
      values   = [var.name]
    }
  }

  # SageMaker encrypts an endpoint's volumes through a grant that its caller makes, and may make to AWS services alone.
  statement {
    sid       = "KeyGrants"
    actions   = ["kms:CreateGrant"]
    resources = ["arn:${local.partition}:kms:${local.regional}:key/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/environment"
      values   = [each.key]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/project"
      values   = [var.name]
    }

    condition {
      test     = "Bool"
      variable = "kms:GrantIsForAWSResource"
      values   = ["true"]
    }
  }

  # An alias is changed by who may change both it and its key.
  statement {
    sid     = "KeyAliases"
    actions = ["kms:CreateAlias", "kms:DeleteAlias", "kms:UpdateAlias"]
    resources = [
      "arn:${local.partition}:kms:${local.regional}:alias/${each.value}",
      "arn:${local.partition}:kms:${local.regional}:alias/${each.value}-*",
    ]
  }

  # Roles get permissions only under the boundary, which is why an apply role may write their policies.
  statement {
    sid = "BoundedRoles"
    actions = [
      "iam:CreateRole",
      "iam:PutRolePermissionsBoundary",
      "iam:PutRolePolicy",
    ]
    resources = ["arn:${local.partition}:iam::${local.account_id}:role/${each.value}-*"]

    condition {
      test     = "StringEquals"
      variable = "iam:PermissionsBoundary"
      values   = [local.boundary_arn]
    }
  }

  # These give no permission. The provider looks for instance profiles before it deletes a role.
  statement {
    sid = "Roles"
    actions = [
      "iam:DeleteRole",
      "iam:DeleteRolePolicy",
      "iam:ListInstanceProfilesForRole",
      "iam:TagRole",
      "iam:UntagRole",
      "iam:UpdateAssumeRolePolicy",
      "iam:UpdateRole",
      "iam:UpdateRoleDescription",
    ]
    resources = ["arn:${local.partition}:iam::${local.account_id}:role/${each.value}-*"]
  }

  # To the services that run under these roles, and to no other.
  statement {
    sid       = "PassRoles"
    actions   = ["iam:PassRole"]
    resources = ["arn:${local.partition}:iam::${local.account_id}:role/${each.value}-*"]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values = [
        "events.amazonaws.com",
        "lambda.amazonaws.com",
        "sagemaker.amazonaws.com",
        "scheduler.amazonaws.com",
        "states.amazonaws.com",
      ]
    }
  }
}

data "aws_iam_policy_document" "apply_service" {
  for_each = local.environments

  # Functions with their versions and the alias "live".
  statement {
    sid = "Functions"
    actions = [
      "lambda:CreateAlias",
      "lambda:CreateFunction",
      "lambda:DeleteAlias",
      "lambda:DeleteFunction",
      "lambda:DeleteFunctionConcurrency",
      "lambda:PublishVersion",
      "lambda:PutFunctionConcurrency",
      "lambda:TagResource",
      "lambda:UntagResource",
      "lambda:UpdateAlias",
      "lambda:UpdateFunctionCode",
      "lambda:UpdateFunctionConfiguration",
    ]
    resources = ["arn:${local.partition}:lambda:${local.regional}:function:${each.value}-*"]
  }

  # A function in subnets: Lambda checks that its maker sees them. None of these knows resources.
  statement {
    sid = "Networks"
    actions = [
      "ec2:DescribeNetworkInterfaces",
      "ec2:DescribeSecurityGroups",
      "ec2:DescribeSubnets",
      "ec2:DescribeVpcs",
    ]
    resources = ["*"]
  }

  # State machines with their versions and the alias "live".
  statement {
    sid = "Workflows"
    actions = [
      "states:CreateStateMachine",
      "states:CreateStateMachineAlias",
      "states:DeleteStateMachine",
      "states:DeleteStateMachineAlias",
      "states:DeleteStateMachineVersion",
      "states:PublishStateMachineVersion",
      "states:TagResource",
      "states:UntagResource",
      "states:UpdateStateMachine",
      "states:UpdateStateMachineAlias",
    ]
    resources = ["arn:${local.partition}:states:${local.regional}:stateMachine:${each.value}-*"]
  }

  # What starts executions, and tells of those that end badly.
  statement {
    sid = "Rules"
    actions = [
      "events:DeleteRule",
      "events:DisableRule",
      "events:EnableRule",
      "events:PutRule",
      "events:PutTargets",
      "events:RemoveTargets",
      "events:TagResource",
      "events:UntagResource",
    ]
    resources = ["arn:${local.partition}:events:${local.regional}:rule/${each.value}-*"]
  }

  # What starts at its times. A schedule has no tags: its name, in Scheduler's own group, is the limit.
  statement {
    sid       = "Schedules"
    actions   = ["scheduler:CreateSchedule", "scheduler:DeleteSchedule", "scheduler:UpdateSchedule"]
    resources = ["arn:${local.partition}:scheduler:${local.regional}:schedule/default/${each.value}-*"]
  }

  # The endpoint is called like the environment. Whoever updates one needs the right on its configuration too.
  statement {
    sid = "Endpoints"
    actions = [
      "sagemaker:AddTags",
      "sagemaker:CreateEndpoint",
      "sagemaker:CreateEndpointConfig",
      "sagemaker:CreateModel",
      "sagemaker:DeleteEndpoint",
      "sagemaker:DeleteEndpointConfig",
      "sagemaker:DeleteModel",
      "sagemaker:DeleteTags",
      "sagemaker:UpdateEndpoint",
      "sagemaker:UpdateEndpointWeightsAndCapacities", # Application Auto Scaling wants it of who registers a target
    ]
    resources = [
      "arn:${local.partition}:sagemaker:${local.regional}:endpoint-config/${each.value}-*",
      "arn:${local.partition}:sagemaker:${local.regional}:endpoint/${each.value}",
      "arn:${local.partition}:sagemaker:${local.regional}:model/${each.value}-*",
    ]
  }

  # A scaling target's ARN ends with an id that AWS gives: the service is the narrowest limit there is.
  statement {
    sid = "Scaling"
    actions = [
      "application-autoscaling:DeleteScalingPolicy",
      "application-autoscaling:DeregisterScalableTarget",
      "application-autoscaling:PutScalingPolicy",
      "application-autoscaling:RegisterScalableTarget",
    ]
    resources = ["arn:${local.partition}:application-autoscaling:${local.regional}:scalable-target/*"]

    condition {
      test     = "StringEquals"
      variable = "application-autoscaling:service-namespace"
      values   = ["sagemaker"]
    }
  }

  # The condition above is not known for these.
  statement {
    sid       = "ScalingTags"
    actions   = ["application-autoscaling:TagResource", "application-autoscaling:UntagResource"]
    resources = ["arn:${local.partition}:application-autoscaling:${local.regional}:scalable-target/*"]
  }

  # The first scaling target of an account makes the role under which its instances are changed.
  statement {
    sid       = "ScalingRole"
    actions   = ["iam:CreateServiceLinkedRole"]
    resources = [local.autoscaling_role_arn]

    condition {
      test     = "StringEquals"
      variable = "iam:AWSServiceName"
      values   = [local.autoscaling_service]
    }
  }
}

data "aws_iam_policy_document" "apply_monitoring" {
  for_each = local.environments

  statement {
    sid = "Topics"
    actions = [
      "sns:CreateTopic",
      "sns:DeleteTopic",
      "sns:SetTopicAttributes",
      "sns:Subscribe",
      "sns:TagResource",
      "sns:UntagResource",
    ]
    resources = ["arn:${local.partition}:sns:${local.regional}:${each.value}-*"]
  }

  # SNS knows no resources for subscriptions.
  statement {
    sid       = "Subscriptions"
    actions   = ["sns:SetSubscriptionAttributes", "sns:Unsubscribe"]
    resources = ["*"]
  }

  statement {
    sid = "Queues"
    actions = [
      "sqs:CreateQueue",
      "sqs:DeleteQueue",
      "sqs:SetQueueAttributes",
      "sqs:TagQueue",
      "sqs:UntagQueue",
    ]
    resources = ["arn:${local.partition}:sqs:${local.regional}:${each.value}-*"]
  }

  # Our alarms, and those that Application Auto Scaling makes for its policies with the rights of its caller.
  statement {
    sid = "Alarms"
    actions = [
      "cloudwatch:PutMetricAlarm",
      "cloudwatch:TagResource",
      "cloudwatch:UntagResource",
    ]
    resources = [
      "arn:${local.partition}:cloudwatch:${local.regional}:alarm:${each.value}-*",
      "arn:${local.partition}:cloudwatch:${local.regional}:alarm:TargetTracking-endpoint/${each.value}/*",
    ]
  }

  # CloudWatch refuses both for a composite alarm unless they are allowed on everything.
  # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutCompositeAlarm.html
  statement {
    sid       = "CompositeAlarms"
    actions   = ["cloudwatch:DeleteAlarms", "cloudwatch:PutCompositeAlarm"]
    resources = ["*"]
  }

  statement {
    sid     = "Dashboards"
    actions = ["cloudwatch:DeleteDashboards", "cloudwatch:PutDashboard"]
    resources = [
      "arn:${local.partition}:cloudwatch::${local.account_id}:dashboard/${each.value}",
      "arn:${local.partition}:cloudwatch::${local.account_id}:dashboard/${each.value}-*",
    ]
  }

  # Groups and their retention; no line of a log is read.
  statement {
    sid = "Logs"
    actions = [
      "logs:AssociateKmsKey",
      "logs:CreateLogGroup",
      "logs:DeleteLogGroup",
      "logs:DeleteRetentionPolicy",
      "logs:DisassociateKmsKey",
      "logs:PutRetentionPolicy",
      "logs:TagResource",
      "logs:UntagResource",
    ]
    resources = [
      "arn:${local.partition}:logs:${local.regional}:log-group:/aws/lambda/${each.value}-*",
      "arn:${local.partition}:logs:${local.regional}:log-group:/aws/sagemaker/Endpoints/${each.value}",
      "arn:${local.partition}:logs:${local.regional}:log-group:/aws/sagemaker/Endpoints/${each.value}:*",
      "arn:${local.partition}:logs:${local.regional}:log-group:/aws/vendedlogs/states/${each.value}-*",
    ]
  }

  # AWS Budgets knows one action for making, changing and deleting.
  statement {
    sid     = "Budgets"
    actions = ["budgets:ModifyBudget", "budgets:TagResource", "budgets:UntagResource"]
    resources = [
      "arn:${local.partition}:budgets::${local.account_id}:budget/${each.value}",
      "arn:${local.partition}:budgets::${local.account_id}:budget/${each.value}-*",
    ]
  }
}
