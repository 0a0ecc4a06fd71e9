resource "aws_iam_role" "training" {
  name                 = "${var.name}-training"
  description          = "SageMaker training and evaluation jobs of ${var.name}"
  assume_role_policy   = data.aws_iam_policy_document.training_trust.json
  permissions_boundary = var.permissions_boundary_arn
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
      values   = ["checkpoints/*", "code/*", "evaluation/*", "models/*", "test*", "train*", "validation*"]
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

  # SageMaker keeps the container's folder of checkpoints equal to the job's prefix: what an interrupted spot job resumes
  # from is read, and what the program deletes is deleted there too.
  statement {
    sid = "SynchronizeCheckpoints"
    actions = [
      "s3:AbortMultipartUpload",
      "s3:DeleteObject",
      "s3:GetObject",
      "s3:PutObject",
    ]
    resources = ["${local.bucket_arn}/checkpoints/*"]
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

  # The jobs' log lines. SageMaker makes the two groups for the whole account, and their streams.
  statement {
    sid = "WriteLogs"
    actions = [
      "logs:CreateLogGroup",
      "logs:CreateLogStream",
      "logs:DescribeLogStreams",
      "logs:PutLogEvents",
    ]
    resources = [
      for jobs in ["TrainingJobs", "TransformJobs"] :
      "arn:${local.partition}:logs:${local.region}:${local.account_id}:log-group:/aws/sagemaker/${jobs}*"
    ]
  }

  # Accuracy and loss per epoch. PutMetricData knows no resources: the namespace is the limit.
  statement {
    sid       = "PublishMetrics"
    actions   = ["cloudwatch:PutMetricData"]
    resources = ["*"]

    condition {
      test     = "StringLike"
      variable = "cloudwatch:namespace"
      values   = ["/aws/sagemaker/TrainingJobs", "/aws/sagemaker/TransformJobs"]
    }
  }

  # GetAuthorizationToken knows no resources; it opens no repository by itself.
  statement {
    sid       = "LogInToRegistry"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }

  # SageMaker's own containers, by name: they lie in accounts of AWS that differ by algorithm and region.
  statement {
    sid = "PullContainers"
    actions = [
      "ecr:BatchCheckLayerAvailability",
      "ecr:BatchGetImage",
      "ecr:GetDownloadUrlForLayer",
    ]
    resources = [
      for repository in ["image-classification", "pytorch-inference", "pytorch-training"] :
      "arn:${local.partition}:ecr:${local.region}:*:repository/${repository}"
    ]
  }
}
