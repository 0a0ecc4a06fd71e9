output "alias_arn" {
  description = "ARN of the alias \"live\", which is what callers invoke."
  value       = aws_lambda_alias.live.arn
}

output "name" {
  description = "Name of the function."
  value       = aws_lambda_function.handler.function_name
}

output "role_arn" {
  description = "ARN of the function's role."
  value       = aws_iam_role.execution.arn
}

output "timeout_seconds" {
  description = "Seconds after which Lambda stops an execution."
  value       = aws_lambda_function.handler.timeout
}
