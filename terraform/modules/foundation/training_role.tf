resource "aws_iam_role" "training" {
  name               = "${var.name}-training"
  description        = "SageMaker training jobs of ${var.name}"
  assume_role_policy = data.aws_iam_policy_document.training_trust.json
}

data "aws_iam_policy_document" "training_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["sagemaker.amazonaws.com"]
    }

    # SageMaker may take the role only for this account's jobs (confused deputy).
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account_id]
    }
  }
}

resource "aws_iam_role_policy" "training" {
  name   = "training"
  role   = aws_iam_role.training.id
  policy = data.aws_iam_policy_document.training.json
}

data "aws_iam_policy_document" "training" {
  # Training copies the four channels and our program into the container; evaluation a model and the test images.
  statement {
    sid     = "ReadChannelsCodeAndModels"
    actions = ["s3:GetObject"]
    resources = [
      "${local.bucket_arn}/code/*",
      "${local.bucket_arn}/models/*",
      "${local.bucket_arn}/test/*",
      "${local.bucket_arn}/train/*",
      "${local.bucket_arn}/train.lst",
      "${local.bucket_arn}/validation.lst",
    ]
  }

  # A channel is a prefix: SageMaker lists it. The condition keeps captured images and uploads out of sight.
  statement {
    sid       = "ListChannels"
    actions   = ["s3:ListBucket"]
    resources = [local.bucket_arn]

    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["code/*", "evaluation/*", "models/*", "test*", "train*", "validation*"]
    }
  }

  # SageMaker finds the bucket's region before it copies.
  statement {
    sid       = "LocateBucket"
    actions   = ["s3:GetBucketLocation"]
    resources = [local.bucket_arn]
  }

  # The job's results; a large artifact goes up in parts.
  statement {
    sid     = "WriteModelsAndEvaluations"
    actions = ["s3:AbortMultipartUpload", "s3:PutObject"]
    resources = [
      "${local.bucket_arn}/evaluation/*",
      "${local.bucket_arn}/models/*",
    ]
  }

  # The bucket's objects are encrypted with it.
  statement {
    sid       = "UseKey"
    actions   = ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"]
    resources = [aws_kms_key.data.arn]
  }

  # SageMaker attaches the job's encrypted volume through a grant, and may grant to AWS services alone.
  statement {
    sid       = "GrantKeyToVolumes"
    actions   = ["kms:CreateGrant"]
    resources = [aws_kms_key.data.arn]

    condition {
      test     = "Bool"
      variable = "kms:GrantIsForAWSResource"
      values   = ["true"]
    }
  }

  # The job's log lines.
  statement {
    sid = "WriteLogs"
    actions = [
      "logs:CreateLogGroup",
      "logs:CreateLogStream",
      "logs:DescribeLogStreams",
      "logs:PutLogEvents",
    ]
    resources = ["arn:${local.partition}:logs:${local.region}:${local.account_id}:log-group:/aws/sagemaker/*"]
  }

  # Accuracy and loss per epoch. PutMetricData knows no resources: the namespace is the limit.
  statement {
    sid       = "PublishMetrics"
    actions   = ["cloudwatch:PutMetricData"]
    resources = ["*"]

    condition {
      test     = "StringLike"
      variable = "cloudwatch:namespace"
      values   = ["/aws/sagemaker/*", "aws/sagemaker/*", var.name]
    }
  }

  # GetAuthorizationToken knows no resources.
  statement {
    sid       = "LogInToRegistry"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }

  # SageMaker's containers lie in accounts of AWS that differ by algorithm and region.
  statement {
    sid = "PullContainers"
    actions = [
      "ecr:BatchCheckLayerAvailability",
      "ecr:BatchGetImage",
      "ecr:GetDownloadUrlForLayer",
    ]
    resources = ["arn:${local.partition}:ecr:${local.region}:*:repository/*"]
  }
}
