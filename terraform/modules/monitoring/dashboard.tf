locals {
  latency_statistics = ["p50", "p90", "p99"]

  widgets = [
    {
      title = "Executions"
      metrics = [
        for metric in ["ExecutionsSucceeded", "ExecutionsFailed", "ExecutionsTimedOut", "ExecutionsAborted"] :
        ["AWS/States", metric, "StateMachineArn", var.state_machine_arn, { stat = "Sum" }]
      ]
    },
    {
      title = "Time of an execution, milliseconds"
      metrics = [
        for statistic in local.latency_statistics :
        ["AWS/States", "ExecutionTime", "StateMachineArn", var.state_machine_arn, { stat = statistic, label = statistic }]
      ]
    },
    {
      title = "Endpoint"
      metrics = [
        for metric in ["Invocations", "Invocation4XXErrors", "Invocation5XXErrors"] :
        ["AWS/SageMaker", metric, "EndpointName", var.endpoint.name, "VariantName", var.endpoint.variant, { stat = "Sum" }]
      ]
    },
    {
      title = "Time of an answer of the model, microseconds"
      metrics = [
        for statistic in local.latency_statistics :
        ["AWS/SageMaker", "ModelLatency", "EndpointName", var.endpoint.name, "VariantName", var.endpoint.variant, { stat = statistic, label = statistic }]
      ]
    },
    {
      title = "Errors of the functions"
      metrics = [
        for function in var.functions : ["AWS/Lambda", "Errors", "FunctionName", function.name, { stat = "Sum" }]
      ]
    },
    {
      title = "Time of a function, milliseconds (p90)"
      metrics = [
        for function in var.functions : ["AWS/Lambda", "Duration", "FunctionName", function.name, { stat = "p90" }]
      ]
    },
  ]
}

resource "aws_cloudwatch_dashboard" "service" {
  dashboard_name = var.name

  dashboard_body = jsonencode({
    widgets = [
      for index, widget in local.widgets : {
        type   = "metric"
        x      = index % 2 * 12
        y      = floor(index / 2) * 6
        width  = 12
        height = 6
        properties = {
          title   = widget.title
          metrics = widget.metrics
          period  = 60
          region  = local.region
          view    = "timeSeries"
        }
      }
    ]
  })
}
