# The only alarm that notifies: once for all that go off together, and it names them. Not of drift, of which the check
# has told people: it may last for weeks, and what goes off while this alarm rings is not told again.

locals {
  alarm_names = sort(concat(
    values(aws_cloudwatch_metric_alarm.service)[*].alarm_name,
    values(aws_cloudwatch_metric_alarm.failures)[*].alarm_name,
    values(aws_cloudwatch_metric_alarm.slow_function)[*].alarm_name,
    [aws_cloudwatch_metric_alarm.low_confidence.alarm_name],
    aws_cloudwatch_metric_alarm.no_requests[*].alarm_name,
    var.endpoint_alarm_names,
  ))
}

resource "aws_cloudwatch_composite_alarm" "degraded" {
  alarm_name        = "${var.name}-service-degraded"
  alarm_description = "The classification service does not do what it should. The alarms that are part of this one say where."
  alarm_actions     = [aws_sns_topic.people.arn]
  alarm_rule        = join(" OR ", [for name in local.alarm_names : "ALARM(\"${name}\")"])
  ok_actions        = [aws_sns_topic.people.arn]
}
