# The role of the workflow that trains: one for each environment. It runs jobs and writes data; what serves it cannot change.

resource "aws_iam_role" "train" {
  for_each = local.environments

  name                 = "${local.prefix}-train-${each.key}"
  description          = "Training from the environment ${each.key} of ${var.repository}"
  assume_role_policy   = data.aws_iam_policy_document.apply_trust[each.key].json # the same jobs: in that environment
  max_session_duration = 7200
  permissions_boundary = aws_iam_policy.boundary.arn
}

resource "aws_iam_role_policy" "train" {
  for_each = local.environments

  name   = "train"
  role   = aws_iam_role.train[each.key].id
  policy = data.aws_iam_policy_document.train[each.key].json
}

data "aws_iam_policy_document" "train" {
  for_each = local.environments

  # The outputs of the environment say where its bucket, key and training role are.
  statement {
    sid       = "ListStates"
    actions   = ["s3:ListBucket"]
    resources = [local.state_bucket_arn]
  }

  statement {
    sid       = "ReadState"
    actions   = ["s3:GetObject"]
    resources = [local.state_arns[each.key]]
  }

  # The state's key and the data's, through S3 alone; the tag says whose the latter is.
  statement {
    sid       = "UseStateKey"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.state.arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${var.region}.amazonaws.com"]
    }
  }

  statement {
    sid       = "UseDataKey"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = ["arn:${local.partition}:kms:${local.regional}:key/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/environment"
      values   = [each.key]
    }

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${var.region}.amazonaws.com"]
    }
  }

  # Staging replaces the dataset, training and evaluation leave models and answers.
  statement {
    sid       = "WriteData"
    actions   = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
    resources = ["arn:${local.partition}:s3:::${each.value}-*/*"]
  }

  statement {
    sid       = "ListData"
    actions   = ["s3:GetBucketLocation", "s3:ListBucket"]
    resources = ["arn:${local.partition}:s3:::${each.value}-*"]
  }

  # The jobs, and the model that an evaluation asks and then deletes. No endpoint.
  statement {
    sid = "RunJobs"
    actions = [
      "sagemaker:AddTags",
      "sagemaker:CreateModel",
      "sagemaker:CreateTrainingJob",
      "sagemaker:CreateTransformJob",
      "sagemaker:DeleteModel",
      "sagemaker:DescribeModel",
      "sagemaker:DescribeTrainingJob",
      "sagemaker:DescribeTransformJob",
      "sagemaker:StopTrainingJob",
      "sagemaker:StopTransformJob",
    ]
    resources = [
      for kind in ["model", "training-job", "transform-job"] :
      "arn:${local.partition}:sagemaker:${local.regional}:${kind}/${each.value}-*"
    ]
  }

  statement {
    sid       = "PassTrainingRole"
    actions   = ["iam:PassRole"]
    resources = ["arn:${local.partition}:iam::${local.account_id}:role/${each.value}-training"]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["sagemaker.amazonaws.com"]
    }
  }

  # What the jobs say while they run.
  statement {
    sid       = "ReadLogs"
    actions   = ["logs:DescribeLogStreams", "logs:GetLogEvents"]
    resources = ["arn:${local.partition}:logs:${local.regional}:log-group:/aws/sagemaker/*"]
  }
}
