output "alias_arn" {
  description = "ARN of the alias \"live\", which is what callers start."
  value       = aws_sfn_alias.live.arn
}

output "failure_rule_arns" {
  description = "ARNs of the rules that publish to the topic."
  value       = values(aws_cloudwatch_event_rule.failure)[*].arn
}

output "role_arn" {
  description = "ARN of the state machine's role, which publishes to the topic."
  value       = aws_iam_role.workflow.arn
}

output "state_machine_arn" {
  description = "ARN of the state machine."
  value       = aws_sfn_state_machine.classify_vehicle.arn
}

output "undelivered_queue" {
  description = "Name of the queue that keeps events no target took."
  value       = aws_sqs_queue.undelivered.name
}
