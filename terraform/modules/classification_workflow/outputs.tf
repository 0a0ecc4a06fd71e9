output "alias_arn" {
  description = "ARN of the alias \"live\", which is what callers start."
  value       = module.classify_vehicle.alias_arn
}

output "batch_alias_arn" {
  description = "ARN of the alias \"live\" of classify-batch."
  value       = module.classify_batch.alias_arn
}

output "batch_state_machine_arn" {
  description = "ARN of classify-batch."
  value       = module.classify_batch.arn
}

output "failure_rule_arns" {
  description = "ARNs of the rules that publish to the topic."
  value       = module.failure_notice.rule_arns
}

output "role_arn" {
  description = "ARN of the state machine's role, which publishes to the topic."
  value       = module.classify_vehicle.role_arn
}

output "state_machine_arn" {
  description = "ARN of the state machine."
  value       = module.classify_vehicle.arn
}

output "undelivered_queue" {
  description = "Name and ARN of the queue that keeps events no target took."
  value       = { arn = aws_sqs_queue.undelivered.arn, name = aws_sqs_queue.undelivered.name }
}
