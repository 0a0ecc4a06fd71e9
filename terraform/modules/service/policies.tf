# What the functions may do besides logging. filter_confidence computes, and may do nothing.

data "aws_iam_policy_document" "classify_image" {
  # This endpoint of either kind, and no other.
  statement {
    sid       = "InvokeEndpoint"
    actions   = ["sagemaker:InvokeEndpoint"]
    resources = module.inference_endpoint.arns
  }
}

data "aws_iam_policy_document" "check_drift" {
  # What the endpoint captured, and the verdict of the check before.
  statement {
    sid       = "ReadCaptureAndReports"
    actions   = ["s3:GetObject"]
    resources = ["${local.bucket_arn}/${local.capture_prefix}*", "${local.bucket_arn}/reports/*"]
  }

  statement {
    sid       = "WriteReports"
    actions   = ["s3:PutObject"]
    resources = ["${local.bucket_arn}/reports/*"]
  }

  # It looks for the window's files, and whether there was a check before.
  statement {
    sid       = "ListCaptureAndReports"
    actions   = ["s3:ListBucket"]
    resources = [local.bucket_arn]

    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = ["${local.capture_prefix}*", "reports/*"]
    }
  }

  # Captured data and reports are encrypted with it, and the topic is; through these two alone.
  statement {
    sid       = "UseKey"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [var.kms_key_arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${local.region}.amazonaws.com", "sns.${local.region}.amazonaws.com"]
    }
  }

  # A drift is told once.
  statement {
    sid       = "NotifyPeople"
    actions   = ["sns:Publish"]
    resources = [module.monitoring.topic_arn]
  }

  # Executions of the published version, and of nothing else; where a drift may start one.
  dynamic "statement" {
    for_each = var.retraining.on_drift ? [local.retraining_arn] : []

    content {
      sid       = "StartRetraining"
      actions   = ["states:StartExecution"]
      resources = [statement.value]

      # Step Functions checks against the machine's own ARN, whatever the request names, and tells the alias apart from it.
      # https://docs.aws.amazon.com/step-functions/latest/dg/auth-version-alias.html
      condition {
        test     = "ForAnyValue:StringEquals"
        variable = "states:StateMachineQualifier"
        values   = ["live"]
      }
    }
  }
}

data "aws_iam_policy_document" "compare_candidate" {
  # The labels, what both models answered, and both artifacts with their model cards; for the candidate's baseline the
  # validation images too.
  statement {
    sid     = "ReadAnswersModelsAndImages"
    actions = ["s3:GetObject"]
    resources = [
      "${local.bucket_arn}/evaluation/*",
      "${local.bucket_arn}/models/*",
      "${local.bucket_arn}/test.lst",
      "${local.bucket_arn}/train/*",
      "${local.bucket_arn}/validation.lst",
    ]
  }

  # Without it S3 answers 403 for an answer that is not there, as if a right were missing.
  statement {
    sid       = "TellMissingAnswers"
    actions   = ["s3:ListBucket"]
    resources = [local.bucket_arn]
  }

  statement {
    sid       = "WriteComparisons"
    actions   = ["s3:PutObject"]
    resources = ["${local.bucket_arn}/candidates/*"]
  }

  # The bucket is encrypted with it; through S3 alone.
  statement {
    sid       = "UseKeyOfBucket"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [var.kms_key_arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${local.region}.amazonaws.com"]
    }
  }
}

# Of the schedule, not of the function: it may start the check.
data "aws_iam_policy_document" "drift_schedule" {
  statement {
    sid       = "InvokeFunction"
    actions   = ["lambda:InvokeFunction"]
    resources = [for key in local.drift_function[*] : module.lambda_function[key].alias_arn]
  }
}

data "aws_iam_policy_document" "serialize_image" {
  # Images that somebody uploaded or that belong to the test split.
  statement {
    sid     = "ReadImages"
    actions = ["s3:GetObject"]
    resources = [
      "${local.bucket_arn}/incoming/*",
      "${local.bucket_arn}/test/*",
      "${local.bucket_arn}/uploads/*",
    ]
  }

  # Without it S3 answers 403 for an object that is not there, and ImageNotFound could not be told from a missing right.
  statement {
    sid       = "TellMissingImages"
    actions   = ["s3:ListBucket"]
    resources = [local.bucket_arn]
  }

  # The images are encrypted with it; through S3 alone.
  statement {
    sid       = "DecryptImages"
    actions   = ["kms:Decrypt"]
    resources = [var.kms_key_arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${local.region}.amazonaws.com"]
    }
  }
}
