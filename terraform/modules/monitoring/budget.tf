# What a month may cost. Billing data comes several times a day and hours late: it warns of a bill, and stops nothing.

resource "aws_budgets_budget" "monthly" {
  count = var.budget_usd == null ? 0 : 1

  name         = "${var.name}-monthly"
  budget_type  = "COST"
  limit_amount = tostring(var.budget_usd)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  dynamic "cost_filter" {
    for_each = var.budget_tag == null ? [] : [var.budget_tag]

    content {
      name   = "TagKeyValue"
      values = [join("$", ["user:${cost_filter.value.key}", cost_filter.value.value])] # user:KEY$VALUE
    }
  }

  # Most of the money is gone, though the month may not be.
  notification {
    comparison_operator       = "GREATER_THAN"
    notification_type         = "ACTUAL"
    subscriber_sns_topic_arns = [aws_sns_topic.people.arn]
    threshold                 = 80
    threshold_type            = "PERCENTAGE"
  }

  # At this pace the month ends above the limit. AWS forecasts from about five weeks of history, so not in the first.
  notification {
    comparison_operator       = "GREATER_THAN"
    notification_type         = "FORECASTED"
    subscriber_sns_topic_arns = [aws_sns_topic.people.arn]
    threshold                 = 100
    threshold_type            = "PERCENTAGE"
  }

  # Without the topic's permission a budget is made all the same, and warns nobody.
  depends_on = [aws_sns_topic_policy.people]

  lifecycle {
    replace_triggered_by = [terraform_data.budget_tag]
  }
}

# The provider keeps a cost_filter that is no longer set, and the budget would go on to count one tag alone: a change of
# the tag makes a new budget.
resource "terraform_data" "budget_tag" {
  count = var.budget_usd == null ? 0 : 1

  input = var.budget_tag
}
