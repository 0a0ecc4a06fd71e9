output "alias_arn" {
  description = "ARN of the alias \"live\", which is what callers start."
  value       = aws_sfn_alias.live.arn
}

output "arn" {
  description = "ARN of the state machine."
  value       = aws_sfn_state_machine.workflow.arn
}

output "role_arn" {
  description = "ARN of the state machine's role."
  value       = aws_iam_role.execution.arn
}
