# An execution that ends badly tells a person. EventBridge cannot set message attributes: subscribers filter on "kind" in
# the message's body (filter policy scope MessageBody), which the messages of state machines carry too.

data "aws_region" "current" {}

locals {
  region            = data.aws_region.current.name
  execution_console = "https://${local.region}.console.aws.amazon.com/states/home?region=${local.region}#/v2/executions/details/"

  # A pattern may not name an empty list.
  untold = {
    for key, values in { error = [{ anything-but = var.told_errors }, { exists = false }] } : key => values
    if length(var.told_errors) > 0
  }

  # A failure says what went wrong; a timeout or an abort does not, and a template must not name what an event lacks.
  notices = {
    failed = {
      description = "Executions that failed, but for those that have told by themselves"
      pattern     = merge({ status = ["FAILED"] }, local.untold)
      paths       = { error = "$.detail.error", cause = "$.detail.cause" }
      summary     = "Execution <name> failed with <error>. The cause and the history of the execution tell why."
      error       = "<error>"
      cause       = "<cause>"
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
  for_each = local.notices

  name        = "${var.name}-${each.key}"
  description = each.value.description

  event_pattern = jsonencode({
    source      = ["aws.states"]
    detail-type = ["Step Functions Execution Status Change"]
    detail = merge(each.value.pattern, {
      stateMachineArn = var.state_machine_arns
    })
  })
}

resource "aws_cloudwatch_event_target" "failure" {
  for_each = local.notices

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
    arn = var.undelivered_queue_arn
  }
}
