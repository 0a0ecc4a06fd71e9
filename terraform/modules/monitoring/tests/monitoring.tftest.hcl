mock_provider "aws" {
  override_during = plan

  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }

  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:eu-central-1:123456789012:scones-test-people" }
  }
}

variables {
  endpoint             = { name = "scones-test", variant = "AllTraffic" }
  endpoint_alarm_names = ["scones-test-endpoint-5xx-errors", "scones-test-endpoint-model-latency-microseconds"]
  functions = {
    classify_image    = { name = "scones-test-classify-image", timeout_seconds = 30 }
    filter_confidence = { name = "scones-test-filter-confidence", errors_threshold = 10, timeout_seconds = 10 }
  }
  kms_key_arn         = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
  name                = "scones-test"
  publisher_role_arns = ["arn:aws:iam::123456789012:role/scones-test-classify-vehicle"]
  publisher_rule_arns = ["arn:aws:events:eu-central-1:123456789012:rule/scones-test-execution-failed"]
  state_machine_arn   = "arn:aws:states:eu-central-1:123456789012:stateMachine:scones-test-classify-vehicle"
  undelivered_queue   = "scones-test-undelivered-events"
}

run "service_is_degraded_when_any_alarm_rings" {
  command = plan

  variables {
    expected_traffic = { requests = 1, hours = 24 }
  }

  assert {
    condition = toset(regexall("ALARM\\(\"[^\"]+\"\\)", aws_cloudwatch_composite_alarm.degraded.alarm_rule)) == toset([
      for name in [
        "classify-image-duration-milliseconds",
        "classify-image-errors",
        "classify-image-throttles",
        "endpoint-5xx-errors",
        "endpoint-model-latency-microseconds",
        "events-undelivered",
        "executions-failed",
        "executions-throttled",
        "executions-timed-out",
        "filter-confidence-duration-milliseconds",
        "filter-confidence-errors",
        "filter-confidence-throttles",
        "low-confidence-percent",
        "no-requests",
      ] : "ALARM(\"scones-test-${name}\")"
    ])
    error_message = "Every alarm, and no other, is part of the composite alarm."
  }

  assert {
    condition     = !can(regex(" AND |NOT ", aws_cloudwatch_composite_alarm.degraded.alarm_rule))
    error_message = "Any one alarm is enough."
  }
}

run "people_are_told_once" {
  command = plan

  assert {
    condition = (
      aws_cloudwatch_composite_alarm.degraded.alarm_actions == toset([aws_sns_topic.people.arn]) &&
      aws_cloudwatch_composite_alarm.degraded.ok_actions == toset([aws_sns_topic.people.arn])
    )
    error_message = "The composite alarm tells people when it goes off and when it is over."
  }

  assert {
    condition = alltrue([
      for alarm in concat(
        values(aws_cloudwatch_metric_alarm.failures),
        values(aws_cloudwatch_metric_alarm.service),
        values(aws_cloudwatch_metric_alarm.slow_function),
        [aws_cloudwatch_metric_alarm.low_confidence],
      ) : alarm.alarm_actions == null && alarm.ok_actions == null && alarm.insufficient_data_actions == null
    ])
    error_message = "A single alarm notifies nobody."
  }
}

run "a_function_rings_before_its_timeout" {
  command = plan

  assert {
    condition = (
      aws_cloudwatch_metric_alarm.slow_function["classify_image"].threshold == 24000 &&
      aws_cloudwatch_metric_alarm.slow_function["filter_confidence"].threshold == 8000
    )
    error_message = "80 % of 30 and of 10 seconds, in milliseconds."
  }

  assert {
    condition = alltrue([
      for alarm in aws_cloudwatch_metric_alarm.slow_function :
      alarm.metric_name == "Duration" && alarm.statistic == "Maximum" && endswith(alarm.alarm_name, "-milliseconds")
    ])
    error_message = "The slowest call counts, and the name says the unit."
  }
}

run "an_image_below_the_threshold_is_no_failure_of_the_service" {
  command = plan

  assert {
    condition = {
      for key, alarm in aws_cloudwatch_metric_alarm.failures : key => join("; ", sort([
        for query in alarm.metric_query : try("${query.metric[0].stat} ${query.metric[0].metric_name}", query.expression)
      ]))
      } == {
      executions-failed        = "Sum ExecutionsFailed; Sum LowConfidence; failed - FILL(unsure, 0)"
      filter-confidence-errors = "Sum Errors; Sum LowConfidence; failed - FILL(unsure, 0)"
    }
    error_message = "Low confidence fails an execution by design, and has an alarm of its own."
  }

  assert {
    condition = (
      aws_cloudwatch_metric_alarm.failures["executions-failed"].threshold == 10 &&
      aws_cloudwatch_metric_alarm.failures["filter-confidence-errors"].threshold == 10 &&
      aws_cloudwatch_metric_alarm.service["classify-image-errors"].threshold == 3
    )
    error_message = "Each keeps its own threshold."
  }
}

run "a_rate_of_low_confidence_needs_many_images" {
  command = plan

  variables {
    thresholds = { low_confidence_minimum_images = 50, low_confidence_percent = 25 }
  }

  assert {
    condition = one([
      for query in aws_cloudwatch_metric_alarm.low_confidence.metric_query : query.expression if query.return_data == true
    ]) == "IF(judged >= 50, 100 * unsure / judged, 0)"
    error_message = "The alarm watches the percentage, and no percentage of few images."
  }

  assert {
    condition = {
      for query in aws_cloudwatch_metric_alarm.low_confidence.metric_query :
      query.id => "${query.metric[0].stat} ${query.metric[0].namespace} ${query.metric[0].metric_name} ${query.metric[0].dimensions.FunctionName}"
      if length(query.metric) > 0
      } == {
      judged = "SampleCount scones-test Confidence scones-test-filter-confidence"
      unsure = "Sum scones-test LowConfidence scones-test-filter-confidence"
    }
    error_message = "The metrics are those that filter_confidence emits, under their names, namespace and dimension."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.low_confidence.threshold == 25
    error_message = "low_confidence_percent is the alarm's threshold, in percent."
  }
}

run "drift_rings_where_somebody_checks" {
  command = plan

  variables {
    drift_function = "check_drift"
    functions = {
      check_drift       = { name = "scones-test-check-drift", errors_threshold = 1, serves_images = false, timeout_seconds = 300 }
      filter_confidence = { name = "scones-test-filter-confidence", timeout_seconds = 10 }
    }
  }

  assert {
    condition = (
      aws_cloudwatch_metric_alarm.drift[0].metric_name == "Drift" && aws_cloudwatch_metric_alarm.drift[0].namespace == "scones-test" &&
      aws_cloudwatch_metric_alarm.drift[0].dimensions == tomap({ FunctionName = "scones-test-check-drift" }) &&
      aws_cloudwatch_metric_alarm.drift[0].statistic == "Maximum" && aws_cloudwatch_metric_alarm.drift[0].threshold == 1 &&
      aws_cloudwatch_metric_alarm.drift[0].period == 3600 && aws_cloudwatch_metric_alarm.drift[0].treat_missing_data == "ignore"
    )
    error_message = "One check that finds drift is enough, and it lasts until a check finds none."
  }

  assert {
    condition     = !strcontains(aws_cloudwatch_composite_alarm.degraded.alarm_rule, "drift\"")
    error_message = "Drift, which may last for weeks, must not keep people from being told of another alarm."
  }

  assert {
    condition = [
      for widget in jsondecode(aws_cloudwatch_dashboard.service.dashboard_body).widgets : widget.properties.metrics[*][1]
      if startswith(try(widget.properties.title, ""), "Drift")
    ] == [["Drift", "PopulationStabilityIndex"]]
    error_message = "The dashboard shows what the check says."
  }

  assert {
    condition = (
      contains(keys(aws_cloudwatch_metric_alarm.service), "check-drift-errors") &&
      !contains(keys(aws_cloudwatch_metric_alarm.service), "check-drift-throttles") &&
      !contains(keys(aws_cloudwatch_metric_alarm.slow_function), "check_drift")
    )
    error_message = "No image waits for the check: its errors say all."
  }
}

run "without_a_check_nobody_rings_for_drift" {
  command = plan

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.drift) == 0 && !strcontains(aws_cloudwatch_dashboard.service.dashboard_body, "PopulationStabilityIndex")
    error_message = "There is no metric to look at."
  }
}

run "check_that_is_no_function_is_refused" {
  command = plan

  variables {
    drift_function = "check_drift"
  }

  expect_failures = [var.drift_function]
}

run "topic_to_which_nobody_publishes_is_refused" {
  command = plan

  variables {
    publisher_role_arns = []
  }

  expect_failures = [var.publisher_role_arns]
}

run "silence_rings_only_where_traffic_is_expected" {
  command = plan

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.no_requests) == 0
    error_message = "Nobody need call a service that expects no traffic."
  }
}

run "silence_rings_where_traffic_is_expected" {
  command = plan

  variables {
    expected_traffic = { requests = 5, hours = 6 }
  }

  assert {
    condition = (
      aws_cloudwatch_metric_alarm.no_requests[0].treat_missing_data == "breaching" &&
      aws_cloudwatch_metric_alarm.no_requests[0].comparison_operator == "LessThanThreshold" &&
      aws_cloudwatch_metric_alarm.no_requests[0].threshold == 5 &&
      aws_cloudwatch_metric_alarm.no_requests[0].period == 21600
    )
    error_message = "SageMaker publishes nothing while nobody calls: no data is what must ring."
  }

  assert {
    condition = alltrue([
      for alarm in concat(
        values(aws_cloudwatch_metric_alarm.failures),
        values(aws_cloudwatch_metric_alarm.service),
        values(aws_cloudwatch_metric_alarm.slow_function),
        [aws_cloudwatch_metric_alarm.low_confidence],
      ) : alarm.treat_missing_data == "notBreaching"
    ])
    error_message = "For every other alarm no data means no trouble."
  }
}

run "only_named_services_publish" {
  command = plan

  variables {
    budget_usd = 100
  }

  assert {
    condition = {
      for statement in data.aws_iam_policy_document.topic.statement :
      one(one(statement.principals).identifiers) => {
        for condition in statement.condition : condition.variable => tolist(condition.values)
      } if coalesce(statement.effect, "Allow") == "Allow"
      } == {
      "arn:aws:iam::123456789012:role/scones-test-classify-vehicle" = {}
      "budgets.amazonaws.com" = {
        "aws:SourceAccount" = tolist(["123456789012"])
        "aws:SourceArn"     = tolist(["arn:aws:budgets::123456789012:*"])
      }
      "cloudwatch.amazonaws.com" = { "aws:SourceAccount" = tolist(["123456789012"]) }
      "events.amazonaws.com"     = { "aws:SourceArn" = tolist(["arn:aws:events:eu-central-1:123456789012:rule/scones-test-execution-failed"]) }
    }
    error_message = "The workflow's role, its rules, this account's alarms and budgets publish; nobody else."
  }

  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.topic.statement :
      statement.actions == toset(["sns:Publish"]) && statement.resources == toset([aws_sns_topic.people.arn])
    ])
    error_message = "They publish to this topic, and do nothing else."
  }

  assert {
    condition     = aws_sns_topic.people.kms_master_key_id == var.kms_key_arn
    error_message = "Messages name customers' images: the topic is encrypted with the foundation's key."
  }
}

run "without_a_budget_nothing_of_it_remains" {
  command = plan

  assert {
    condition     = length(aws_budgets_budget.monthly) == 0
    error_message = "No budget unless an environment sets one."
  }

  assert {
    condition     = !strcontains(jsonencode(data.aws_iam_policy_document.topic.statement), "budgets.amazonaws.com")
    error_message = "Without a budget AWS Budgets has no business with the topic."
  }
}

run "a_budget_warns_before_the_money_is_gone" {
  command = plan

  variables {
    budget_tag = { key = "environment", value = "test" }
    budget_usd = 150
  }

  assert {
    condition = (
      aws_budgets_budget.monthly[0].limit_amount == "150" && aws_budgets_budget.monthly[0].limit_unit == "USD" &&
      aws_budgets_budget.monthly[0].time_unit == "MONTHLY" && aws_budgets_budget.monthly[0].budget_type == "COST"
    )
    error_message = "150 US dollars a month."
  }

  assert {
    condition = {
      for notification in aws_budgets_budget.monthly[0].notification :
      notification.notification_type => notification.threshold if notification.threshold_type == "PERCENTAGE"
    } == { ACTUAL = 80, FORECASTED = 100 }
    error_message = "At 80 % spent, and when the forecast passes the limit."
  }

  assert {
    condition = alltrue([
      for notification in aws_budgets_budget.monthly[0].notification :
      notification.subscriber_sns_topic_arns == toset([aws_sns_topic.people.arn])
    ])
    error_message = "Both tell the same people as everything else."
  }

  assert {
    condition = [
      for filter in aws_budgets_budget.monthly[0].cost_filter : "${filter.name} ${join(",", filter.values)}"
    ] == ["TagKeyValue user:environment$test"]
    error_message = "Tags of users are written user:KEY$VALUE."
  }
}

run "the_dashboard_answers_four_questions_in_order" {
  command = plan

  variables {
    budget_usd = 150
  }

  assert {
    condition = [
      for widget in jsondecode(aws_cloudwatch_dashboard.service.dashboard_body).widgets :
      trimprefix(split("\n", widget.properties.markdown)[0], "## ") if widget.type == "text"
    ] == ["Is it up?", "Is it fast?", "Is it sure?", "What does it cost?"]
    error_message = "Up, fast, sure, cost: top to bottom."
  }

  assert {
    condition = alltrue([
      for widget in jsondecode(aws_cloudwatch_dashboard.service.dashboard_body).widgets :
      strcontains(widget.properties.title, "microseconds") == strcontains(jsonencode(widget.properties.metrics), "Latency")
      if widget.type == "metric"
    ])
    error_message = "SageMaker's latencies, and nothing else, are in microseconds, and the title says so."
  }

  assert {
    condition = alltrue([
      for widget in jsondecode(aws_cloudwatch_dashboard.service.dashboard_body).widgets :
      strcontains(widget.properties.title, "milliseconds") == can(regex("Duration|ExecutionTime", jsonencode(widget.properties.metrics)))
      if widget.type == "metric"
    ])
    error_message = "Times of executions and functions are in milliseconds, and the title says so."
  }

  # No two widgets share a place, and none is wider than the page.
  assert {
    condition = length(distinct(flatten([
      for widget in jsondecode(aws_cloudwatch_dashboard.service.dashboard_body).widgets : [
        for x in range(widget.x, widget.x + widget.width) : [
          for y in range(widget.y, widget.y + widget.height) : "${x} ${y}" if x < 24
        ]
      ]
      ]))) == sum([
      for widget in jsondecode(aws_cloudwatch_dashboard.service.dashboard_body).widgets : widget.width * widget.height
    ])
    error_message = "Widgets overlap, or leave the page."
  }

  assert {
    condition = contains(
      one([for widget in jsondecode(aws_cloudwatch_dashboard.service.dashboard_body).widgets : widget.properties.alarms if widget.type == "alarm"]),
      "arn:aws:cloudwatch:eu-central-1:123456789012:alarm:scones-test-service-degraded",
    )
    error_message = "The alarms themselves are the first answer."
  }
}

run "an_address_that_is_none_is_refused" {
  command = plan

  variables {
    emails = ["somebody"]
  }

  expect_failures = [var.emails]
}

run "a_budget_of_nothing_is_refused" {
  command = plan

  variables {
    budget_usd = 0
  }

  expect_failures = [var.budget_usd]
}

run "a_tag_without_a_value_is_refused" {
  command = plan

  variables {
    budget_tag = { key = "environment", value = " " }
  }

  expect_failures = [var.budget_tag]
}

run "a_tag_written_as_budgets_write_it_is_refused" {
  command = plan

  variables {
    budget_tag = { key = "user:environment$prod", value = "prod" }
  }

  expect_failures = [var.budget_tag]
}

run "confidence_of_an_unknown_function_is_refused" {
  command = plan

  variables {
    confidence_function = "judge"
  }

  expect_failures = [var.confidence_function]
}

run "a_silence_longer_than_a_day_is_refused" {
  command = plan

  variables {
    expected_traffic = { requests = 1, hours = 48 }
  }

  expect_failures = [var.expected_traffic]
}

run "expecting_no_requests_is_refused" {
  command = plan

  variables {
    expected_traffic = { requests = 0, hours = 24 }
  }

  expect_failures = [var.expected_traffic]
}

run "an_alarm_on_no_errors_is_refused" {
  command = plan

  variables {
    functions = { filter_confidence = { name = "f", errors_threshold = 0, timeout_seconds = 10 } }
  }

  expect_failures = [var.functions]
}

run "a_timeout_that_lambda_does_not_know_is_refused" {
  command = plan

  variables {
    functions = { filter_confidence = { name = "f", timeout_seconds = 1000 } }
  }

  expect_failures = [var.functions]
}

run "a_key_that_is_no_arn_is_refused" {
  command = plan

  variables {
    kms_key_arn = "alias/scones-test"
  }

  expect_failures = [var.kms_key_arn]
}

run "name_with_capitals_is_refused" {
  command = plan

  variables {
    name = "Scones_Test"
  }

  expect_failures = [var.name]
}

run "a_count_below_one_is_refused" {
  command = plan

  variables {
    thresholds = { executions_throttled = 0 }
  }

  expect_failures = [var.thresholds]
}

run "more_than_all_is_refused" {
  command = plan

  variables {
    thresholds = { low_confidence_percent = 101 }
  }

  expect_failures = [var.thresholds]
}
