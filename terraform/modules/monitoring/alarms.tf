# What is wrong with the service, one alarm each. They do not notify: the composite alarm does.
#
# There is none for aborted executions: only a person aborts one, and each has told already, as a failure does. The
# alarm on failures is for many.
#
# create_before_destroy: the composite alarm drops an alarm from its rule before it is deleted, and not after.

locals {
  alarms = merge(
    {
      executions-throttled = {
        description = "Step Functions holds executions back: the account's rate of state transitions is used up."
        dimensions  = { StateMachineArn = var.state_machine_arn }
        metric      = "ExecutionThrottled"
        namespace   = "AWS/States"
        statistic   = "Sum"
        threshold   = var.thresholds.executions_throttled
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
        description = "Events reached no target; uploads and scheduled starts may wait in the queue ${var.undelivered_queue}."
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
      } if key != var.confidence_function
    },
    {
      # The workflow tries again: a few mean a burst that came through.
      for key, function in local.image_functions : "${replace(key, "_", "-")}-throttles" => {
        description = "Lambda refuses calls of the function ${function.name}: it runs as often at once as the account, or its reserved concurrency, allows."
        dimensions  = { FunctionName = function.name }
        metric      = "Throttles"
        namespace   = "AWS/Lambda"
        statistic   = "Sum"
        threshold   = var.thresholds.function_throttles
      }
    },
  )

  # An image below the threshold is an error of the function that judges, and fails its execution, by design. It has told
  # by itself and has an alarm of its own: these count what is left.
  failures = {
    executions-failed = {
      description = "Many executions fail, those below the threshold not counted: look at the executions of the state machine, or at the endpoint."
      dimensions  = { StateMachineArn = var.state_machine_arn }
      metric      = "ExecutionsFailed"
      namespace   = "AWS/States"
      threshold   = var.thresholds.executions_failed
    }
    "${replace(var.confidence_function, "_", "-")}-errors" = {
      description = "The function ${var.functions[var.confidence_function].name} raises errors, those below the threshold not counted: look at its log."
      dimensions  = local.confidence_dimensions
      metric      = "Errors"
      namespace   = "AWS/Lambda"
      threshold   = var.functions[var.confidence_function].errors_threshold
    }
  }
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

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_cloudwatch_metric_alarm" "failures" {
  for_each = local.failures

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = each.value.threshold
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"

  metric_query {
    id          = "unexpected"
    expression  = "failed - FILL(unsure, 0)"
    label       = "Failures but for low confidence"
    return_data = true
  }

  metric_query {
    id = "failed"

    metric {
      namespace   = each.value.namespace
      metric_name = each.value.metric
      dimensions  = each.value.dimensions
      period      = 300
      stat        = "Sum"
    }
  }

  metric_query {
    id = "unsure"

    metric {
      namespace   = var.name
      metric_name = "LowConfidence"
      dimensions  = local.confidence_dimensions
      period      = 300
      stat        = "Sum"
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

# Before Lambda stops a function, and not after. One slow call is tried again: the alarm is for slowness that stays.
resource "aws_cloudwatch_metric_alarm" "slow_function" {
  for_each = local.image_functions

  alarm_name          = "${var.name}-${replace(each.key, "_", "-")}-duration-milliseconds"
  alarm_description   = "The slowest call of ${each.value.name} takes ${var.thresholds.duration_percent} % of the ${each.value.timeout_seconds} seconds after which Lambda stops it, or more."
  namespace           = "AWS/Lambda"
  metric_name         = "Duration"
  dimensions          = { FunctionName = each.value.name }
  statistic           = "Maximum"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = each.value.timeout_seconds * 1000 * var.thresholds.duration_percent / 100
  period              = 300
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  treat_missing_data  = "notBreaching"

  lifecycle {
    create_before_destroy = true
  }
}

# The function that judges counts each image in Confidence, and in LowConfidence 1 for each that a person must look at.
# A rate needs many images: one bad photo at night is no drift.
resource "aws_cloudwatch_metric_alarm" "low_confidence" {
  alarm_name          = "${var.name}-low-confidence-percent"
  alarm_description   = "The model is not sure of ${var.thresholds.low_confidence_percent} % or more of an hour's images, of which there were ${var.thresholds.low_confidence_minimum_images} or more: the photos have changed, or the release is bad."
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = var.thresholds.low_confidence_percent
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"

  metric_query {
    id          = "percent"
    expression  = "IF(judged >= ${var.thresholds.low_confidence_minimum_images}, 100 * unsure / judged, 0)"
    label       = "Images below the threshold, percent"
    return_data = true
  }

  metric_query {
    id = "judged"

    metric {
      namespace   = var.name
      metric_name = "Confidence"
      dimensions  = local.confidence_dimensions
      period      = 3600
      stat        = "SampleCount"
    }
  }

  metric_query {
    id = "unsure"

    metric {
      namespace   = var.name
      metric_name = "LowConfidence"
      dimensions  = local.confidence_dimensions
      period      = 3600
      stat        = "Sum"
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

# The check sends 1 or 0, and nothing where it has too little data to tell. It has sent people its report already: the
# alarm shows how long the drift lasts.
resource "aws_cloudwatch_metric_alarm" "drift" {
  count = var.drift_function == null ? 0 : 1

  alarm_name          = "${var.name}-drift"
  alarm_description   = "What the model sees or says is no longer what it was on validation: the newest report under reports/ in the data bucket shows what changed."
  namespace           = var.name
  metric_name         = "Drift"
  dimensions          = { FunctionName = var.functions[var.drift_function].name }
  statistic           = "Maximum"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  period              = 3600
  evaluation_periods  = 1
  treat_missing_data  = "ignore" # between two checks, and while there are too few images to tell, what was known holds

  lifecycle {
    create_before_destroy = true
  }
}

# Silence is a failure only where somebody says how much traffic there should be: the trigger, the workflow or the
# callers may be broken without an error anywhere. No data means no requests, so missing data counts as bad; a new
# service rings until its first requests.
resource "aws_cloudwatch_metric_alarm" "no_requests" {
  count = var.expected_traffic == null ? 0 : 1

  alarm_name          = "${var.name}-no-requests"
  alarm_description   = "Fewer than ${var.expected_traffic.requests} requests reached the endpoint in ${var.expected_traffic.hours} hours: uploads start nothing, or nobody uploads."
  namespace           = "AWS/SageMaker"
  metric_name         = "Invocations"
  dimensions          = local.endpoint_dimensions
  statistic           = "Sum"
  comparison_operator = "LessThanThreshold"
  threshold           = var.expected_traffic.requests
  period              = var.expected_traffic.hours * 3600
  evaluation_periods  = 1
  treat_missing_data  = "breaching"

  lifecycle {
    create_before_destroy = true
  }
}
