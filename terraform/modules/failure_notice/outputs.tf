output "rule_arns" {
  description = "ARNs of the rules, which publish to the topic."
  value       = values(aws_cloudwatch_event_rule.failure)[*].arn
}
