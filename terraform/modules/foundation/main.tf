# What training needs, and what outlives every release: the data bucket, the key, the training role.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  bucket     = "${var.name}-${local.account_id}-data"
  bucket_arn = "arn:${local.partition}:s3:::${local.bucket}"
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.name
}
