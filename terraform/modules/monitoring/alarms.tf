# The single alarms do not notify: the composite alarm does, once for all that go off together, and names them.

locals {
  alarms = merge(
    {
      # Low confidence fails an execution by design, and each has told already: the alarm is for many.
      executions-failed = {
        description = "Many executions fail: look at the executions of the state machine, or at the endpoint."
        dimensions  = { StateMachineArn = var.state_machine_arn }
        metric      = "ExecutionsFailed"
        namespace   = "AWS/States"
        statistic   = "Sum"
        threshold   = var.thresholds.executions_failed
      }
      executions-timed-out = {
        description = "Executions take longer than the state machine allows."
        dimensions  = { StateMachineArn = var.state_machine_arn }
        metric      = "ExecutionsTimedOut"
        namespace   = "AWS/States"
        statistic   = "Sum"
        threshold   = var.thresholds.executions_timed_out
      }
      events-undelivered = {
        description = "Events reached no target; uploads may wait in the queue ${var.undelivered_queue}."
        dimensions  = { QueueName = var.undelivered_queue }
        metric      = "ApproximateNumberOfMessagesVisible"
        namespace   = "AWS/SQS"
        statistic   = "Maximum"
        threshold   = 1
      }
    },
    {
      for key, function in var.functions : "${replace(key, "_", "-")}-errors" => {
        description = "The function ${function.name} raises errors: look at its log."
        dimensions  = { FunctionName = function.name }
        metric      = "Errors"
        namespace   = "AWS/Lambda"
        statistic   = "Sum"
        threshold   = function.errors_threshold
      }
    },
  )
}

resource "aws_cloudwatch_metric_alarm" "service" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = each.value.threshold
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching" # no work, no trouble
}

resource "aws_cloudwatch_composite_alarm" "degraded" {
  alarm_name        = "${var.name}-service-degraded"
  alarm_description = "The classification service does not do what it should. The alarms that are part of this one say where."
  alarm_actions     = [aws_sns_topic.people.arn]
  ok_actions        = [aws_sns_topic.people.arn]

  alarm_rule = join(" OR ", [
    for name in sort(concat(values(aws_cloudwatch_metric_alarm.service)[*].alarm_name, var.endpoint_alarm_names)) :
    "ALARM(\"${name}\")"
  ])
}
