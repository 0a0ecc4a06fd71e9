# What the functions may do besides logging. filter_confidence computes, and may do nothing.

data "aws_iam_policy_document" "classify_image" {
  # This endpoint of either kind, and no other.
  statement {
    sid       = "InvokeEndpoint"
    actions   = ["sagemaker:InvokeEndpoint"]
    resources = module.inference_endpoint.arns
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
