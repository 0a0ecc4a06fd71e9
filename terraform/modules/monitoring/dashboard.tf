# Four questions, top to bottom: is it up, is it fast, is it sure, what does it cost. Units stand in the titles, for
# SageMaker counts time in microseconds and the others in milliseconds.
#
# Money itself is not on it: AWS/Billing's EstimatedCharges exists in us-east-1 alone, for the whole account, and only
# once somebody has turned billing alerts on. The last row shows what drives the bill, and the budget watches the bill.

locals {
  endpoint_metric = ["EndpointName", var.endpoint.name, "VariantName", var.endpoint.variant]
  judge_metric    = ["FunctionName", var.functions[var.confidence_function].name]
  quantiles       = ["p50", "p90", "p99"]
  workflow_metric = ["StateMachineArn", var.state_machine_arn]

  rows = [
    {
      question = "Is it up?"
      hint     = "The composite alarm ${var.name}-service-degraded is red when any of the alarms is."
      graphs = [
        {
          title = "Executions"
          metrics = [
            for metric in ["ExecutionsSucceeded", "ExecutionsFailed", "ExecutionsTimedOut", "ExecutionsAborted", "ExecutionThrottled"] :
            concat(["AWS/States", metric], local.workflow_metric, [{ stat = "Sum" }])
          ]
        },
        {
          title = "Requests to the endpoint, and its errors"
          metrics = [
            for metric in ["Invocations", "Invocation4XXErrors", "Invocation5XXErrors"] :
            concat(["AWS/SageMaker", metric], local.endpoint_metric, [{ stat = "Sum" }])
          ]
        },
        {
          title = "Errors and throttles of the functions"
          metrics = concat(
            [for function in var.functions : ["AWS/Lambda", "Errors", "FunctionName", function.name, { stat = "Sum", label = "errors of ${function.name}" }]],
            [for function in var.functions : ["AWS/Lambda", "Throttles", "FunctionName", function.name, { stat = "Sum", label = "throttles of ${function.name}" }]],
          )
        },
      ]
    },
    {
      question = "Is it fast?"
      hint     = "A function that comes near its timeout rings before Lambda stops it."
      graphs = [
        {
          title   = "Time of an execution, milliseconds"
          metrics = [for quantile in local.quantiles : concat(["AWS/States", "ExecutionTime"], local.workflow_metric, [{ stat = quantile, label = quantile }])]
        },
        {
          title = "Time of the model and of SageMaker around it, microseconds"
          metrics = concat(
            [for quantile in local.quantiles : concat(["AWS/SageMaker", "ModelLatency"], local.endpoint_metric, [{ stat = quantile, label = "model, ${quantile}" }])],
            [concat(["AWS/SageMaker", "OverheadLatency"], local.endpoint_metric, [{ stat = "p90", label = "overhead, p90" }])],
          )
        },
        {
          title   = "Time of a function, milliseconds (slowest)"
          metrics = [for function in var.functions : ["AWS/Lambda", "Duration", "FunctionName", function.name, { stat = "Maximum" }]]
        },
      ]
    },
    {
      question = "Is it sure?"
      hint     = "Each image below the threshold of the release goes to a person. More of them than usual: the photos have changed, or the release is bad."
      graphs = concat([
        {
          title = "Confidence of the best class (0 to 1)"
          metrics = [
            for statistic in ["p10", "p50", "Average"] :
            concat([var.name, "Confidence"], local.judge_metric, [{ stat = statistic, label = statistic }])
          ]
        },
        {
          title = "Images below the threshold, percent"
          metrics = [
            [{ expression = "100 * unsure / judged", id = "percent", label = "below the threshold" }],
            concat([var.name, "LowConfidence"], local.judge_metric, [{ stat = "Sum", id = "unsure", visible = false }]),
            concat([var.name, "Confidence"], local.judge_metric, [{ stat = "SampleCount", id = "judged", visible = false }]),
          ]
        },
        {
          title = "Images judged, and of them for a person"
          metrics = [
            concat([var.name, "Confidence"], local.judge_metric, [{ stat = "SampleCount", label = "judged" }]),
            concat([var.name, "LowConfidence"], local.judge_metric, [{ stat = "Sum", label = "for a person" }]),
          ]
        },
      ], local.drift_graphs)
    },
    {
      question = "What does it cost?"
      hint     = "What drives the bill: instance hours of the endpoint by far, and an idle instance is billed like a busy one. ${var.budget_usd == null ? "No budget is set." : "The budget ${var.name}-monthly warns of ${var.budget_usd} USD."}"
      graphs = [
        {
          # SageMaker publishes no count, but with each request the share 1 / instances.
          title = "Instances of the endpoint, while requests come"
          metrics = [
            [{ expression = "requests / shares", id = "instances", label = "instances" }],
            concat(["AWS/SageMaker", "Invocations"], local.endpoint_metric, [{ stat = "Sum", id = "requests", visible = false }]),
            concat(["AWS/SageMaker", "InvocationsPerInstance"], local.endpoint_metric, [{ stat = "Sum", id = "shares", visible = false }]),
          ]
        },
        {
          title = "Executions started, and calls of the functions"
          metrics = concat(
            [concat(["AWS/States", "ExecutionsStarted"], local.workflow_metric, [{ stat = "Sum", label = "executions" }])],
            [for function in var.functions : ["AWS/Lambda", "Invocations", "FunctionName", function.name, { stat = "Sum" }]],
          )
        },
        {
          title   = "Time that the functions ran, milliseconds (sum)"
          metrics = [for function in var.functions : ["AWS/Lambda", "Duration", "FunctionName", function.name, { stat = "Sum" }]]
        },
      ]
    },
  ]

  drift_graphs = [
    for key in var.drift_function[*] : {
      title = "Drift since validation (1: yes), and stability index of confidence (above 0.2: a lot)"
      metrics = [
        [var.name, "Drift", "FunctionName", var.functions[key].name, { stat = "Maximum", label = "drift" }],
        [var.name, "PopulationStabilityIndex", "FunctionName", var.functions[key].name, { stat = "Maximum", label = "stability index" }],
      ]
    }
  ]

  # The first row begins with the alarms themselves.
  alarm_widget = {
    type = "alarm"
    properties = {
      title  = "Alarms"
      alarms = [for name in concat([aws_cloudwatch_composite_alarm.degraded.alarm_name], local.alarm_names) : "arn:${local.partition}:cloudwatch:${local.region}:${local.account_id}:alarm:${name}"]
    }
  }
}

resource "aws_cloudwatch_dashboard" "service" {
  dashboard_name = var.name

  # 24 columns, which a row's three or four graphs share. A header is two units high, a graph six; the alarms lie between
  # the first header and its graphs.
  dashboard_body = jsonencode({
    widgets = concat(
      [merge(local.alarm_widget, { x = 0, y = 2, width = 24, height = 6 })],
      [
        for index, row in local.rows : {
          type       = "text"
          x          = 0
          y          = index * 8 + (index > 0 ? 6 : 0)
          width      = 24
          height     = 2
          properties = { markdown = "## ${row.question}\n${row.hint}", background = "transparent" }
        }
      ],
      flatten([
        for index, row in local.rows : [
          for column, graph in row.graphs : {
            type   = "metric"
            x      = column * 24 / length(row.graphs)
            y      = index * 8 + 8
            width  = 24 / length(row.graphs)
            height = 6
            properties = {
              title   = graph.title
              metrics = graph.metrics
              period  = 300
              region  = local.region
              view    = "timeSeries"
            }
          }
        ]
      ]),
    )
  })
}
