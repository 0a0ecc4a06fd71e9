# classify-vehicle: one image an execution, from an upload to a driver's order.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.name

  console           = "https://${local.region}.console.aws.amazon.com"
  execution_console = "${local.console}/states/home?region=${local.region}#/v2/executions/details/"

  state_machine_name = "${var.name}-classify-vehicle"
  # Spelled out: a reference to the alias would make the policies that name it a change in the plan of every release.
  alias_arn = "arn:${local.partition}:states:${local.region}:${local.account_id}:stateMachine:${local.state_machine_name}:live"

  # Those whose bad ends are told to people.
  state_machine_arns = [module.classify_batch.arn, module.classify_vehicle.arn, module.start_on_upload.arn]
}

module "classify_vehicle" {
  source = "../state_machine"

  definition               = local.definition
  kms_key_arn              = var.kms_key_arn
  log_retention_days       = var.log_retention_days
  name                     = local.state_machine_name
  permissions_boundary_arn = var.permissions_boundary_arn
  policies                 = { workflow = data.aws_iam_policy_document.classify_vehicle.json }
}

data "aws_iam_policy_document" "classify_vehicle" {
  # The three functions, through their published versions only.
  statement {
    sid       = "InvokeFunctions"
    actions   = ["lambda:InvokeFunction"]
    resources = [for function in var.functions : function.alias_arn]
  }

  # The call for a human look.
  statement {
    sid       = "NotifyPeople"
    actions   = ["sns:Publish"]
    resources = [var.topic_arn]
  }

  # The topic is encrypted: whoever publishes needs the key, for SNS and nothing else.
  statement {
    sid       = "UseKeyOfTopic"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [var.kms_key_arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["sns.${local.region}.amazonaws.com"]
    }
  }
}
