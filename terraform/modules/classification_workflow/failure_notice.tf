# An execution that ends badly tells a person. EventBridge cannot set message attributes: subscribers filter on "kind" in
# the message's body (filter policy scope MessageBody), which the call for a human look carries too.

locals {
  console           = "https://${local.region}.console.aws.amazon.com"
  execution_console = "${local.console}/states/home?region=${local.region}#/v2/executions/details/"

  # A failure says what went wrong; a timeout or an abort does not, and a template must not name what an event lacks.
  failure_notices = {
    failed = {
      description = "Executions that failed; those below the threshold have told already"
      pattern = {
        status = ["FAILED"]
        error  = [{ anything-but = ["ThresholdConfidenceNotMet"] }, { exists = false }]
      }
      paths   = { error = "$.detail.error", cause = "$.detail.cause" }
      summary = "Execution <name> failed with <error>. The cause and the history of the execution tell why."
      error   = "<error>"
      cause   = "<cause>"
    }
    stopped = {
      description = "Executions that timed out or were aborted"
      pattern     = { status = ["ABORTED", "TIMED_OUT"] }
      paths       = {}
      summary     = "Execution <name> ended as <status>. Its history tells in which state."
      error       = "<status>"
      cause       = "\"Stopped from outside, or not done within its time limit\""
    }
  }
}

resource "aws_cloudwatch_event_rule" "failure" {
  for_each = local.failure_notices

  name        = "${var.name}-execution-${each.key}"
  description = each.value.description

  event_pattern = jsonencode({
    source      = ["aws.states"]
    detail-type = ["Step Functions Execution Status Change"]
    detail = merge(each.value.pattern, {
      stateMachineArn = local.state_machine_arns
    })
  })
}

resource "aws_cloudwatch_event_target" "failure" {
  for_each = local.failure_notices

  rule      = aws_cloudwatch_event_rule.failure[each.key].name
  target_id = "people"
  arn       = var.topic_arn

  # A template of EventBridge, not JSON: it puts the quotes itself, and escapes what is between them.
  input_transformer {
    input_paths = merge(each.value.paths, {
      execution = "$.detail.executionArn"
      input     = "$.detail.input"
      name      = "$.detail.name"
      status    = "$.detail.status"
    })
    input_template = "{${join(", ", [
      "\"kind\": \"failure\"",
      "\"summary\": \"${each.value.summary}\"",
      "\"execution\": <execution>",
      "\"execution_url\": \"${local.execution_console}<execution>\"",
      "\"input\": <input>",
      "\"status\": <status>",
      "\"error\": ${each.value.error}",
      "\"cause\": ${each.value.cause}",
    ])}}"
  }

  retry_policy {
    maximum_event_age_in_seconds = 3600
    maximum_retry_attempts       = 20
  }

  dead_letter_config {
    arn = aws_sqs_queue.undelivered.arn
  }
}
