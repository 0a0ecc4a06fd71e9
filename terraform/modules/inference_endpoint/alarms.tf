# The guardrails of an update: while a new release takes traffic, any of these rolls it back. They also tell how the
# endpoint does between updates, through the composite alarm of the monitoring module, which does the notifying.
# SageMaker reports ModelLatency and OverheadLatency in microseconds. A serverless endpoint's overhead has its cold starts
# in it, which are no fault: it has no alarm on that, and its others only tell.

locals {
  guardrails = {
    endpoint-5xx-errors = {
      description = "The model or SageMaker answers requests with 5XX."
      metric      = "Invocation5XXErrors"
      statistic   = { plain = "Sum", extended = null }
      threshold   = var.alarm_thresholds.errors_per_minute
    }
    endpoint-model-latency-microseconds = {
      description = "The slowest tenth of answers takes longer in the model than ${var.alarm_thresholds.model_latency_microseconds} microseconds."
      metric      = "ModelLatency"
      statistic   = { plain = null, extended = "p90" }
      threshold   = var.alarm_thresholds.model_latency_microseconds
    }
    endpoint-overhead-latency-microseconds = {
      description = "The slowest tenth of answers waits longer in SageMaker than ${var.alarm_thresholds.overhead_latency_microseconds} microseconds."
      metric      = "OverheadLatency"
      statistic   = { plain = null, extended = "p90" }
      threshold   = var.alarm_thresholds.overhead_latency_microseconds
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "guardrail" {
  for_each = {
    for name, guardrail in local.guardrails : name => guardrail
    if !(local.is_serverless && guardrail.metric == "OverheadLatency")
  }

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = "AWS/SageMaker"
  metric_name         = each.value.metric
  statistic           = each.value.statistic.plain
  extended_statistic  = each.value.statistic.extended
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = each.value.threshold
  period              = 60
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  treat_missing_data  = "notBreaching" # no requests, no trouble

  dimensions = {
    EndpointName = local.endpoint_name
    VariantName  = local.variant
  }

  # CloudWatch deletes no alarm that a composite alarm still names: one that goes, goes after the composite has changed.
  lifecycle {
    create_before_destroy = true
  }
}
