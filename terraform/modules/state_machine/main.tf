# One state machine: a role that may do what `policies` say and write its own log, the log group, the alias "live".

data "aws_caller_identity" "current" {}

resource "aws_sfn_state_machine" "workflow" {
  name       = var.name
  role_arn   = aws_iam_role.execution.arn
  definition = jsonencode(var.definition)
  publish    = true
  type       = "STANDARD"

  logging_configuration {
    include_execution_data = false # the data is somebody's photo
    level                  = "ALL"
    log_destination        = "${aws_cloudwatch_log_group.workflow.arn}:*"
  }

  tracing_configuration {
    enabled = true
  }

  lifecycle {
    precondition {
      condition     = length(local.endless_tasks) == 0
      error_message = "A task needs TimeoutSeconds, or it can hang for a year: ${join(", ", local.endless_tasks)}."
    }

    precondition {
      condition     = length(local.careless_tasks) == 0
      error_message = "A task needs a Catch that says what becomes of its errors: ${join(", ", local.careless_tasks)}."
    }

    precondition {
      condition     = length(local.missing_states) == 0
      error_message = "There is no state ${join(", ", local.missing_states)}, which others go to."
    }

    precondition {
      condition     = length(local.unreachable_states) == 0
      error_message = "No state goes to ${join(", ", local.unreachable_states)}."
    }
  }

  # Step Functions tries the role's permission to log when the machine is made, and the first execution may come at once.
  depends_on = [aws_iam_role_policy.basics, aws_iam_role_policy.extra]
}

# Whoever starts an execution names the alias, so that each runs a published version from its first state to its last.
resource "aws_sfn_alias" "live" {
  name        = "live"
  description = "The version that callers start"

  routing_configuration {
    state_machine_version_arn = aws_sfn_state_machine.workflow.state_machine_version_arn
    weight                    = 100
  }
}

# Groups under /aws/vendedlogs share one resource policy, which else meets its size limit after a few state machines.
resource "aws_cloudwatch_log_group" "workflow" {
  name              = "/aws/vendedlogs/states/${var.name}"
  kms_key_id        = var.kms_key_arn
  retention_in_days = var.log_retention_days
}
