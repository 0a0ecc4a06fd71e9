# classify-vehicle: one image an execution, from an upload to a driver's order.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.name

  state_machine_name = "${var.name}-classify-vehicle"
}

resource "aws_sfn_state_machine" "classify_vehicle" {
  name       = local.state_machine_name
  role_arn   = aws_iam_role.workflow.arn
  definition = jsonencode(local.definition)
  publish    = true
  type       = "STANDARD"

  logging_configuration {
    include_execution_data = false # the data is somebody's photo
    level                  = "ALL"
    log_destination        = "${aws_cloudwatch_log_group.classify_vehicle.arn}:*"
  }

  tracing_configuration {
    enabled = true
  }

  # Step Functions tries the role's permission to log when the machine is made.
  depends_on = [aws_iam_role_policy.workflow]
}

# Whoever starts an execution names the alias, so that each runs a published version from its first state to its last.
resource "aws_sfn_alias" "live" {
  name        = "live"
  description = "The version that uploads and users start"

  routing_configuration {
    state_machine_version_arn = aws_sfn_state_machine.classify_vehicle.state_machine_version_arn
    weight                    = 100
  }
}

# Groups under /aws/vendedlogs share one resource policy, which else meets its size limit after a few state machines.
resource "aws_cloudwatch_log_group" "classify_vehicle" {
  name              = "/aws/vendedlogs/states/${local.state_machine_name}"
  kms_key_id        = var.kms_key_arn
  retention_in_days = var.log_retention_days
}
