# Layout: <environment>/terraform.tfstate, and beside it the lock file terraform.tfstate.tflock while somebody plans or
# applies: S3's conditional writes are the lock, no DynamoDB table is needed.

locals {
  state_bucket     = "${local.prefix}-${local.account_id}-state" # bucket names are global: the account makes it ours
  state_bucket_arn = "arn:${local.partition}:s3:::${local.state_bucket}"

  state_arns = {
    for environment in var.environments : environment => "${local.state_bucket_arn}/${environment}/terraform.tfstate"
  }
  lock_arns = { for environment, arn in local.state_arns : environment => "${arn}.tflock" }
}

resource "aws_s3_bucket" "state" {
  bucket = local.state_bucket

  lifecycle {
    prevent_destroy = true # without the states Terraform knows of nothing that it has made
  }
}

resource "aws_s3_bucket_versioning" "state" {
  bucket = aws_s3_bucket.state.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "state" {
  bucket = aws_s3_bucket.state.id

  rule {
    bucket_key_enabled = true # one data key for many objects: fewer requests to KMS

    apply_server_side_encryption_by_default {
      kms_master_key_id = aws_kms_key.state.arn
      sse_algorithm     = "aws:kms"
    }
  }
}

resource "aws_s3_bucket_public_access_block" "state" {
  bucket = aws_s3_bucket.state.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "state" {
  bucket = aws_s3_bucket.state.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "state" {
  bucket = aws_s3_bucket.state.id

  rule {
    id     = "expire-noncurrent-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.noncurrent_version_retention_days
    }

    # Every lock leaves one behind when it is released.
    expiration {
      expired_object_delete_marker = true
    }
  }

  rule {
    id     = "abort-incomplete-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  # A rule on noncurrent versions is refused before versioning is on.
  depends_on = [aws_s3_bucket_versioning.state]
}

resource "aws_s3_bucket_policy" "state" {
  bucket = aws_s3_bucket.state.id
  policy = data.aws_iam_policy_document.state_bucket.json

  # A policy and the public access block written at the same time conflict.
  depends_on = [aws_s3_bucket_public_access_block.state]
}

data "aws_iam_policy_document" "state_bucket" {
  # States never travel in clear text.
  statement {
    sid       = "DenyInsecureTransport"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [local.state_bucket_arn, "${local.state_bucket_arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }

  # A put that names no encryption, SSE-S3 or another key is refused: backend.hcl names the key, and without it
  # Terraform's `encrypt = true` would ask for SSE-S3, against the bucket's default.
  statement {
    sid       = "DenyOtherEncryption"
    effect    = "Deny"
    actions   = ["s3:PutObject"]
    resources = ["${local.state_bucket_arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "StringNotEquals"
      variable = "s3:x-amz-server-side-encryption-aws-kms-key-id"
      values   = [aws_kms_key.state.arn]
    }
  }
}

# The states hold ARNs and settings today, no secrets. But Terraform writes down all that a resource returns, and some day
# one returns a secret; a key of their own makes the right to read the bucket not enough to read a state, and CloudTrail
# say who did.
resource "aws_kms_key" "state" {
  description             = "Terraform states of ${var.name}"
  deletion_window_in_days = 30
  enable_key_rotation     = true
  policy                  = data.aws_iam_policy_document.state_key.json

  lifecycle {
    prevent_destroy = true # a state without its key is lost
  }
}

resource "aws_kms_alias" "state" {
  name          = "alias/${local.prefix}-state"
  target_key_id = aws_kms_key.state.key_id
}

# In a key policy "*" is this key: the policy cannot name the ARN of the key that it makes.
data "aws_iam_policy_document" "state_key" {
  # Without it nobody can ever administer the key again; it also lets the policies of the roles below grant its use.
  statement {
    sid       = "AdministerInThisAccount"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${local.partition}:iam::${local.account_id}:root"]
    }
  }
}
