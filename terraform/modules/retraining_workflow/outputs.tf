output "alias_arn" {
  description = "ARN of the alias \"live\", which is what callers start."
  value       = module.retrain.alias_arn
}

output "failure_rule_arns" {
  description = "ARNs of the rules that publish to the topic."
  value       = module.failure_notice.rule_arns
}

output "role_arn" {
  description = "ARN of the state machine's role, which publishes to the topic."
  value       = module.retrain.role_arn
}
