# retrain: a new model by the recipe of the one that serves, measured against it on the same test images, and announced.
# It deploys nothing: that stays a reviewed change of the release record.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  bucket_arn = "arn:${local.partition}:s3:::${var.bucket}"
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.name

  state_machine_name = "${var.name}-retrain"
}

module "retrain" {
  source = "../state_machine"

  definition               = local.definition
  kms_key_arn              = var.kms_key_arn
  log_retention_days       = var.log_retention_days
  name                     = local.state_machine_name
  permissions_boundary_arn = var.permissions_boundary_arn
  policies                 = { retrain = data.aws_iam_policy_document.retrain.json }
}

module "failure_notice" {
  source = "../failure_notice"

  name                  = "${var.name}-retraining"
  state_machine_arns    = [module.retrain.arn]
  topic_arn             = var.topic_arn
  undelivered_queue_arn = var.undelivered_queue_arn
}

module "schedule" {
  source = "../schedule"
  count  = var.schedule == null ? 0 : 1

  description              = "Trains a candidate from time to time, for people to look at"
  expression               = var.schedule
  input                    = { reason = "schedule" }
  name                     = local.state_machine_name
  permissions_boundary_arn = var.permissions_boundary_arn
  policy                   = data.aws_iam_policy_document.schedule.json
  target_arn               = module.retrain.alias_arn
  undelivered_queue_arn    = var.undelivered_queue_arn
}

data "aws_iam_policy_document" "schedule" {
  # Executions of the published version, and of nothing else.
  statement {
    sid       = "StartExecutions"
    actions   = ["states:StartExecution"]
    resources = [module.retrain.arn]

    # Step Functions checks against the machine's own ARN, whatever the request names, and tells the alias apart from it.
    # https://docs.aws.amazon.com/step-functions/latest/dg/auth-version-alias.html
    condition {
      test     = "ForAnyValue:StringEquals"
      variable = "states:StateMachineQualifier"
      values   = ["live"]
    }
  }
}
